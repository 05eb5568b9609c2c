from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.store import values
from ats_sync.store.link import Link
from ats_sync.store.series import Origin
from ats_sync.store.values import (
    MOST_PENDING,
    AnswerCache,
    LiquidationBoard,
    MarkBoard,
    SpotBoard,
    retention,
)
from ats_sync.venue.payload import DecodeError
from ats_sync.venue.values import Mark, rest_marks, stream_marks

from ..venue import samples
from ..venue.samples import MIDNIGHT, compact, frame

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


def marks(at: int, value: str, *symbols: str) -> list[Mark]:
    return rest_marks(compact([samples.rest_mark(s, at=at, price=value) for s in symbols or ("BTCUSDT",)]))


def test_the_later_mark_wins_in_either_order() -> None:
    for order in ([1, 2], [2, 1]):
        board = MarkBoard()
        for second in order:
            board.apply(samples.marks_frame(["BTCUSDT"], event=MIDNIGHT + second, price=f"{second}.0"), LINK)
        assert price(board) == "2.0"
        assert board.event == MIDNIGHT + 2


def test_an_answer_older_than_the_stream_changes_nothing() -> None:
    board = MarkBoard()
    board.apply(samples.marks_frame(["BTCUSDT"], event=MIDNIGHT + 5, price="5.0"), LINK)
    board.replace(marks(MIDNIGHT, "1.0"), Origin(MIDNIGHT + 9))
    assert price(board) == "5.0"
    assert board.state(0).answered == MIDNIGHT + 9
    board.replace(marks(MIDNIGHT + 6, "6.0"), Origin(MIDNIGHT + 7))
    assert price(board) == "6.0"
    assert (board.event, board.state(0).answered) == (MIDNIGHT + 6, MIDNIGHT + 9)


def test_marks_of_all_symbols() -> None:
    board = MarkBoard()
    board.replace(marks(MIDNIGHT, "1.0", "A", "B"), Origin(MIDNIGHT))
    board.apply(samples.marks_frame(["B", "C"], event=MIDNIGHT + 5, price="5.0"), LINK)
    everything = board.everything()
    assert {symbol: mark.mark_price for symbol, mark in everything.items()} == {"A": "1.0", "B": "5.0", "C": "5.0"}
    everything.clear()
    assert price(board, "A") == "1.0"
    assert board.get("D") is None


def test_nothing_grows_while_nobody_reads() -> None:
    board = MarkBoard()
    for second in range(100):
        board.apply(samples.marks_frame(["BTCUSDT"], event=MIDNIGHT + second, price=f"{second}"), LINK)
    assert len(board._pending) <= MOST_PENDING
    assert price(board) == "99"


def test_marks_that_newer_frames_have_too_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    board = MarkBoard()
    for second in range(5):
        board.apply(samples.marks_frame(["A", "B"], event=MIDNIGHT + second, price=f"{second}"), LINK)
    board.apply(samples.marks_frame(["A", "C"], event=MIDNIGHT + 2, price="0"), LINK)
    decoded: list[str] = []

    def counting(frame: bytes, *arguments: Any) -> tuple[list[Mark], int]:
        found = stream_marks(frame, *arguments)
        decoded.extend(mark.symbol for mark in found[0])
        return found

    monkeypatch.setattr(values, "stream_marks", counting)
    assert {symbol: mark.mark_price for symbol, mark in board.everything().items()} == {"A": "4", "B": "4", "C": "0"}
    assert sorted(decoded) == ["A", "A", "B", "C"]


def test_unusable_marks_are_counted_and_harm_no_other() -> None:
    board = MarkBoard()
    board.apply(samples.marks_frame(["BTCUSDT"], price="1.0"), LINK)
    bad = samples.mark_data("BTCUSDT", event=MIDNIGHT + 1) | {"p": ""}
    board.apply(frame("!markPrice@arr@1s", [bad, samples.mark_data("ETHUSDT", event=MIDNIGHT + 1, price="9.0")]), LINK)
    board.apply(frame("!markPrice@arr@1s", {"E": MIDNIGHT + 2}), LINK)
    assert price(board) == "1.0"
    assert price(board, "ETHUSDT") == "9.0"
    with pytest.raises(DecodeError):
        board.apply(b'{"stream":"!markPrice@arr@1s","data":[]}', LINK)


# --- forced orders --------------------------------------------------------------------------------


def test_forced_orders_are_kept_by_symbol_and_in_all() -> None:
    board = LiquidationBoard(3)
    for second in range(5):
        board.apply(samples.liquidation_frame("A" if second % 2 else "B", at=MIDNIGHT + second), LINK)
    assert [order.time - MIDNIGHT for order in board.read(None, 10)] == [2, 3, 4]
    assert [order.time - MIDNIGHT for order in board.read("A", 10)] == [1, 3]
    assert [order.time - MIDNIGHT for order in board.read("B", 2)] == [2, 4]
    assert board.read("C", 5) == []
    assert board.event == MIDNIGHT + 4


def test_a_forced_order_reported_twice_is_one() -> None:
    board = LiquidationBoard(10)
    board.apply(samples.liquidation_frame("A"), LINK)
    board.apply(samples.liquidation_frame("A"), LINK)
    board.apply(samples.liquidation_frame("A", price="1.0"), LINK)
    assert len(board.read("A", 10)) == len(board.read(None, 10)) == 2


def test_forced_orders_of_coin_margined_contracts_are_ignored() -> None:
    board = LiquidationBoard(10)
    data = samples.liquidation_data("BTCUSD_PERP") | {"st": 2, "ps": "BTCUSD"}
    board.apply(frame("!forceOrder@arr", data), LINK)
    assert board.read(None, 10) == []
    board.apply(samples.liquidation_frame("BTCUSDT"), LINK)
    assert len(board.read(None, 10)) == 1


def test_an_unusable_forced_order_is_refused() -> None:
    board = LiquidationBoard(10)
    with pytest.raises(DecodeError):
        board.apply(frame("!forceOrder@arr", {"o": {}}), LINK)
    assert board.read(None, 10) == []


# --- kept answers ---------------------------------------------------------------------------------


def test_an_answer_is_kept_for_some_time_and_then_forgotten() -> None:
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


@settings(deadline=None)
@given(st.lists(st.integers(0, 100), max_size=60))
def test_no_more_answers_are_kept_than_allowed(keys: list[int]) -> None:
    cache: AnswerCache[int] = AnswerCache(60.0, now=HandClock(), most=7)
    for key in keys:
        cache.put(key, key, key)
    assert len(cache) <= 7
    for key in keys:
        kept = cache.get(key)
        assert kept is None or kept.value == key


def test_spot_prices_are_replaced_as_a_whole() -> None:
    clock = HandClock()
    board = SpotBoard(now=clock)
    assert board.get() is None
    board.replace({"A": "1.0", "B": "2.0"}, Origin(MIDNIGHT))
    board.replace({"A": "1.5"}, Origin(MIDNIGHT + 5))
    board.replace({"A": "0.5"}, Origin(MIDNIGHT + 1))
    held = board.get()
    assert held is not None
    assert (dict(held.value), held.as_of) == ({"A": "1.5"}, MIDNIGHT + 5)
    clock.now += retention(board.key) + 1
    assert board.get() is None


@settings(deadline=None)
@given(st.permutations(range(6)), st.randoms(use_true_random=False))
def test_marks_do_not_depend_on_the_order_of_arrival(order: list[int], dice: random.Random) -> None:
    board = MarkBoard()
    for second in order:
        if dice.random() < 0.5:
            board.apply(samples.marks_frame(["BTCUSDT"], event=MIDNIGHT + second, price=f"{second}.5"), LINK)
        else:
            board.replace(marks(MIDNIGHT + second, f"{second}.5"), Origin(MIDNIGHT))
        if dice.random() < 0.3:
            board.get("BTCUSDT")
    assert price(board) == "5.5"


def test_a_mark_with_a_time_in_the_future_does_not_stay_the_newest() -> None:
    board = MarkBoard()
    board.apply(samples.marks_frame(["BTCUSDT"], event=MIDNIGHT + 86_400_000, price="9.0"), LINK)
    board.apply(samples.marks_frame(["BTCUSDT", "ETHUSDT"], event=MIDNIGHT + 1_000, price="7.0"), LINK)
    assert price(board) == "9.0"
    board.forget_ahead(MIDNIGHT + 3_000)
    assert board.event == MIDNIGHT + 3_000
    assert (price(board), price(board, "ETHUSDT")) == (None, "7.0")
    board.apply(samples.marks_frame(["BTCUSDT"], event=MIDNIGHT + 2_000, price="8.0"), LINK)
    assert price(board) == "8.0"
