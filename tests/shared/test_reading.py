"""The reads of a reader whose store is away or has no leader; those of one that has: ``test_feed.py``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ats_sync.engine.budget import Usage
from ats_sync.engine.jobs import Fetch
from ats_sync.errors import NotInMemory
from ats_sync.feeds import Key, Kind
from ats_sync.queries.candles import Klines
from ats_sync.reads import memory_only
from ats_sync.runtime.counters import Counters
from ats_sync.shared.client import SharedStore
from ats_sync.shared.reading import SharedReads
from ats_sync.venue.endpoints import Bucket

from ..venue import samples
from ..venue.samples import MIDNIGHT
from .servers import StoreServer
from .test_quality import CONFIG, SYMBOL, Led

KEY = Key(Kind.KLINES, SYMBOL, "1m")
ROW = samples.row(MIDNIGHT)


class Requests:
    """Answers every request with one candle."""

    def __init__(self) -> None:
        self.asked: list[Fetch] = []

    def ask(self, fetch: Fetch, timeout: float) -> Any:
        self.asked.append(fetch)
        return [samples.row_text(ROW)]

    def usage(self, bucket: Bucket) -> Usage:
        return Usage(0, 0, 1, 1)


class Reader:
    def __init__(self, led: Led) -> None:
        self.led, self.requests, self.shown = led, Requests(), 0
        self.reads = SharedReads(CONFIG, led.clock, led.replica, self.requests, Counters(), show=self._show)

    def _show(self) -> None:
        self.shown += 1

    def read(self, max_age: float | None = None) -> list[Any]:
        return self.reads.read(Klines(KEY, 1, max_age, exact=True), lambda rows: rows)


@pytest.fixture
def reader(valkey: StoreServer) -> Iterator[Reader]:
    store = SharedStore(valkey.url)
    yield Reader(Led(store))
    store.close()


def test_a_read_costs_a_round_trip_shows_the_reader_and_goes_to_rest_for_what_is_not_there(reader: Reader) -> None:
    assert reader.read() == [ROW]
    assert (reader.shown, reader.led.replica.pulls, len(reader.requests.asked)) == (1, 1, 1)


def test_what_is_to_be_new_in_any_case_costs_no_round_trip(reader: Reader) -> None:
    assert reader.read(0) == [ROW]
    assert (reader.shown, reader.led.replica.pulls, len(reader.requests.asked)) == (0, 0, 1)


def test_a_read_that_must_not_wait_asks_neither_the_store_nor_rest(reader: Reader) -> None:
    with memory_only(), pytest.raises(NotInMemory):
        reader.read()
    assert (reader.shown, reader.led.replica.pulls, reader.requests.asked) == (0, 0, [])


def test_while_the_store_is_away_reads_go_to_rest(reader: Reader, valkey: StoreServer) -> None:
    valkey.kill()
    assert reader.read() == [ROW]
    assert len(reader.requests.asked) == 1
    assert reader.led.replica.sources.why
