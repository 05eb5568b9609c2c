"""What is loaded from places that the test makes up; from a directory, on a thread: ``test_snapshotter.py``."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterator
from typing import Any

import pytest

from ats_sync import Config
from ats_sync.clock import Clock
from ats_sync.feeds import Key, Kind
from ats_sync.snapshots.loader import AT_ONCE, LISTED_WITHIN, Loader
from ats_sync.snapshots.records import Record, key_of
from ats_sync.store.market import MarketStore
from ats_sync.store.series import Origin, Series
from ats_sync.venue.listings import exchange_info
from ats_sync.venue.trades import rest_trades

from ..venue import samples
from ..venue.samples import MIDNIGHT, MINUTE, compact
from .launches import CANDLES, INTEREST, KEYS, LISTED, NOW, SYMBOL, TRADES, TRUTH, HandTime, StubRuntime

CONFIG = Config()


class Place:
    """A place with these records, or with a reason why one cannot be used."""

    def __init__(
        self, name: str, *records: Record, unusable: dict[Key, str] | None = None, streams: bool = False
    ) -> None:
        self.name = name
        self.waits_for_streams = streams
        self.kept: dict[Key, Record | str] = {**(unusable or {})}
        for record in records:
            key = key_of(record)
            assert key is not None
            self.kept[key] = record
        self.taken: list[Key] = []
        self.asked: list[list[Key]] = []

    def has(self, key: Key) -> bool:
        return key in self.kept

    def records(self, keys: Collection[Key]) -> Iterator[tuple[Key, Record | str]]:
        self.asked.append(list(keys))
        for key in keys:
            yield key, self.kept[key]

    def begun(self, series: Series) -> None:
        self.taken.append(series.key)

    def demanded(self) -> Iterator[Record]:
        return (record for record in self.kept.values() if isinstance(record, Record) and record.demanded)


def filled() -> MarketStore:
    """Return a store that has something of every series."""
    store = MarketStore(CONFIG, lambda: 0.0, lambda: NOW)
    store.follow(KEYS)
    store.series[CANDLES].replace(TRUTH.texts(NOW, 100), Origin(NOW, 100))
    trades = rest_trades(compact([samples.rest_trade(number) for number in range(100, 140)]))
    store.series[TRADES].replace(trades, Origin(NOW, 40))
    store.series[INTEREST].replace([samples.open_interest_row(MIDNIGHT)], Origin(NOW, 300))
    return store


def record(key: Key, *, demanded: int = 0, **facts: Any) -> Record:
    made = Record(CONFIG.exchange, LISTED, NOW, tuple(filled().series[key].dump()), demanded)
    return made._replace(**facts)


class Scene:
    def __init__(self, *places: Place, keys: tuple[Key, ...] = KEYS, listed: bool = True) -> None:
        self.time = HandTime(NOW + MINUTE)
        self.clock = Clock(self.time)
        self.clock.set_exchange(self.time.at)
        self.store = MarketStore(CONFIG, self.clock.now, self.clock.exchange_ms)
        self.store.follow(keys)
        self.runtime = StubRuntime(self.store)
        self.stop = threading.Event()
        self.demanded: list[tuple[Key, int, Key | None]] = []
        self.loader = Loader(CONFIG, self.clock, self.store, places, self.stop, self._demand)
        if listed:
            body = compact(samples.exchange_info({SYMBOL: "TRADING"}, onboarded={SYMBOL: LISTED}))
            self.store.listings.replace(exchange_info(body), Origin(self.clock.exchange_ms()))
        self.loader.expect(keys)
        self.loader.begin(self.runtime)  # type: ignore[arg-type]

    def _demand(self, key: Key, rows: int) -> None:
        self.demanded.append((key, rows, self.loader.resuming))

    def rows(self, key: Key) -> int:
        return len(self.store.series[key])  # type: ignore[arg-type]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


def test_a_series_is_loaded_from_the_first_place_that_has_usable_rows_of_it() -> None:
    broken = Place("the first", unusable={CANDLES: "cut"})
    second, third = Place("the second", record(CANDLES)), Place("the third", record(CANDLES), record(INTEREST))
    scene = Scene(broken, second, third)
    scene.loader.load()
    assert scene.loader.loaded == {CANDLES: second, INTEREST: third}
    assert (broken.taken, second.taken, third.taken) == ([], [CANDLES], [INTEREST])
    assert [scene.rows(key) > 0 for key in KEYS] == [True, False, True]
    assert not any(scene.store.series[key].expecting for key in KEYS)
    assert not any(CANDLES in keys for keys in third.asked)


def test_one_warning_counts_what_was_refused_and_one_line_says_what_was_loaded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "ats_sync")
    place = Place("/a/folder", record(INTEREST), unusable={CANDLES: "cut", TRADES: "cut"})
    Scene(place).loader.load()
    (said,) = warnings(caplog)
    assert said == "2 of 3 series in /a/folder are fetched again, the first because cut"
    assert "1 of 3 series were loaded from /a/folder" in caplog.text


def test_only_what_was_kept_is_waited_for_and_with_it_what_no_start_waits_for() -> None:
    scene = Scene(Place("here", record(CANDLES)))
    assert [scene.store.series[key].expecting for key in KEYS] == [True, True, False]
    scene = Scene(Place("here", record(TRADES)))
    assert [scene.store.series[key].expecting for key in KEYS] == [False, True, False]
    assert not any(each.expecting for each in Scene(Place("here")).store.series.values())


@pytest.mark.parametrize(
    "facts", [{"exchange": ("https://other.example",)}, {"onboarded": LISTED - 1}, {"written": NOW + 10 * MINUTE}]
)
def test_rows_of_another_exchange_contract_or_time_are_left_out_and_the_start_goes_on(facts: dict[str, Any]) -> None:
    place = Place("here", record(CANDLES, **facts))
    scene = Scene(place)
    scene.loader.load()
    assert (scene.rows(CANDLES), place.taken, scene.loader.loaded) == (0, [], {})
    assert CANDLES in scene.runtime.gone_on


def test_without_listings_it_waits_no_longer_than_it_says_and_loads_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene(Place("here", record(CANDLES)), listed=False)
    waits: list[float] = []

    def wait(timeout: float) -> bool:
        waits.append(timeout)
        scene.time.at += timeout / 2 if len(waits) < 3 else timeout
        return True

    monkeypatch.setattr(scene.runtime.changed, "wait", wait)
    scene.loader.load()
    assert waits == pytest.approx([LISTED_WITHIN, LISTED_WITHIN / 2, LISTED_WITHIN / 4])
    assert (scene.rows(CANDLES), scene.loader.loaded) == (0, {})
    assert CANDLES in scene.runtime.gone_on


@pytest.mark.parametrize("ended", ["stop", "runtime"])
def test_the_end_ends_every_wait(ended: str) -> None:
    scene = Scene(Place("here", record(CANDLES)), listed=False)
    if ended == "stop":
        scene.stop.set()
    else:
        scene.runtime.stopped = True
    scene.loader.load()
    assert scene.loader.loaded == {}
    assert CANDLES in scene.runtime.gone_on


def test_what_is_followed_later_is_loaded_with_the_next_call_and_once() -> None:
    place = Place("here", record(CANDLES), record(INTEREST))
    scene = Scene(place, keys=(INTEREST,))
    scene.loader.load()
    later = scene.store.follow([CANDLES])
    scene.loader.expect(later)
    scene.loader.later += [[], later]
    scene.loader.load_later()
    scene.loader.load_later()
    assert place.taken == [INTEREST, CANDLES]
    assert scene.loader.loaded == {INTEREST: place, CANDLES: place}
    assert not scene.loader.later


def test_what_was_read_is_followed_again_only_where_nothing_is_followed() -> None:
    place = Place("here", record(CANDLES, demanded=6), record(INTEREST))
    scene = Scene(place, keys=())
    scene.loader.load()
    assert scene.demanded == [(CANDLES, 6, CANDLES)], "it is known meanwhile which one is being followed"
    assert scene.loader.resuming is None
    scene = Scene(place, keys=(INTEREST,))
    scene.loader.load()
    assert scene.demanded == []


def test_given_up_it_loads_nothing_and_nothing_waits() -> None:
    place = Place("here", record(CANDLES))
    scene = Scene(place)
    scene.loader.give_up()
    assert set(scene.runtime.gone_on) == {CANDLES, TRADES}
    scene.loader.load()
    assert place.asked == []


@pytest.mark.parametrize("streams", [True, False])
def test_trades_are_left_to_the_streams_where_the_place_says_so(streams: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[Key] = []
    monkeypatch.setattr(Series, "leave_to_stream", lambda series: left.append(series.key))
    scene = Scene(Place("here", record(CANDLES), streams=streams))
    scene.loader.load()
    assert (CANDLES in left) is streams


def test_many_series_are_read_a_few_at_a_time() -> None:
    one = record(CANDLES)
    keys = tuple(Key(Kind.KLINES, SYMBOL, "1m")._replace(symbol=f"S{number}USDT") for number in range(AT_ONCE + 1))
    place = Place("here")
    place.kept = dict.fromkeys(keys, one)
    Scene(place, keys=keys).loader.load()
    assert [len(asked) for asked in place.asked if asked] == [AT_ONCE, 1]
