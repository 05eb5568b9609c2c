from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ats_sync.store.link import Link
from ats_sync.store.values import (
    MOST_PENDING,
    AnswerCache,
    Liquidations,
    MarkBoard,
    OpenInterestSeries,
    SpotBoard,
)
from ats_sync.venue import decode
from ats_sync.venue.decode import DecodeError

from ..venue import samples
from ..venue.samples import HOUR, MIDNIGHT, compact, frame

LINK = Link(1, "market", 0.0)


class HandClock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


# --- marks ----------------------------------------------------------------------------------------


def price(board: MarkBoard, symbol: str = "BTCUSDT") -> str | None:
    mark = board.get(symbol)
    return mark.mark_price if mark is not None else None


def marks(at: int, value: str, *symbols: str) -> list[decode.Mark]:
    return decode.rest_marks(compact([samples.rest_mark(s, at=at, price=value) for s in symbols or ("BTCUSDT",)]))


def test_the_later_mark_wins_in_either_order() -> None:
    for order in ([1, 2], [2, 1]):
        board = MarkBoard()
        for second in order:
            board.ingest(samples.marks_frame(["BTCUSDT"], event=MIDNIGHT + second, price=f"{second}.0"), LINK)
        assert price(board) == "2.0"
        assert board.event() == MIDNIGHT + 2


def test_an_answer_older_than_the_stream_changes_nothing() -> None:
    board = MarkBoard()
    board.ingest(samples.marks_frame(["BTCUSDT"], event=MIDNIGHT + 5, price="5.0"), LINK)
    board.merge_rest(marks(MIDNIGHT, "1.0"), asked=MIDNIGHT + 9, whole=True)
    assert price(board) == "5.0"
    assert board.polled() == MIDNIGHT + 9
    board.merge_rest(marks(MIDNIGHT + 6, "6.0"), asked=MIDNIGHT + 7, whole=False)
    assert price(board) == "6.0"
    assert (board.event(), board.polled()) == (MIDNIGHT + 6, MIDNIGHT + 9)


def test_marks_of_all_symbols() -> None:
    board = MarkBoard()
    board.merge_rest(marks(MIDNIGHT, "1.0", "A", "B"), asked=MIDNIGHT, whole=True)
    board.ingest(samples.marks_frame(["B", "C"], event=MIDNIGHT + 5, price="5.0"), LINK)
    everything = board.everything()
    assert {symbol: mark.mark_price for symbol, mark in everything.items()} == {"A": "1.0", "B": "5.0", "C": "5.0"}
    everything.clear()
    assert price(board, "A") == "1.0"
    assert board.get("D") is None


def test_nobody_reads_and_nothing_grows() -> None:
    board = MarkBoard()
    for second in range(100):
        board.ingest(samples.marks_frame(["BTCUSDT"], event=MIDNIGHT + second, price=f"{second}"), LINK)
    assert len(board._pending) <= MOST_PENDING
    assert price(board) == "99"


def test_unusable_marks_are_counted_and_harm_no_other() -> None:
    board = MarkBoard()
    board.ingest(samples.marks_frame(["BTCUSDT"], price="1.0"), LINK)
    bad = samples.mark_data("BTCUSDT", event=MIDNIGHT + 1) | {"p": ""}
    board.ingest(frame("!markPrice@arr@1s", [bad, samples.mark_data("ETHUSDT", event=MIDNIGHT + 1, price="9.0")]), LINK)
    board.ingest(frame("!markPrice@arr@1s", {"E": MIDNIGHT + 2}), LINK)
    assert price(board) == "1.0"
    assert price(board, "ETHUSDT") == "9.0"
    assert board.unusable == 2
    with pytest.raises(DecodeError):
        board.ingest(b'{"stream":"!markPrice@arr@1s","data":[]}', LINK)


# --- open interest --------------------------------------------------------------------------------


def interest(*hours: int, value: str = "1.0") -> list[dict[str, Any]]:
    return [samples.open_interest_row(MIDNIGHT + hour * HOUR, f"{value}{hour}") for hour in hours]


def stamps(series: OpenInterestSeries, limit: int = 1_000) -> list[int]:
    return [(row["timestamp"] - MIDNIGHT) // HOUR for row in series.read(limit)]


def test_open_interest_grows_and_is_trimmed() -> None:
    series = OpenInterestSeries("BTCUSDT", "1h", 5)
    assert (series.asked(), series.newest(), series.read(3), len(series)) == (0, 0, [], 0)
    series.merge_rest(interest(0, 1, 2), asked=MIDNIGHT + 3 * HOUR, limit=3)
    series.merge_rest(interest(2, 3), asked=MIDNIGHT + 4 * HOUR, limit=2)
    assert stamps(series) == [0, 1, 2, 3]
    assert stamps(series, 2) == [2, 3]
    series.merge_rest(interest(4, 5, 6), asked=MIDNIGHT + 7 * HOUR, limit=3)
    assert stamps(series) == [2, 3, 4, 5, 6]
    assert series.newest() == MIDNIGHT + 6 * HOUR
    assert series.asked() == MIDNIGHT + 7 * HOUR


def test_of_two_rows_the_later_answer_wins_in_either_order() -> None:
    early, late = (interest(0, 1, value="1."), MIDNIGHT + HOUR), (interest(1, 2, value="2."), MIDNIGHT + 2 * HOUR)
    for order in ([early, late], [late, early]):
        series = OpenInterestSeries("BTCUSDT", "1h", 50)
        for rows, asked in order:
            series.merge_rest(rows, asked=asked, limit=2)
        assert [row["sumOpenInterest"] for row in series.read(5)] == ["1.0", "2.1", "2.2"]
        assert series.asked() == MIDNIGHT + 2 * HOUR


def test_a_short_history_of_open_interest_is_complete() -> None:
    series = OpenInterestSeries("BTCUSDT", "1h", 3)
    series.merge_rest(interest(0, 1), asked=MIDNIGHT, limit=2)
    assert not series.complete
    series.merge_rest(interest(0, 1), asked=MIDNIGHT, limit=30)
    assert series.complete
    series.merge_rest(interest(2, 3), asked=MIDNIGHT, limit=2)
    assert not series.complete, "the oldest row was dropped"


def test_periods_without_a_row_are_no_hole() -> None:
    series = OpenInterestSeries("BTCUSDT", "1h", 50)
    series.merge_rest(interest(0, 1, 5, 6), asked=MIDNIGHT + 7 * HOUR, limit=4)
    assert stamps(series) == [0, 1, 5, 6]


def test_an_answer_that_does_not_reach_what_is_known_leaves_no_hole() -> None:
    series = OpenInterestSeries("BTCUSDT", "1h", 50)
    series.merge_rest(interest(*range(10)), asked=MIDNIGHT + 10 * HOUR, limit=10)
    series.merge_rest(interest(40, 41, 42), asked=MIDNIGHT + 43 * HOUR, limit=3)
    assert stamps(series) == [40, 41, 42]
    assert not series.complete


def test_rows_of_open_interest_are_the_callers_own() -> None:
    series = OpenInterestSeries("BTCUSDT", "1h", 50)
    series.merge_rest(interest(0), asked=MIDNIGHT, limit=5)
    series.read(1)[0]["sumOpenInterest"] = "spoilt"
    assert series.read(1)[0]["sumOpenInterest"] == "1.00"


# --- forced orders --------------------------------------------------------------------------------


def test_forced_orders_are_kept_by_symbol_and_in_all() -> None:
    board = Liquidations(3)
    for second in range(5):
        board.ingest(samples.liquidation_frame("A" if second % 2 else "B", at=MIDNIGHT + second), LINK)
    assert [order.time - MIDNIGHT for order in board.read(None, 10)] == [2, 3, 4]
    assert [order.time - MIDNIGHT for order in board.read("A", 10)] == [1, 3]
    assert [order.time - MIDNIGHT for order in board.read("B", 2)] == [2, 4]
    assert board.read("C", 5) == []
    assert board.event == MIDNIGHT + 4


def test_a_forced_order_told_twice_is_one() -> None:
    board = Liquidations(10)
    board.ingest(samples.liquidation_frame("A"), LINK)
    board.ingest(samples.liquidation_frame("A"), LINK)
    board.ingest(samples.liquidation_frame("A", price="1.0"), LINK)
    assert len(board.read("A", 10)) == len(board.read(None, 10)) == 2


def test_coin_margined_orders_are_not_ours() -> None:
    board = Liquidations(10)
    data = samples.liquidation_data("BTCUSD_PERP") | {"st": 2, "ps": "BTCUSD"}
    board.ingest(frame("!forceOrder@arr", data), LINK)
    assert board.read(None, 10) == []
    board.ingest(samples.liquidation_frame("BTCUSDT"), LINK)
    assert len(board.read(None, 10)) == 1


def test_an_unusable_forced_order_is_refused() -> None:
    board = Liquidations(10)
    with pytest.raises(DecodeError):
        board.ingest(frame("!forceOrder@arr", {"o": {}}), LINK)
    assert board.read(None, 10) == []


# --- kept answers ---------------------------------------------------------------------------------


def test_an_answer_is_kept_for_its_time_and_then_forgotten() -> None:
    clock = HandClock()
    cache: AnswerCache[str] = AnswerCache(60.0, now=clock)
    cache.put("a", "value", MIDNIGHT)
    clock.now += 59.9
    kept = cache.get("a")
    assert kept is not None
    assert (kept.value, kept.as_of) == ("value", MIDNIGHT)
    assert len(cache) == 1
    clock.now += 0.2
    assert cache.get("a") is None
    assert len(cache) == 0


def test_an_older_answer_that_comes_later_changes_nothing() -> None:
    clock = HandClock()
    cache: AnswerCache[str] = AnswerCache(60.0, now=clock)
    cache.put("a", "new", MIDNIGHT + 5)
    cache.put("a", "old", MIDNIGHT)
    kept = cache.get("a")
    assert kept is not None
    assert kept.value == "new"
    cache.put("a", "newest", MIDNIGHT + 6)
    assert cache.get("a") != kept
    cache.drop("a")
    cache.drop("a")
    assert cache.get("a") is None


@given(st.lists(st.integers(0, 100), max_size=60))
def test_no_more_answers_are_kept_than_were_allowed(keys: list[int]) -> None:
    cache: AnswerCache[int] = AnswerCache(60.0, now=HandClock(), most=7)
    for key in keys:
        cache.put(key, key, key)
    assert len(cache) <= 7
    for key in keys:
        kept = cache.get(key)
        assert kept is None or kept.value == key


def test_spot_prices_are_replaced_as_a_whole() -> None:
    clock = HandClock()
    board = SpotBoard(100.0, now=clock)
    assert board.get() is None
    board.merge_rest({"A": "1.0", "B": "2.0"}, MIDNIGHT)
    board.merge_rest({"A": "1.5"}, MIDNIGHT + 5)
    board.merge_rest({"A": "0.5"}, MIDNIGHT + 1)
    held = board.get()
    assert held is not None
    assert (dict(held.value), held.as_of) == ({"A": "1.5"}, MIDNIGHT + 5)
    clock.now += 101
    assert board.get() is None


@given(st.permutations(range(6)), st.randoms(use_true_random=False))
def test_marks_do_not_depend_on_the_order_of_arrival(order: list[int], dice: random.Random) -> None:
    board = MarkBoard()
    for second in order:
        if dice.random() < 0.5:
            board.ingest(samples.marks_frame(["BTCUSDT"], event=MIDNIGHT + second, price=f"{second}.5"), LINK)
        else:
            board.merge_rest(marks(MIDNIGHT + second, f"{second}.5"), asked=MIDNIGHT, whole=True)
        if dice.random() < 0.3:
            board.get("BTCUSDT")
    assert price(board) == "5.5"
