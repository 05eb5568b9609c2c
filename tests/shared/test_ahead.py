"""Which series one round trip fetches for the reads that follow."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import pytest

from ats_sync.feeds import Key, Kind
from ats_sync.shared.ahead import MOST, MOST_SYMBOLS, SPARE, WINDOW, ReadAhead

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


def test_what_followed_once_is_fetched_the_next_time() -> None:
    reader = Reader()
    assert reader.read(CANDLES, BOOK, SPOT, TRADES) == 4
    reader.now += 60.0
    for _ in range(3):
        assert reader.read(CANDLES, BOOK, SPOT, TRADES) == 1
        assert set(reader.trips[-1]) == {CANDLES, BOOK, SPOT, TRADES}
        reader.now += 60.0


def test_it_answers_as_many_reads_as_there_were_last_time_and_no_more() -> None:
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
    """For example mark price and funding rate, which are one series."""
    reader = Reader()
    assert reader.read(CANDLES, CANDLES, BOOK) == 3
    for _ in range(3):
        reader.now += 60.0
        assert reader.read(CANDLES, CANDLES, BOOK) == 1


def test_a_loop_over_one_series_makes_a_round_trip_each_time() -> None:
    reader = Reader()
    assert reader.read(*[BOOK] * 20) == 20
    assert reader.trips[-1] == [BOOK]


def test_what_was_fetched_and_not_read_is_left_out_until_it_follows_again() -> None:
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


def of(symbol: str) -> list[Key]:
    return [
        Key(Kind.KLINES, symbol, "1h"),
        Key(Kind.BOOK, symbol),
        SPOT,
        Key(Kind.MARK, symbol),
        Key(Kind.MARK, symbol),
    ]


def scan(reader: Reader, symbols: Sequence[str], pause: float = 0.001) -> int:
    reader.now += 60.0
    return sum(reader.read(*of(symbol), pause=pause) for symbol in symbols)


SYMBOLS = [f"S{number}" for number in range(2 * MOST_SYMBOLS + 1)]


def test_a_scan_takes_one_round_trip_for_several_symbols() -> None:
    reader = Reader()
    assert scan(reader, SYMBOLS) == 5 * len(SYMBOLS)
    for _ in range(3):
        assert scan(reader, SYMBOLS) == 3, "how fast it goes is not known of the first one"
    assert set(reader.trips[-1]) == {key for symbol in SYMBOLS[-MOST_SYMBOLS:] for key in of(symbol)}


@pytest.mark.parametrize("pause", [0.002, 0.004, 0.02])
def test_a_slow_scan_fetches_as_many_as_it_will_read_in_time(pause: float) -> None:
    reader = Reader()
    scan(reader, SYMBOLS, pause)
    trips = scan(reader, SYMBOLS, pause)
    assert trips == scan(reader, SYMBOLS, pause)
    each = WINDOW / (SPARE * 5 * pause)
    assert trips == (1 + math.ceil((len(SYMBOLS) - 1) / int(each)) if each >= 1 else len(SYMBOLS))


def test_a_symbol_that_is_no_longer_read_after_another_is_fetched_once_more_and_then_left_out() -> None:
    reader = Reader()
    for _ in range(2):
        scan(reader, SYMBOLS[:3])
    for _ in range(3):
        assert scan(reader, [SYMBOLS[0], SYMBOLS[2]]) == 2
    assert {key.symbol for key in reader.trips[-1] if key.symbol} == {SYMBOLS[2]}
    assert scan(reader, SYMBOLS[1:2]) == 1, "what follows it is still known"


def test_what_comes_too_late_is_fetched_again_and_not_forgotten() -> None:
    reader = Reader()
    for _ in range(2):
        scan(reader, SYMBOLS[:3])
    reader.now += 60.0
    reader.read(*of(SYMBOLS[0]), pause=0.001)
    reader.read(*of(SYMBOLS[1]), pause=0.001)
    reader.now += 2 * WINDOW
    assert reader.read(*of(SYMBOLS[2]), pause=0.001) == 1
    assert reader.read(*of(SYMBOLS[1]), pause=0.001) == 1
