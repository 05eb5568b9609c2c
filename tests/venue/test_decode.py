from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.errors import MalformedAnswer
from ats_sync.venue import decode
from ats_sync.venue.decode import DecodeError

from . import recording as real
from . import samples
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


# --- the envelope ---------------------------------------------------------------------------------


def test_the_stream_name_is_found_in_place() -> None:
    assert decode.stream_name(TRADE) == b"btcusdt@aggTrade"
    assert decode.stream_name(KLINE) == "币安人生usdt@kline_1m".encode()


@pytest.mark.parametrize(
    "message",
    [b"", b"{}", b'{"stream":"abc', b'{"stream": "a","data":{}}', b'{"data":{},"stream":"a"}', b'{"stream":"\\u5e01"}'],
)
def test_a_name_that_is_not_plainly_there_is_left_to_the_parser(message: bytes) -> None:
    assert decode.stream_name(message) is None


def test_any_order_and_spacing_is_rewritten() -> None:
    message = json.loads(TRADE)
    odd = json.dumps({"data": message["data"], "new": 1, "stream": message["stream"]}, indent=1).encode()
    assert decode.normalised(odd) == TRADE


def test_escaped_names_are_unescaped() -> None:
    escaped = json.dumps(json.loads(KLINE)).encode()
    assert b"\\u" in escaped
    assert decode.normalised(escaped) == KLINE


@pytest.mark.parametrize(
    "message", [b'{"result":null,"id":7}', b'{"error":{"code":2,"msg":"x"},"id":7}', b'{"stream":null}']
)
def test_what_is_no_stream_frame_comes_back_as_its_object(message: bytes) -> None:
    assert decode.normalised(message) == json.loads(message)


@pytest.mark.parametrize(
    "message",
    [
        b"", b" ", b"[]", b"null", b"5", b'"x"', b"{", b'{"stream":"a"}', b'{"stream":5,"data":{}}', b"\xff\xfe",
        b"<html></html>", b'{"stream":"a","data":{}', b"[" * 100_000, b"\x00" * 8,
        b'{"data":{"a":' + b"9" * 5_000 + b'},"stream":"a"}',
    ],
)  # fmt: skip
def test_what_is_no_frame_is_refused(message: bytes) -> None:
    with pytest.raises(DecodeError):
        decode.normalised(message)


@pytest.mark.parametrize("message", [b'{"data":{},"stream":"\\ud800"}', b'{"data":{"s":"\\udfff"},"stream":"a"}'])
def test_half_characters_are_refused(message: bytes) -> None:
    with pytest.raises(DecodeError):
        decode.normalised(message)


def test_nesting_of_any_depth_is_refused_or_passed() -> None:
    for depth in (*range(800, 1_000), 5_000, 200_000):
        message = b'{"data":' + b"[" * depth + b"]" * depth + b',"stream":"x"}'
        try:
            decode.normalised(message)
        except DecodeError:
            continue


# --- scanning and decoding say the same -----------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.randoms(use_true_random=False), st.sampled_from([None, 1]), st.booleans())
def test_a_kline_is_read_by_name_in_any_order(order: random.Random, indent: int | None, final: bool) -> None:
    row = samples.row(MIDNIGHT, trades=31)
    data = samples.kline_data(row, symbol="BTCUSDT", interval="1m", event=MIDNIGHT + 500, final=final)
    data |= {"st": 1, "ps": "BTCUSDT", "zz": [1, {"y": "1"}]}
    message = json.dumps(shuffled({"stream": "btcusdt@kline_1m", "data": data}, order), indent=indent).encode()
    assert scanned(message, decode.scan_kline) == (MIDNIGHT, 31, final, MIDNIGHT + 500)
    assert scanned(message, decode.scan_kline_last_trade) == data["k"]["L"]
    assert scanned(message, decode.kline_text) == samples.row_text(row)


@settings(deadline=None, max_examples=40)
@given(st.randoms(use_true_random=False), st.sampled_from([None, 2]))
def test_a_trade_is_read_by_name_in_any_order(order: random.Random, indent: int | None) -> None:
    data = samples.trade_data(77, at=MIDNIGHT)
    message = json.dumps(shuffled({"stream": "btcusdt@aggTrade", "data": data}, order), indent=indent).encode()
    assert scanned(message, decode.scan_trade) == (77, MIDNIGHT + 3)
    assert scanned(message, decode.scan_trade_end) == (155, MIDNIGHT)
    assert scanned(message, decode.trade) == decode.Trade(77, "7.6110", "3", 154, 155, MIDNIGHT, False, "3")


@settings(deadline=None, max_examples=40)
@given(st.randoms(use_true_random=False), st.sampled_from([None, 2]))
def test_a_book_is_read_by_name_in_any_order(order: random.Random, indent: int | None) -> None:
    data = samples.book_data(4711)
    message = json.dumps(shuffled({"stream": "btcusdt@depth20@100ms", "data": data}, order), indent=indent).encode()
    assert scanned(message, decode.scan_book) == (4711, MIDNIGHT)
    book = scanned(message, decode.partial_book)
    assert (book.update_id, book.time, book.transaction_time) == (4711, MIDNIGHT, MIDNIGHT - 4)
    assert (book.bids, book.asks) == (data["b"], data["a"])


@settings(deadline=None, max_examples=40)
@given(st.randoms(use_true_random=False))
def test_quotes_are_read_by_name_in_any_order(order: random.Random) -> None:
    data = samples.quotes_data("币安人生USDT", 12)
    message = json.dumps(shuffled({"stream": "!bookTicker", "data": data}, order)).encode()
    assert scanned(message, decode.scan_quotes) == ("币安人生USDT", 12)
    assert scanned(message, decode.best_quotes) == ("7.6110", "10", "7.6120", "10")


def test_last_fields_of_their_object_are_numbers_too() -> None:
    message = b'{"stream":"a","data":{"b":[],"e":"x","u":5,"E":12}}'
    assert decode.scan_book(message) == (5, 12)


@pytest.mark.parametrize("value", [b'"5"', b"-5", b"5.0", b"5e3", b"null", b"true", b"", b" 5", b"[5]", b"{}", b"5x"])
@pytest.mark.parametrize("shape", [b'{"stream":"a","data":{"a":%s,"E":7}}', b'{"stream":"a","data":{"E":7,"a":%s}}'])
def test_what_is_no_whole_number_is_no_id(value: bytes, shape: bytes) -> None:
    with pytest.raises(DecodeError):
        decode.scan_trade(shape % value)


@pytest.mark.parametrize("digits", [21, 400, 5_000])
@pytest.mark.parametrize("shape", [b'{"stream":"a","data":{"a":%s,"E":7}}', b'{"stream":"a","data":{"E":7,"a":%s}}'])
def test_endless_numbers_are_refused(digits: int, shape: bytes) -> None:
    with pytest.raises(DecodeError):
        decode.scan_trade(shape % (b"9" * digits))


@pytest.mark.parametrize("scan", [decode.scan_kline, decode.scan_trade, decode.scan_book])
@pytest.mark.parametrize("whole", [KLINE, TRADE, BOOK])
def test_a_frame_cut_short_is_refused_wherever_it_was_cut(scan: Callable[[bytes], Any], whole: bytes) -> None:
    for end in range(len(whole)):
        if whole[end - 1 : end] != b"}":
            with pytest.raises(DecodeError):
                scan(whole[:end])


# --- klines ---------------------------------------------------------------------------------------


def test_a_kline_event_and_the_row_of_rest_have_one_text() -> None:
    rows = [samples.row(MIDNIGHT + i * MINUTE, trades=i) for i in range(3)]
    texts = decode.kline_texts(compact(rows))
    assert texts == [samples.row_text(row) for row in rows]
    assert [decode.kline_text(samples.kline_frame(row)) for row in rows] == texts
    assert decode.string_rows(texts) == rows
    assert [decode.text_open_time(text) for text in texts] == [row[0] for row in rows]
    assert [decode.text_trades(text) for text in texts] == [0, 1, 2]


def test_floats_stand_in_place_of_the_strings() -> None:
    row = samples.row(MIDNIGHT)
    (floats,) = decode.float_rows([samples.row_text(row)])
    assert floats == [float(value) if isinstance(value, str) else value for value in row]
    assert [type(value) for value in floats] == [int, *[float] * 5, int, float, int, float, float, float]


def test_no_rows_are_no_rows() -> None:
    assert decode.kline_texts(b"[]") == decode.kline_texts(b" [ ] ") == []
    assert decode.string_rows([]) == decode.float_rows([]) == []


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=5), st.sampled_from([None, 1]))
def test_rows_with_white_space_are_the_same_rows(trades: list[int], indent: int | None) -> None:
    rows = [samples.row(MIDNIGHT + i * MINUTE, trades=n) for i, n in enumerate(trades)]
    assert decode.kline_texts(json.dumps(rows, indent=indent).encode()) == decode.kline_texts(compact(rows))


def test_the_flat_row_is_what_rest_shows() -> None:
    previous = samples.row(MIDNIGHT, price="0.00004120")
    flat = decode.flat_text(MIDNIGHT + MINUTE, MIDNIGHT + 2 * MINUTE - 1, samples.row_text(previous))
    assert decode.string_rows([flat]) == [samples.row(MIDNIGHT + MINUTE, price="0.00004120", trades=0)]


BAD_FIELDS: list[Any] = [
    None,
    "",
    "x",
    5,
    -1.5,
    True,
    [],
    {},
    "1,2",
    "1.2.3",
    ".",
    "1.",
    ".5",
    "--1",
    "nan",
    "inf",
    " 1",
    "1\n",
]


@pytest.mark.parametrize("index", [1, 2, 3, 4, 5, 7, 9, 10, 11])
@pytest.mark.parametrize("bad", BAD_FIELDS)
def test_a_row_with_a_bad_decimal_is_refused(index: int, bad: Any) -> None:
    rows = [samples.row(MIDNIGHT), samples.row(MIDNIGHT + MINUTE)]
    rows[1][index] = bad
    with pytest.raises(MalformedAnswer):
        decode.kline_texts(compact(rows))


@pytest.mark.parametrize("index", [0, 6, 8])
@pytest.mark.parametrize("bad", [None, "", "5", 1.5, True, [], {}])
def test_a_row_with_a_bad_whole_number_is_refused(index: int, bad: Any) -> None:
    rows = [samples.row(MIDNIGHT), samples.row(MIDNIGHT + MINUTE)]
    rows[0][index] = bad
    with pytest.raises(MalformedAnswer):
        decode.kline_texts(compact(rows))


@pytest.mark.parametrize(
    ("index", "raw"), [(0, b""), (6, b""), (8, b""), (0, b"."), (0, b"1.5"), (0, b"007"), (8, b"00"), (8, b".")]
)
def test_a_row_that_is_no_json_is_refused(index: int, raw: bytes) -> None:
    parts = [compact(value) for value in samples.row(MIDNIGHT)]
    parts[index] = raw
    with pytest.raises(MalformedAnswer):
        decode.kline_texts(b"[[" + b",".join(parts) + b"]]")


@pytest.mark.parametrize(("opened", "event"), [(5, 10), (MIDNIGHT + 10 * MINUTE, MIDNIGHT), (10**18, 10**18)])
def test_a_candle_of_no_possible_time_is_refused(opened: int, event: int) -> None:
    with pytest.raises(DecodeError):
        decode.scan_kline(samples.kline_frame(samples.row(opened), event=event))
    with pytest.raises(MalformedAnswer):
        decode.kline_texts(compact([samples.row(10**18)]))


@pytest.mark.parametrize("field", list("tohlcvTqnVQ"))
@pytest.mark.parametrize("bad", ["missing", "", None, [], "x"])
def test_a_candle_with_a_bad_field_has_no_text(field: str, bad: Any) -> None:
    data = samples.kline_data(samples.row(MIDNIGHT), symbol="A", interval="1m", event=MIDNIGHT, final=True)
    if bad == "missing":
        del data["k"][field]
    else:
        data["k"][field] = bad
    with pytest.raises(DecodeError):
        decode.kline_text(frame("a@kline_1m", data))


# --- the real exchange ----------------------------------------------------------------------------


def test_every_real_candle_is_scanned_and_decoded_alike(recording: Path) -> None:
    seen = list(real.of_stream(recording, "@kline_1m"))
    assert len(seen) == 67
    assert sum(data["k"]["x"] for _, data in seen) == 4
    for message, data in seen:
        k = data["k"]
        assert decode.scan_kline(message) == (k["t"], k["n"], k["x"], data["E"])
        assert decode.scan_kline_last_trade(message) == k["L"]
        expected = [k["t"], *(k[name] for name in "ohlcv"), k["T"], k["q"], k["n"], k["V"], k["Q"], k["B"]]
        assert decode.string_rows([decode.kline_text(message)]) == [expected]


def test_every_real_trade_is_scanned_and_decoded_alike(recording: Path) -> None:
    seen = list(real.of_stream(recording, "@aggTrade"))
    assert len(seen) == 91
    for message, data in seen:
        assert decode.scan_trade(message) == (data["a"], data["E"])
        assert decode.scan_trade_end(message) == (data["l"], data["T"])
        assert decode.trade(message) == decode.Trade(
            data["a"], data["p"], data["q"], data["f"], data["l"], data["T"], data["m"], None
        )


def test_every_real_book_event_is_scanned(recording: Path) -> None:
    depth = list(real.of_stream(recording, "@depth"))
    quotes = list(real.of_stream(recording, "@bookTicker"))
    assert (len(depth), len(quotes)) == (764, 613)
    for message, data in depth:
        assert decode.scan_book(message) == (data["u"], data["E"])
    for message, data in quotes:
        assert decode.scan_quotes(message) == (data["s"], data["u"])
        assert decode.scan_event_time(message) == data["E"]
        assert decode.best_quotes(message) == (data["b"], data["B"], data["a"], data["A"])


def test_the_real_snapshots_are_books(recording: Path) -> None:
    found = list(real.answers(recording))
    assert len(found) == 4
    for _, body in found:
        book, values = decode.book_snapshot(body), json.loads(body)
        assert (book.update_id, book.time) == (values["lastUpdateId"], values["E"])
        assert book.bids == values["bids"]
        assert book.asks == values["asks"]


def test_the_real_exchange_info(recording: Path) -> None:
    info = decode.exchange_info(real.exchange_info(recording))
    assert {"SUSHIUSDT", "AKROUSDT", "KEEPUSDT", "CTKUSDT"} <= info.trading
    assert info.weight_limit == 2400
