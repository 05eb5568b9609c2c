from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.errors import MalformedAnswer
from ats_sync.venue import decode
from ats_sync.venue.decode import DecodeError

from . import samples
from .mutations import mutated, replaced
from .samples import MIDNIGHT, MINUTE, compact, frame

KLINE = samples.kline_frame(samples.row(MIDNIGHT), symbol="币安人生USDT", event=MIDNIGHT + 812)
FINAL = samples.kline_frame(samples.row(MIDNIGHT), final=True)
TRADE = samples.trade_frame(77)
BOOK = samples.book_frame(4711)
MARKS = samples.marks_frame(["BTCUSDT", "币安人生USDT"])
LIQUIDATION = samples.liquidation_frame("BTCUSDT")
TICKERS = samples.tickers_frame({"BTCUSDT": 5, "ETHUSDT": 6})
QUOTES = samples.quotes_frame("BTCUSDT", 4712)
FRAMES = [KLINE, FINAL, TRADE, BOOK, MARKS, LIQUIDATION, TICKERS, QUOTES]

KLINES_BODY = compact([samples.row(MIDNIGHT + i * MINUTE) for i in range(3)])
ANSWERS: dict[Callable[[bytes], Any], bytes] = {
    decode.kline_texts: KLINES_BODY,
    decode.trades: compact([samples.rest_trade(i) for i in (3, 4)]),
    decode.book_snapshot: compact(samples.rest_book(5)),
    decode.rest_marks: compact([samples.rest_mark("BTCUSDT"), samples.rest_mark("ETHUSDT")]),
    decode.spot_prices: compact([{"symbol": "BTCUSDT", "price": "1.5"}, {"symbol": "ETHUSDT", "price": "2"}]),
    decode.open_interest: compact([samples.open_interest_row(MIDNIGHT)]),
    decode.exchange_info: compact(samples.exchange_info({"BTCUSDT": "TRADING", "X": "SETTLING"})),
    decode.server_time: compact({"serverTime": MIDNIGHT}),
}
SCANS: list[Callable[[bytes], Any]] = [
    decode.stream_name,
    decode.normalised,
    decode.scan_kline,
    decode.scan_kline_last_trade,
    decode.scan_trade,
    decode.scan_trade_end,
    decode.scan_book,
    decode.scan_event_time,
    decode.scan_quotes,
    decode.kline_text,
    decode.trade,
    decode.partial_book,
    decode.stream_marks,
    decode.liquidation,
    decode.stream_tickers,
    decode.best_quotes,
]


def scanned(message: bytes, scan: Callable[[bytes], Any]) -> Any:
    """What scanning makes of a frame of whatever order and spacing."""
    whole = decode.normalised(message)
    assert isinstance(whole, bytes)
    return scan(whole)


def shuffled(value: Any, order: random.Random) -> Any:
    """The same value with the keys of every object in another order."""
    if isinstance(value, dict):
        items = [(key, shuffled(item, order)) for key, item in value.items()]
        order.shuffle(items)
        return dict(items)
    if isinstance(value, list):
        return [shuffled(item, order) for item in value]
    return value


# --- the others -----------------------------------------------------------------------------------


def test_trades_of_rest_are_ordered_and_keep_the_new_field() -> None:
    found = decode.trades(compact([samples.rest_trade(9), samples.rest_trade(7), samples.rest_trade(8)]))
    assert [trade.id for trade in found] == [7, 8, 9]
    assert found[0] == decode.trade(samples.trade_frame(7))
    old = samples.rest_trade(7)
    del old["nq"]
    assert decode.trades(compact([old]))[0].normal_quantity is None


@pytest.mark.parametrize("bad", [None, 5, "x", [], {}, {"a": 1}, samples.rest_trade(1) | {"m": 1}])
def test_one_bad_trade_spoils_the_answer(bad: Any) -> None:
    with pytest.raises(MalformedAnswer):
        decode.trades(compact([samples.rest_trade(0), bad]))


def test_a_crossed_book_is_refused() -> None:
    crossed = samples.rest_book(5) | {"bids": [["2", "1"]], "asks": [["1", "1"]]}
    with pytest.raises(MalformedAnswer):
        decode.book_snapshot(compact(crossed))
    with pytest.raises(DecodeError):
        decode.partial_book(frame("a", samples.book_data(5) | {"b": [["10", "1"]], "a": [["9", "1"]]}))


def test_a_thin_or_empty_book_is_a_book() -> None:
    book = decode.book_snapshot(compact(samples.rest_book(5) | {"bids": [], "asks": [["1", "2"]]}))
    assert (book.bids, book.asks) == ([], [["1", "2"]])


@pytest.mark.parametrize("side", ["bids", "asks"])
@pytest.mark.parametrize("bad", [None, {}, [[]], [["1"]], [["1", 2]], [[1, "2"]], ["12"], [["", "1"]], [["1", None]]])
def test_bad_levels_are_refused(side: str, bad: Any) -> None:
    with pytest.raises(MalformedAnswer):
        decode.book_snapshot(compact(samples.rest_book(5) | {side: bad}))


def test_one_bad_element_drops_only_itself() -> None:
    good, bad = samples.mark_data("BTCUSDT"), samples.mark_data("ETHUSDT")
    elements = [good, bad | {"p": ""}, bad | {"s": ""}, bad | {"E": None}, None, 5, "x", [], {}]
    marks, dropped = decode.stream_marks(frame("!markPrice@arr@1s", elements))
    assert [mark.symbol for mark in marks] == ["BTCUSDT"]
    assert dropped == len(elements) - 1
    assert [mark.symbol for mark in decode.rest_marks(compact([samples.rest_mark("A"), {}, None]))] == ["A"]
    assert decode.spot_prices(compact([{"symbol": "A", "price": "1.0"}, {"symbol": "B"}, 5])) == {"A": "1.0"}
    assert decode.last_trades([samples.ticker_data("A", 5), {"symbol": "B", "lastId": 6}, {}, None, "x"]) == {
        "A": 5,
        "B": 6,
    }


def test_a_perpetual_without_funding_has_a_rate_of_nought() -> None:
    delivery = samples.mark_data("BTCUSDT_261225") | {"r": ""}
    ((mark,), dropped) = decode.stream_marks(frame("!markPrice@arr@1s", [delivery]))
    assert (mark.funding_rate, dropped) == ("0", 0)


def test_a_mark_says_the_same_by_stream_and_by_rest() -> None:
    ((streamed,), _) = decode.stream_marks(samples.marks_frame(["BTCUSDT"]))
    (answered,) = decode.rest_marks(compact(samples.rest_mark("BTCUSDT")))
    assert answered.answer == samples.rest_mark("BTCUSDT")
    for name in ("symbol", "mark_price", "funding_rate", "next_funding_time", "time"):
        assert getattr(streamed, name) == getattr(answered, name)


@pytest.mark.parametrize("read", [decode.rest_marks, decode.spot_prices])
@pytest.mark.parametrize("body", [b'{"code":0}', b"[5]", b'["x"]', b"[{}]"])
def test_an_answer_without_one_good_element_is_refused(read: Callable[[bytes], Any], body: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        read(body)


@pytest.mark.parametrize("read", [decode.rest_marks, decode.spot_prices])
@pytest.mark.parametrize("body", [b"{}", b"[]"])
def test_an_answer_that_names_no_symbol_is_refused(read: Callable[[bytes], Any], body: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        read(body)


def test_open_interest_is_ordered_and_kept_as_it_was_written() -> None:
    rows = [samples.open_interest_row(MIDNIGHT + i) for i in (2, 0, 1)]
    assert decode.open_interest(compact(rows)) == sorted(rows, key=lambda row: row["timestamp"])
    assert decode.open_interest(b"[]") == []
    with pytest.raises(MalformedAnswer):
        decode.open_interest(compact([samples.open_interest_row(MIDNIGHT) | {"timestamp": "1"}]))


def test_a_forced_order_is_kept_whole() -> None:
    order = decode.liquidation(LIQUIDATION)
    assert (order.symbol, order.time) == ("BTCUSDT", MIDNIGHT)
    assert order.order == samples.liquidation_data("BTCUSDT")["o"]
    old = samples.liquidation_data("BTCUSDT")
    del old["o"]["ap"]
    assert decode.liquidation(frame("!forceOrder@arr", old)).symbol == "BTCUSDT"


@pytest.mark.parametrize("field", ["s", "S", "T", "p", "q"])
@pytest.mark.parametrize("bad", [None, "", [], True])
def test_a_bad_forced_order_is_refused(field: str, bad: Any) -> None:
    data = samples.liquidation_data("BTCUSDT")
    data["o"][field] = bad
    with pytest.raises(DecodeError):
        decode.liquidation(frame("!forceOrder@arr", data))


def test_exchange_info_tells_who_trades_and_the_limit() -> None:
    body = samples.exchange_info({"BTCUSDT": "TRADING", "OLDUSDT": "SETTLING"}, weight=1200)
    info = decode.exchange_info(compact(body))
    assert info.trading == {"BTCUSDT"}
    assert info.listed == {"BTCUSDT", "OLDUSDT"}
    assert info.weight_limit == 1200
    del body["rateLimits"]
    assert decode.exchange_info(compact(body)).weight_limit is None


@pytest.mark.parametrize("body", [b'{"symbols":[]}', b'{"symbols":{}}', b'{"rateLimits":[]}'])
def test_exchange_info_without_symbols_would_delist_everything(body: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        decode.exchange_info(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"symbols":[{"symbol":["x"],"status":"TRADING"},{"symbol":"A","status":"TRADING"}]}',
        b'{"symbols":[{"symbol":5},{"symbol":"A","status":"TRADING"}],"rateLimits":5}',
        b'{"symbols":[{},null,{"symbol":"A","status":["x"]},{"symbol":"A","status":"TRADING"}],"rateLimits":[5,null]}',
    ],
)
def test_bad_parts_of_exchange_info_are_left_out(body: bytes) -> None:
    info = decode.exchange_info(body)
    assert info.listed == {"A"}
    assert info.weight_limit is None


@pytest.mark.parametrize("limit", [0, -1, True, 2400.5, "2400", None])
def test_a_limit_that_can_not_be_one_is_not_believed(limit: Any) -> None:
    body = samples.exchange_info({"A": "TRADING"})
    body["rateLimits"][0]["limit"] = limit
    assert decode.exchange_info(compact(body)).weight_limit is None


def test_the_time_of_the_exchange() -> None:
    assert decode.server_time(b'{"serverTime":1795219200000}') == MIDNIGHT
    for body in (b"{}", b'{"serverTime":"1795219200000"}', b'{"serverTime":1.5}', b'{"serverTime":null}', b"[]"):
        with pytest.raises(MalformedAnswer):
            decode.server_time(body)


NO_ANSWERS = [
    b"", b" ", b"<html><body>502</body></html>", b"null", b"true", b"5", b'"x"', b"{", b"[[", b"[1,2", b"\xff\xfe\xfd",
    b"[null]", b"[[]]", b"[[[]]]", b'{"code":-1121,"msg":"Invalid symbol."}', b"[" * 100_000,
    b"[" + b"9" * 5_000 + b"]",
    b'[{"a":1}', b"nan", b"[NaN]",
]  # fmt: skip


@pytest.mark.parametrize("read", ANSWERS, ids=lambda read: read.__name__)
@pytest.mark.parametrize("body", NO_ANSWERS, ids=range(len(NO_ANSWERS)))
def test_what_is_no_answer_is_malformed(read: Callable[[bytes], Any], body: bytes) -> None:
    with pytest.raises(MalformedAnswer) as caught:
        read(body)
    assert caught.value.status == 200
    assert caught.value.retryable
    assert len(str(caught.value)) < 1_000


# --- fuzz -----------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(FRAMES).flatmap(lambda whole: mutated(whole) | replaced(whole)))
def test_no_frame_raises_anything_but_a_decode_error(message: bytes) -> None:
    for scan in SCANS:
        try:
            scan(message)
        except DecodeError:
            continue


@settings(deadline=None, max_examples=150)
@given(
    st.sampled_from(list(ANSWERS.items())).flatmap(
        lambda pair: st.tuples(st.just(pair[0]), mutated(pair[1]) | replaced(pair[1]))
    )
)
def test_no_answer_raises_anything_but_malformed(case: tuple[Callable[[bytes], Any], bytes]) -> None:
    read, body = case
    try:
        value = read(body)
    except MalformedAnswer:
        return
    if read is decode.kline_texts:
        for text in value:
            decode.text_open_time(text)
            decode.text_trades(text)
        assert len(decode.float_rows(value)) == len(decode.string_rows(value)) == len(value)


@settings(deadline=None, max_examples=80)
@given(mutated(FINAL) | replaced(FINAL))
def test_a_candle_that_has_a_text_has_a_row(message: bytes) -> None:
    try:
        text = decode.kline_text(message)
    except DecodeError:
        return
    (row,) = decode.float_rows([text])
    assert len(row) == 12
    assert decode.string_rows([text])[0][0] == decode.text_open_time(text)
