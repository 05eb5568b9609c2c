"""Which series one round trip brings for the reads that follow."""

from __future__ import annotations

import threading

from ats_sync.feeds import Key, Kind
from ats_sync.shared.ahead import MOST, WINDOW, ReadAhead

CANDLES, BOOK, TRADES, SPOT = Key(Kind.KLINES, "A", "1h"), Key(Kind.BOOK, "A"), Key(Kind.TRADES, "A"), Key(Kind.SPOT)


class Reader:
    """Reads as a replica does; a step is 10 ms."""

    def __init__(self) -> None:
        self.ahead = ReadAhead()
        self.now = 100.0
        self.trips: list[list[Key]] = []

    def read(self, *keys: Key, rows: int = 5, pause: float = 0.01) -> int:
        """Read one after the other; return how many round trips that took."""
        before = len(self.trips)
        for key in keys:
            self.now += pause
            if not self.ahead.takes(key, rows, self.now):
                along = self.ahead.along(key)
                self.ahead.brought([key, *along], self.now)
                self.trips.append([key, *along])
        return len(self.trips) - before


def test_what_followed_once_is_brought_the_next_time() -> None:
    reader = Reader()
    assert reader.read(CANDLES, BOOK, SPOT, TRADES) == 4
    reader.now += 60.0
    for _ in range(3):
        assert reader.read(CANDLES, BOOK, SPOT, TRADES) == 1
        assert set(reader.trips[-1]) == {CANDLES, BOOK, SPOT, TRADES}
        reader.now += 60.0


def test_it_answers_as_many_reads_as_there_were_and_no_later_one() -> None:
    reader = Reader()
    reader.read(CANDLES, BOOK)
    reader.now += 60.0
    assert reader.read(CANDLES, BOOK, BOOK) == 2
    reader.now += 60.0
    assert reader.read(CANDLES, BOOK, BOOK) == 1
    reader.now += 60.0
    assert reader.read(CANDLES, BOOK, BOOK, BOOK) == 2
    reader.now += 60.0
    assert reader.read(CANDLES) == 1
    assert reader.read(BOOK, pause=WINDOW + 0.01) == 1


def test_a_series_that_is_read_twice_in_a_row_takes_one_round_trip() -> None:
    """As mark price and funding rate, which are one series."""
    reader = Reader()
    assert reader.read(CANDLES, CANDLES, BOOK) == 3
    for _ in range(3):
        reader.now += 60.0
        assert reader.read(CANDLES, CANDLES, BOOK) == 1


def test_a_loop_over_one_series_makes_a_round_trip_each_time() -> None:
    reader = Reader()
    assert reader.read(*[BOOK] * 20) == 20
    assert reader.trips[-1] == [BOOK]


def test_what_was_brought_and_not_read_is_left_out_until_it_follows_again() -> None:
    reader = Reader()
    reader.read(CANDLES, BOOK, TRADES)
    reader.now += 60.0
    reader.read(CANDLES, BOOK)
    reader.now += 60.0
    assert reader.read(CANDLES, BOOK, TRADES) == 2
    assert set(reader.trips[-2]) == {CANDLES, BOOK}
    reader.now += 60.0
    assert reader.read(CANDLES, BOOK, TRADES) == 1


def test_symbols_and_threads_do_not_follow_each_other() -> None:
    reader = Reader()
    other = Key(Kind.BOOK, "B")
    reader.read(BOOK, other)
    thread = threading.Thread(target=reader.read, args=(TRADES,))
    thread.start()
    thread.join()
    reader.now += 60.0
    reader.read(BOOK, other)
    assert reader.trips[-2:] == [[BOOK], [other]]


def test_it_is_bounded_and_says_how_many_rows_are_read() -> None:
    reader = Reader()
    reader.read(*(Key(Kind.KLINES, "A", str(number)) for number in range(3 * MOST)), rows=7)
    reader.now += 60.0
    reader.ahead.takes(BOOK, 7, reader.now)
    along = reader.ahead.along(BOOK)
    assert len(along) == MOST
    assert set(along.values()) == {7}
