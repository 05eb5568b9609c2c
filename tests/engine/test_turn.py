from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ats_sync.config import Config
from ats_sync.engine.connection import Connect, Disconnect, Send
from ats_sync.engine.engine import Engine, Submit
from ats_sync.engine.jobs import Fetch
from ats_sync.engine.moment import Moment
from ats_sync.engine.turn import (
    COUNT_EVERY,
    COUNT_WHEN_QUIET,
    CandleCount,
    Changed,
    EngineEvent,
    Fetched,
    Lost,
    Noticed,
    Opened,
    Replied,
    carry_out,
    closed_by,
    sort,
    take_turn,
)
from ats_sync.errors import AtsSyncError, RequestTimeout
from ats_sync.feeds import Cause, Key, Kind
from ats_sync.store.link import Link
from ats_sync.store.market import MarketStore
from ats_sync.store.series import Change, StoreEvent
from ats_sync.venue import endpoints
from ats_sync.venue.endpoints import Route

LINK = Link(1, "market", 0.0)
FETCH = Fetch(Key(Kind.CLOCK), endpoints.time(), Cause.POLL)
ERROR = RequestTimeout("late")
GAPS = [StoreEvent(Change.GAP, Key(Kind.TRADES, symbol)) for symbol in "ABC"]
ACTIONS = (Submit(FETCH), Connect(1, Route.MARKET, LINK), Send(1, "text"), Disconnect(1, "done"))
METHODS = ("opened", "lost", "replied", "noticed", "fetched", "tick")


class Recorded:
    """An engine whose methods note their calls and may fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        config = Config()
        self.engine = Engine(config, MarketStore(config, lambda: 0.0))
        self.calls: list[tuple[Any, ...]] = []
        self.fails: set[str] = set()
        self.failures: list[tuple[Exception, EngineEvent | None]] = []
        self.candles: tuple[int, int] | None = None
        self.seconds = 0.0
        for name in METHODS:
            monkeypatch.setattr(self.engine, name, self._entrance(name))
        monkeypatch.setattr(self.engine, "take", lambda: ["action"])

    def _entrance(self, name: str) -> Callable[..., None]:
        def entrance(*arguments: Any) -> None:
            self.calls.append((name, *arguments))
            if name in self.fails:
                raise ValueError(name)

        return entrance

    def now(self) -> Moment:
        self.seconds += 1.0
        return Moment(self.seconds, 0)

    def turn(self, *events: EngineEvent) -> list[Any]:
        actions, self.candles, self.failures = take_turn(self.engine, self.now, events, CandleCount())
        return actions


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    return Recorded(monkeypatch)


EVENTS = (Replied(1, {"id": 1}), Lost(1, LINK, "cut", ERROR), Opened(1, LINK), Fetched(FETCH, ERROR), Changed())


def test_events_are_passed_on_in_order_each_at_its_moment_and_then_what_is_due(recorded: Recorded) -> None:
    assert recorded.turn(*EVENTS) == ["action"]
    at = [Moment(float(second), 0) for second in range(1, 8)]
    assert recorded.calls == [
        ("replied", 1, {"id": 1}, at[0]),
        ("lost", 1, LINK, "cut", at[1], ERROR),
        ("opened", 1, LINK, at[2]),
        ("fetched", FETCH, ERROR, at[3]),
        ("tick", at[5]),
    ]
    assert recorded.failures == []


def test_notices_that_follow_each_other_are_passed_on_together(recorded: Recorded) -> None:
    first, second, third = map(Noticed, GAPS)
    recorded.turn(first, second, Changed(), third)
    assert [call[:2] for call in recorded.calls[:-1]] == [("noticed", GAPS[:2]), ("noticed", GAPS[2:])]


@pytest.mark.parametrize("name", METHODS)
def test_a_failure_is_reported_with_its_event_and_costs_no_other_and_no_action(recorded: Recorded, name: str) -> None:
    recorded.fails = {name}
    events = (*EVENTS, Noticed(GAPS[0]))
    assert recorded.turn(*events) == ["action"]
    assert {call[0] for call in recorded.calls} == set(METHODS)
    ((failure, event),) = recorded.failures
    assert str(failure) == name
    assert (event is None) == (name == "tick")
    assert event is None or type(event).__name__.lower() == name


def test_a_failure_to_count_is_reported_and_costs_no_action(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert recorded.turn() == ["action"]
    assert recorded.candles == (0, 0)

    def failing() -> tuple[int, int]:
        raise ValueError("candles")

    monkeypatch.setattr(recorded.engine.reconciler, "candles", failing)
    assert recorded.turn() == ["action"]
    assert recorded.candles is None
    assert [(str(failure), event) for failure, event in recorded.failures] == [("candles", None)]


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: type(action).__name__)
def test_each_action_is_executed_by_its_own_method(action: Any) -> None:
    called: list[tuple[str, Any]] = []

    class Recording:
        def __getattr__(self, name: str) -> Callable[[Any], None]:
            return lambda value: called.append((name, value))

    carry_out(action, Recording())  # type: ignore[arg-type]
    assert called == [(type(action).__name__.lower(), action.fetch if isinstance(action, Submit) else action)]


def test_closes_are_not_passed_on_to_the_engine() -> None:
    key = Key(Kind.KLINES, "BTCUSDT", "1m")
    notices = [GAPS[0], StoreEvent(Change.CLOSED, key), GAPS[1]]
    assert sort(notices) == ([Noticed(GAPS[0]), Noticed(GAPS[1])], [key])


@pytest.mark.parametrize(
    ("kind", "error", "closes"), [(Kind.KLINES, None, True), (Kind.KLINES, ERROR, False), (Kind.TRADES, None, False)]
)
def test_an_answer_of_candles_may_have_closed_some(kind: Kind, error: AtsSyncError | None, closes: bool) -> None:
    key = Key(kind, "BTCUSDT", "1m" if kind is Kind.KLINES else "")
    assert closed_by(replace(FETCH, key=key), error, MarketStore(Config(), lambda: 0.0)) == ((key,) if closes else ())


def test_candle_series_are_counted_soon_after_something_has_happened_and_rarely_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = Config()
    engine = Engine(config, MarketStore(config, lambda: 0.0))
    monkeypatch.setattr(engine.reconciler, "candles", lambda: (8, 1))
    count = CandleCount()

    def counts(now: float, *, quiet: bool) -> bool:
        return count.take(engine, now, quiet=quiet) == (8, 1)

    assert counts(100.0, quiet=True)
    assert not counts(100.0 + COUNT_EVERY, quiet=True)
    assert counts(100.3, quiet=False)
    assert not counts(100.4, quiet=False)
    assert not counts(100.4, quiet=True)
    assert counts(100.3 + COUNT_EVERY, quiet=True), "the turn before did something"
    assert not counts(102.0, quiet=True)
    assert counts(100.3 + COUNT_EVERY + COUNT_WHEN_QUIET, quiet=True)
