"""Planted mistakes: the harness must notice each of them, or a schedule that passes says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ats_sync.engine import connection, liveness, reconciler, stream_session
from ats_sync.engine.budget import Budget
from ats_sync.engine.window import Window
from ats_sync.store import trades
from ats_sync.store.book import BookSeries
from ats_sync.store.link import Link
from ats_sync.store.pending import Candle, PendingCandles
from ats_sync.venue import subscriptions

from ..virtual.exchange import BrokenPromise
from ..virtual.faults import Ban, Cut, Events, HalfOpen, Mute, Others, Pause, Rest
from ..virtual.schedules import SHORT
from ..virtual.world import Read, Schedule, run


def nothing(*_: Any, **__: Any) -> None:
    """Do nothing."""


def notice(*schedules: Schedule) -> None:
    """Assert that at least one of the schedules breaks a promise."""
    for schedule in schedules:
        try:
            run(schedule)
        except BrokenPromise:
            return
    pytest.fail("nothing was noticed")


def spread(*faults: Any, **more: Any) -> Iterator[Schedule]:
    for seed in range(4):
        yield Schedule(setting=seed % 3, seed=seed, faults=faults, **more)


def test_a_dead_connection_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_session.Heartbeat, "lost", lambda self, now: False)
    monkeypatch.setattr(Link, "alive", lambda self, now, silence: self.up)
    monkeypatch.setattr(Link, "age", lambda self, now: 0.0)
    notice(*spread(HalfOpen(20_000)))


def test_a_reconnect_is_not_repaired(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = reconciler.Reconciler.acknowledged

    def hasty(self: reconciler.Reconciler, key: Any, link: Link, at: Any) -> None:
        honest(self, key, link, at)
        series = self._store.trades(key.symbol) if key.kind.value == "trades" else None
        if series is not None and len(series):
            series.go_live(link)

    monkeypatch.setattr(reconciler.Reconciler, "acknowledged", hasty)
    notice(*spread(Cut(10_000), Cut(20_000), Cut(30_000), Cut(40_000)))


def test_lost_events_leave_holes(monkeypatch: pytest.MonkeyPatch) -> None:
    def only_the_newest(self: trades.TradeSeries, added: Any) -> None:
        self._segments = [added]

    monkeypatch.setattr(trades.TradeSeries, "_insert", only_the_newest)
    notice(*spread(Events(10_000, 20_000, "lose", "aggTrade", 0.5)))


def test_a_stream_dies_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(self: liveness.SilentStreamDetector, at: Any) -> Iterator[Any]:
        self._due = at.steady + 0.5
        return iter(())

    monkeypatch.setattr(liveness.SilentStreamDetector, "look", never)
    for stream in ("btcusdt@kline_1m", "btcusdt@aggTrade", "btcusdt@depth20@100ms"):
        notice(*spread(Mute(20_000, 30_000, stream, "ever")))


def test_an_older_version_of_a_candle_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    def any_version(self: PendingCandles, candle: Candle, *, streaming: bool) -> None:
        self.candles[candle.opened] = candle

    monkeypatch.setattr(PendingCandles, "add_row", any_version)
    reads = tuple(Read(at, "klines", symbol=at // 250 % 3, limit=3) for at in range(6_000, 60_000, 250))
    notice(*spread(Rest(5_000, 60_000, "slow down"), *(Cut(at) for at in range(8_000, 60_000, 7_000)), reads=reads))


def test_an_older_book_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = BookSeries.apply

    def any_book(self: BookSeries, frame: bytes, link: Link) -> None:
        self._update_id = -1
        honest(self, frame, link)

    monkeypatch.setattr(BookSeries, "apply", any_book)
    notice(*spread(Events(5_000, 50_000, "late", "depth20", 0.3, 20_000)))


def test_the_budget_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Window, "free_at", lambda self, at, *_, **__: at.steady)
    notice(*spread(weight_limit=130))


def test_a_ban_is_not_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Budget, "block", nothing)
    notice(*spread(Ban(5_000, 20_000), Cut(6_000)), *spread(Others(1_000, 1.1), Cut(1_000)))


def test_pings_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MESSAGES_PER_SECOND", {"public": 100, "market": 100})
    monkeypatch.setattr(subscriptions, "NAMES_PER_SUBSCRIBE", 1)
    notice(*spread(Cut(10_000)))


def test_a_stopped_process_wakes_up_blind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Link, "age", lambda self, now: 0.0)
    monkeypatch.setattr(Link, "alive", lambda self, now, silence: self.up)
    notice(*spread(Pause(20_000, 20_000), HalfOpen(10_000)))


def test_the_engine_wants_to_be_called_at_once_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(liveness.SilentStreamDetector, "look", lambda self, at: iter(()))
    with pytest.raises(BrokenPromise, match="spins"):
        run(Schedule())


def test_a_schedule_is_repeated_exactly() -> None:
    schedule = Schedule(
        1, 5, (Cut(9_000), Pause(20_000, 5_000), Rest(1_000, 9_000, "502", 0.5)), (Read(8_000, "klines"),)
    )
    first, second = run(schedule), run(schedule)
    assert first.served == second.served
    assert first.exchange.counts == second.exchange.counts
    assert first.not_fresh == second.not_fresh


def test_a_run_is_long_enough_for_its_faults() -> None:
    world = run(Schedule(faults=(Cut(SHORT),)))
    assert world.line.now - world.line.start >= SHORT + 30_000
