"""What a listener fetches, on a clock that the test moves and with notices that it sends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from ats_sync import SharedStoreUnavailable
from ats_sync.errors import ConfigError
from ats_sync.events.queues import EventQueue
from ats_sync.feeds import Key, Kind
from ats_sync.publisher.iterator import MissedCount
from ats_sync.shared.layout import field_of
from ats_sync.shared.notices import AT_ONCE, EVERYTHING, Notices
from ats_sync.shared_events import LOOK_AGAIN, LOOK_ANYWAY, Listener, SharedIterator

BTC, ETH, SOL = (Key(Kind.KLINES, symbol, "1m") for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT"))


class Replica:
    """Fetches what has a leader, and notes what was fetched."""

    def __init__(self) -> None:
        self.led = {BTC, ETH, SOL}
        self.sent: list[tuple[bytes, bytes]] = []
        self.failure: Exception | None = None
        self.pulled: list[set[Key]] = []
        self.wished: list[set[Key]] = []
        self.series: dict[Key, None] = {}

    @property
    def sources(self) -> Replica:
        return self

    def feeds(self) -> list[object]:
        return [True] if self.led else []

    def notices(self) -> Notices:
        store: Any = self
        return Notices(store)

    # This stands for its store, and for the client of that.

    def run(self, call: Callable[[Replica], Any]) -> Any:
        if self.failure is not None:
            raise self.failure
        return call(self)

    def xrevrange(self, key: str, count: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
        return [(number, {b"closed": text}) for number, text in self.sent[-count:]]

    def xread(self, after: dict[str, bytes], count: int, block: int) -> list[tuple[bytes, list[Any]]]:
        [(key, last)] = after.items()
        return [(key.encode(), [(number, {b"closed": text}) for number, text in self.sent if number > last][:count])]

    def pull_each(self, keys: Sequence[Key], rows: int | None = None) -> Sequence[Key]:
        self.pulled.append(set(keys))
        if rows is not None:
            self.wished.append(set(keys))
        came = [key for key in keys if key in self.led]
        self.series = {**self.series, **dict.fromkeys(came)}
        return came


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def now(self) -> float:
        return self.at

    def exchange_ms(self) -> int:
        return int(self.at * 1000)

    def wait(self, event: object, seconds: float) -> None:
        self.at += seconds


class Stage:
    """A listener for two symbols, which has looked at everything."""

    def __init__(self) -> None:
        self.clock, self.replica = Clock(), Replica()
        self.followed = [BTC, ETH]
        replica: Any = self.replica
        clock: Any = self.clock
        self.listener = Listener(replica, clock, lambda: self.followed)
        assert set(self.listener.look()) == {BTC, ETH}
        self.replica.pulled.clear()

    def close(self, *keys: Key) -> None:
        """Send a notice of these series, or of everything, as the collector does."""
        text = b"\n".join(map(field_of, keys)) if keys else EVERYTHING
        self.replica.sent.append((b"%05d" % (len(self.replica.sent) + 1), text))

    def listen(self) -> set[Key]:
        return set(self.listener.listen(0.1))


@pytest.fixture
def stage() -> Stage:
    return Stage()


class TestListener:
    def test_a_notice_brings_the_series_it_names_and_no_other(self, stage: Stage) -> None:
        stage.close(BTC, SOL)
        assert stage.listen() == {BTC}
        assert stage.listen() == set()
        assert stage.replica.pulled == [{BTC}]

    def test_a_notice_of_everything_and_too_many_bring_everything(self, stage: Stage) -> None:
        stage.close()
        assert stage.listen() == {BTC, ETH}
        for _ in range(AT_ONCE):
            stage.close(BTC)
        assert stage.listen() == {BTC, ETH}
        assert stage.listen() == set()

    def test_a_notice_that_cannot_be_read_names_nothing(self, stage: Stage) -> None:
        stage.replica.sent.append((b"00001", b"nonsense"))
        assert stage.listen() == set()

    def test_what_has_no_leader_is_fetched_as_soon_as_it_has_one(self, stage: Stage) -> None:
        stage.replica.led = {BTC}
        stage.close(BTC, ETH)
        assert stage.listen() == {BTC}, "the shard that is led"
        assert not stage.listener.away
        assert stage.listen() == set()
        stage.replica.led = {BTC, ETH}
        assert stage.listen() == {ETH}, "the notice of it was read before"
        assert stage.listen() == set()

    @pytest.mark.parametrize("failure", [SharedStoreUnavailable("away"), ConfigError("no password")])
    def test_everything_is_looked_at_once_the_store_is_back(self, stage: Stage, failure: Exception) -> None:
        stage.replica.failure = failure
        assert stage.listen() == set()
        stage.replica.failure = None
        assert stage.listen() == {BTC, ETH}

    def test_everything_is_looked_at_after_a_silence_and_wished_for_again_in_any_case(self, stage: Stage) -> None:
        stage.clock.at += LOOK_AGAIN + 0.1
        assert stage.listen() == {BTC, ETH}
        stage.replica.wished.clear()
        until = stage.clock.at + LOOK_ANYWAY
        while stage.clock.at < until:
            assert stage.listen() == set(), "it learns that nothing has come"
            stage.clock.at += 1.0
        stage.clock.at += 1.0
        assert stage.listen() == {BTC, ETH}
        assert stage.replica.wished == [{BTC, ETH}]

    def test_another_thread_may_have_it_look_again(self, stage: Stage) -> None:
        stage.listener.look_again()
        assert stage.listen() == {BTC, ETH}
        assert stage.listen() == set()


class Queue(EventQueue[str]):
    """Notes what it is notified of."""

    def __init__(self) -> None:
        self.follows: set[Key] = set()
        self.marked: list[set[Key]] = []
        self.due_at: int | None = None

    def followed(self, keys: Iterable[Key], now: int) -> None:
        self.follows.update(keys)

    def mark(self, keys: Iterable[Key]) -> bool:
        self.marked.append(set(keys))
        return True

    def take(self, now: int) -> Callable[[], str] | None:
        return (lambda: "news") if self.marked and self.marked.pop() else None

    def due(self) -> int | None:
        return self.due_at


class TestIterator:
    def iterator(self, stage: Stage, queue: Queue, timeout: float = 1.0) -> SharedIterator[str]:
        clock: Any = stage.clock
        return SharedIterator(stage.listener, queue, clock, timeout, None, MissedCount())

    def test_a_series_that_a_read_has_fetched_is_included_with_the_next_news_of_another(self, stage: Stage) -> None:
        queue = Queue()
        iterator = self.iterator(stage, queue)
        stage.followed.append(SOL)
        stage.close(BTC)
        assert next(iterator) == "news"
        assert queue.follows == {BTC, ETH}
        stage.replica.series = {**stage.replica.series, SOL: None}  # somebody reads it
        stage.close(BTC)
        assert next(iterator) == "news"
        assert queue.follows == {BTC, ETH, SOL}

    def test_before_an_event_that_time_alone_causes_everything_is_looked_at_once(self, stage: Stage) -> None:
        queue = Queue()
        queue.due_at = stage.clock.exchange_ms()
        assert next(self.iterator(stage, queue)) == "news"
        assert stage.replica.pulled == [{BTC, ETH}]

    def test_while_nobody_leads_it_waits_and_ends_in_time(self, stage: Stage) -> None:
        stage.replica.led = set()
        began = stage.clock.at
        assert list(self.iterator(stage, Queue(), timeout=1.0)) == []
        assert stage.clock.at - began == pytest.approx(1.0)
