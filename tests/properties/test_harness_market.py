"""Planted mistakes about what the exchange itself does: the harness must notice each of them, too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ats_sync.engine.contracts import Contracts
from ats_sync.store.book import BookSeries
from ats_sync.store.klines import KlineSeries
from ats_sync.store.market import MarketStore
from ats_sync.store.pending import PendingCandles
from ats_sync.store.segments import Segment

from ..virtual.faults import Halt, Newcomer, OldHalt, Recompute, Recount, Relist
from ..virtual.script import market_of
from ..virtual.world import Schedule
from .test_harness import nothing, notice

NEVER = 600_000
NAMES = ("BTCUSDT", "币安人生USDT", "BTCDOMUSDT")


def spread(fault: Any, *arguments: Any, at: int = 20_000) -> Iterator[Schedule]:
    for seed in range(4):
        yield Schedule(seed % 3, seed, tuple(fault(at, name, *arguments) for name in NAMES))


@pytest.mark.parametrize(
    ("other", "whole"),
    [
        (OldHalt(0, NAMES[0], 1.0, 2.0), (3.0, 1.0)),  # ends as the first begins
        (OldHalt(0, NAMES[0], 1.0, 1.5), (2.5, 1.0)),  # overlaps
        (OldHalt(0, NAMES[0], 0.2, 1.2), (2.0, 1.0)),  # lies within
        (OldHalt(0, NAMES[0], 0.5, 1.0), (2.0, 1.0)),  # ends together
        (OldHalt(0, NAMES[0], 0.5, 1.5), (2.0, 1.0)),  # begins together
    ],
)
def test_holes_in_history_that_overlap_or_touch_are_one(other: OldHalt, whole: tuple[float, float]) -> None:
    """Two that touched once stopped the explorer with an error."""
    setting = Schedule(0, faults=(OldHalt(0, NAMES[0], 1.0, 1.0), other)).whole_setting
    hours = [setting.start - int(each * 3_600_000) for each in whole]
    assert market_of(setting)._instruments[NAMES[0]].candles._halts == [tuple(hours)]


def test_trades_that_count_again_are_taken_for_late_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Segment, "is_of_new_count", lambda self, number, traded: False)
    notice(*spread(Recount))


def test_books_that_count_again_are_taken_for_late_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BookSeries, "_restarts_count", lambda self, frame: False)
    notice(*spread(Recount))


def test_a_relisting_is_not_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Contracts, "_begin_again", nothing)
    notice(*spread(Relist, 5_000))


def test_a_recomputed_candle_loses_against_its_old_self(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PendingCandles, "contradict", nothing)
    notice(*spread(Recompute))


def test_the_end_of_a_halt_is_not_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KlineSeries, "note_trading", lambda self, since: False)
    notice(*spread(Halt, 95_000), *spread(Halt, 110_000))


def test_an_answer_that_nothing_has_traded_yet_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MarketStore, "_may_be_new", lambda self, symbol, now: False)
    notice(*spread(Newcomer, True, at=NEVER))
