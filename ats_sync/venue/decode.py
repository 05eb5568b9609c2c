"""From the exchange's bytes to values.

Two depths. *Scanning* takes from a frame what merging needs (ids, times, the final flag) by looking
for keys, without building objects: it runs for every frame. *Decoding* builds the values and checks
every field: it runs when somebody reads, and for the few frames that end a candle.

A kline row is kept as the text of one REST row without its brackets, such as
``1499040000000,"0.0163","0.8","0.0157","0.0158","148.1",1499644799999,"2.4",308,"17.3","2.8","0"``:
small, and exactly what REST wrote.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, NamedTuple

from ..errors import MalformedAnswer


class DecodeError(ValueError):
    """A payload is not what it should be; it is counted and dropped."""


Row = list[Any]
"""``[open_time, open, high, low, close, volume, close_time, quote_volume, trades, taker_buy_base,
taker_buy_quote, ignore]``."""

_DECIMAL: Final = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\Z", re.ASCII)
STREAM: Final = b'{"stream":"'
_NAME_AT: Final = len(STREAM)
SKEW: Final = 5_000
"""How much later (ms) than its event a candle may open."""


# --- the envelope ------------------------------------------------------------------------------


def stream_name(frame: bytes) -> bytes | None:
    """The stream a combined frame belongs to, where it stands first and unescaped; else None."""
    if frame.startswith(STREAM):
        end = frame.find(b'"', _NAME_AT)
        name = frame[_NAME_AT:end]
        if end > 0 and b"\\" not in name:
            return name
    return None


def normalised(frame: bytes) -> bytes | dict[str, Any]:
    """A frame of any key order and spacing, rewritten as scanning expects it.

    A message that is no stream frame (an acknowledgement, an error) comes back as its object.
    """
    try:
        message = json.loads(frame)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"not JSON: {error}") from None
    if not isinstance(message, dict):
        raise DecodeError("a frame that is no object")
    stream = message.get("stream")
    if stream is None:
        return message
    if not isinstance(stream, str) or "data" not in message:
        raise DecodeError("a frame without a stream name or without data")
    try:
        rewritten = json.dumps({"stream": stream, "data": message["data"]}, ensure_ascii=False, separators=(",", ":"))
        return rewritten.encode()
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"not to be rewritten: {error}") from None


def _data(frame: bytes) -> Any:
    try:
        return json.loads(frame)["data"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise DecodeError(f"not a combined frame: {error}") from None


def data_text(frame: bytes) -> bytes:
    """The data of a combined frame as JSON."""
    return json.dumps(_data(frame), ensure_ascii=False, separators=(",", ":")).encode()


# --- scanning ----------------------------------------------------------------------------------


def _number_after(frame: bytes, key: bytes, start: int = 0) -> int:
    at = frame.find(key, start)
    if at < 0:
        raise DecodeError(f"no {key.decode()} in the frame")
    at += len(key)
    comma = frame.find(b",", at)
    digits = frame[at:comma] if comma > 0 else b""
    if not digits.isdigit():
        # The last field of its object ends with a brace.
        digits = frame[at : at + 20].split(b"}", 1)[0].split(b",", 1)[0]
    if not digits.isdigit() or len(digits) > 19:
        raise DecodeError(f"{key.decode()} is no whole number")
    return int(digits)


def scan_kline(frame: bytes) -> tuple[int, int, bool, int]:
    """``(open time, trades, final, event time)`` of a kline frame."""
    k = frame.find(b'"k":{')
    if k < 0 or not frame.endswith(b"}}"):
        raise DecodeError("a kline frame without its candle")
    final = b'"x":true' in frame
    if not final and b'"x":false' not in frame:
        raise DecodeError("a kline frame without its final flag")
    opened, event = _number_after(frame, b'"t":', k), _number_after(frame, b'"E":')
    if not EARLIEST <= opened <= min(event + SKEW, LATEST):
        raise DecodeError("a candle that opens after its event")
    return opened, _number_after(frame, b'"n":', k), final, event


def scan_kline_last_trade(frame: bytes) -> int:
    """The id of the last trade in a kline frame's candle (-1 where there is none)."""
    try:
        return _number_after(frame, b'"L":', frame.find(b'"k":{'))
    except DecodeError:
        return -1


def scan_kline_first_trade(frame: bytes) -> int:
    """The id of the first trade in a kline frame's candle (-1 where there is none)."""
    try:
        return _number_after(frame, b'"f":', frame.find(b'"k":{'))
    except DecodeError:
        return -1


def scan_trade(frame: bytes) -> tuple[int, int]:
    """``(aggregated trade id, event time)`` of an aggTrade frame."""
    if not frame.endswith(b"}}"):
        raise DecodeError("an aggTrade frame that is cut short")
    return _number_after(frame, b'"a":'), _number_after(frame, b'"E":')


def scan_trade_end(frame: bytes) -> tuple[int, int]:
    """``(id of the last trade it sums up, time of trading in ms)`` of an aggTrade frame."""
    return _number_after(frame, b'"l":'), _number_after(frame, b'"T":')


def scan_book(frame: bytes) -> tuple[int, int]:
    """``(last update id, event time)`` of a depth frame."""
    if not frame.endswith(b"}}"):
        raise DecodeError("a depth frame that is cut short")
    return _number_after(frame, b'"u":'), _number_after(frame, b'"E":')


def scan_event_time(frame: bytes) -> int:
    """The first event time in a frame, ms."""
    return _number_after(frame, b'"E":')


# --- fields ------------------------------------------------------------------------------------


def _decimal(value: object) -> str:
    if isinstance(value, str) and _DECIMAL.match(value):
        return value
    raise DecodeError(f"{value!r} is no decimal")


def _whole(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise DecodeError(f"{value!r} is no whole number")


def _field(values: dict[str, Any], key: str) -> Any:
    try:
        return values[key]
    except (KeyError, TypeError):
        raise DecodeError(f"the field {key!r} is missing") from None


# --- klines ------------------------------------------------------------------------------------

_WHOLE: Final = rb"(?:0|[1-9]\d{0,17})"
_QUOTED: Final = rb'"\d+(?:\.\d+)?"'
_ROW: Final = b",".join([_WHOLE, *[_QUOTED] * 5, _WHOLE, _QUOTED, _WHOLE, *[_QUOTED] * 3])
_CANDLE_FIELDS: Final = itemgetter(*"tohlcvTqnVQ")
_ROW_TYPES: Final = [int, *[str] * 5, int, str, int, *[str] * 3]
_ONE_ROW: Final = re.compile(_ROW)
_ROWS: Final = re.compile(rb"\[\[" + _ROW + rb"(?:\],\[" + _ROW + rb")*\]\]")
EARLIEST, LATEST = 1_000_000_000_000, 4_000_000_000_000
"""Times (ms) from 2001 to 2096: anything else is no time."""


def kline_text(frame: bytes) -> bytes:
    """The candle of a kline frame as the text of a REST row, every field checked."""
    k = _field(_data(frame), "k")
    if not isinstance(k, dict):
        raise DecodeError("the candle of a kline frame is no object")
    try:
        fields = _CANDLE_FIELDS(k)
    except KeyError as error:
        raise DecodeError(f"the field {error} is missing") from None
    return kline_text_of((*fields, k.get("B", "0")))


def kline_text_of(row: Sequence[Any]) -> bytes:
    """One REST kline row, already parsed, as its text; every field checked."""
    if not isinstance(row, (list, tuple)) or len(row) < 12:
        raise DecodeError("a kline row of fewer than 12 items")
    if list(map(type, row[:12])) == _ROW_TYPES:
        t, o, h, low, c, v, close_time, q, n, taker_base, taker_quote, ignore = row[:12]
        text = (
            f'{t},"{o}","{h}","{low}","{c}","{v}",{close_time},"{q}",{n},"{taker_base}","{taker_quote}","{ignore}"'
        ).encode()
        if _ONE_ROW.fullmatch(text):
            return text
    d = _decimal
    return (
        f'{_whole(row[0])},"{d(row[1])}","{d(row[2])}","{d(row[3])}","{d(row[4])}","{d(row[5])}",'
        f'{_whole(row[6])},"{d(row[7])}",{_whole(row[8])},"{d(row[9])}","{d(row[10])}","{d(row[11])}"'
    ).encode()


def kline_texts(body: bytes) -> list[bytes]:
    """The rows of a REST klines answer, each as its text, oldest first.

    Raises :class:`~ats_sync.errors.MalformedAnswer` where any row is not whole: history has no holes.
    """
    if body == b"[]":
        return []
    if _ROWS.fullmatch(body):
        return _checked_times(body[2:-2].split(b"],["))
    rows = json_answer(body, list)
    try:
        return _checked_times([kline_text_of(row) for row in rows])
    except DecodeError as error:
        raise MalformedAnswer(f"the exchange sent an unusable kline row: {error}", status=200) from None


def _checked_times(texts: list[bytes]) -> list[bytes]:
    for text in texts:
        if not EARLIEST <= text_open_time(text) <= LATEST:
            raise MalformedAnswer("the exchange sent a kline row with an open time that is none", status=200)
    return texts


def string_rows(texts: Iterable[bytes]) -> list[Row]:
    """Rows as REST gives them: whole numbers at 0, 6 and 8, exact strings elsewhere."""
    rows: list[Row] = json.loads(b"[[" + b"],[".join(texts) + b"]]")
    return rows if rows != [[]] else []


def float_rows(texts: Iterable[bytes]) -> list[Row]:
    """Rows with floats in place of the strings."""
    return list(map(float_row, string_rows(texts)))


def float_row(row: Row) -> Row:
    """A row of strings as one of floats."""
    t, o, h, low, c, v, close_time, q, n, tb, tq, ignore = row
    return [
        t,
        float(o),
        float(h),
        float(low),
        float(c),
        float(v),
        close_time,
        float(q),
        n,
        float(tb),
        float(tq),
        float(ignore),
    ]


def text_open_time(text: bytes) -> int:
    return int(text[: text.index(b",")])


def text_trades(text: bytes) -> int:
    """The trade count of a row's text."""
    return int(text.split(b",", 9)[8])


def flat_text(opened: int, close_time: int, previous: bytes) -> bytes:
    """The row REST shows for a candle without trades after the candle ``previous``."""
    close = previous.split(b",", 5)[4]
    return b'%d,%s,%s,%s,%s,"0",%d,"0",0,"0","0","0"' % (opened, close, close, close, close, close_time)


# --- trades ------------------------------------------------------------------------------------


class Trade(NamedTuple):
    """One aggregated trade; decimals as the exchange wrote them."""

    id: int
    price: str
    quantity: str
    first_trade: int
    last_trade: int
    time: int
    buyer_is_maker: bool
    normal_quantity: str | None


_TRADE_FIELDS: Final = itemgetter("a", "p", "q", "f", "l", "T", "m")
_TRADE_TYPES: Final = [int, str, str, int, int, int, bool]


def _trade(values: dict[str, Any]) -> Trade:
    try:
        fields = _TRADE_FIELDS(values)
        normal = values.get("nq", "0")
    except (KeyError, TypeError, AttributeError):
        return _trade_by_field(values)
    number, price, quantity, first, last, time, maker = fields
    good = _DECIMAL.match
    if (
        list(map(type, fields)) == _TRADE_TYPES
        and type(normal) is str
        and good(price)
        and good(quantity)
        and good(normal)
    ):
        return Trade(number, price, quantity, first, last, time, maker, values.get("nq"))
    return _trade_by_field(values)


def _trade_by_field(values: dict[str, Any]) -> Trade:
    """As :func:`_trade`, field by field, so that the error names the one that is wrong."""
    maker = _field(values, "m")
    if not isinstance(maker, bool):
        raise DecodeError("'m' is no boolean")
    normal = values.get("nq")
    return Trade(
        _whole(_field(values, "a")),
        _decimal(_field(values, "p")),
        _decimal(_field(values, "q")),
        _whole(_field(values, "f")),
        _whole(_field(values, "l")),
        _whole(_field(values, "T")),
        maker,
        None if normal is None else _decimal(normal),
    )


def trade(frame: bytes) -> Trade:
    """The trade of an aggTrade frame."""
    return _trade(_data(frame))


def trade_text(found: Trade) -> bytes:
    """A trade as a JSON object."""
    normal = "" if found.normal_quantity is None else f',"nq":"{found.normal_quantity}"'
    return (
        f'{{"a":{found.id},"p":"{found.price}","q":"{found.quantity}"{normal},"f":{found.first_trade},'
        f'"l":{found.last_trade},"T":{found.time},"m":{"true" if found.buyer_is_maker else "false"}}}'
    ).encode()


def trade_of(text: bytes) -> Trade:
    """The trade of a JSON object."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"a trade that is no JSON: {error}") from None
    return _trade(values)


def trades_of(texts: Sequence[bytes], first: int) -> list[Trade]:
    """The trades of JSON objects with the ids ``first``, ``first + 1``, …, much faster than one by one.

    Raises :class:`DecodeError` where any is not what it should be; :func:`trade_of` tells which.
    """
    try:
        values = json.loads(b"[" + b",".join(texts) + b"]")
    except (ValueError, RecursionError) as error:
        raise DecodeError(f"trades that are no JSON: {error}") from None
    found = [_trade(each) for each in values]
    if [each.id for each in found] != list(range(first, first + len(texts))):
        raise DecodeError("trades that do not follow each other")
    return found


def trades(body: bytes) -> list[Trade]:
    """The trades of a REST aggTrades answer, ordered by id."""
    try:
        found = [_trade(values) for values in json_answer(body, list)]
    except DecodeError as error:
        raise MalformedAnswer(f"the exchange sent an unusable trade: {error}", status=200) from None
    return sorted(found, key=lambda each: each.id)


# --- books -------------------------------------------------------------------------------------

Level = list[str]


@dataclass(frozen=True, slots=True)
class Book:
    """Levels best first, as the exchange wrote them; ``time`` is the event's, ms."""

    update_id: int
    time: int
    transaction_time: int
    bids: list[Level]
    asks: list[Level]


def _levels(values: object) -> list[Level]:
    if not isinstance(values, list):
        raise DecodeError("levels that are no list")
    for level in values:
        if not isinstance(level, list) or len(level) < 2:
            raise DecodeError("a level that is no pair")
        _decimal(level[0])
        _decimal(level[1])
    return values


_PAIR: Final = rb"\[" + _QUOTED + rb"," + _QUOTED + rb"\]"
_SIDE: Final = rb"\[(?:" + _PAIR + rb"(?:," + _PAIR + rb")*)?\]"
_STREAMED_SIDES: Final = re.compile(rb'"b":' + _SIDE + rb',"a":' + _SIDE + rb"[,}]")
_REST_SIDES: Final = re.compile(rb'"bids":' + _SIDE + rb',"asks":' + _SIDE + rb"[,}]")


def _sides(values: dict[str, Any], raw: bytes, names: tuple[str, str], plain: re.Pattern[bytes]) -> list[list[Level]]:
    """Bids and asks. One look at the text they came from tells that all levels are good; else each is checked."""
    sides = [_field(values, name) for name in names]
    once = all(raw.count(b'"%s":' % name.encode()) == 1 for name in names)
    if not (once and plain.search(raw)):
        sides = [_levels(side) for side in sides]
    _check_sides(*sides)
    return sides


def _check_sides(bids: list[Level], asks: list[Level]) -> None:
    if bids and asks and float(bids[0][0]) >= float(asks[0][0]):
        raise DecodeError(f"a crossed book: bid {bids[0][0]}, ask {asks[0][0]}")


def partial_book(frame: bytes) -> Book:
    """The book of a ``depth20`` frame."""
    data = _data(frame)
    bids, asks = _sides(data, frame, ("b", "a"), _STREAMED_SIDES)
    return Book(_whole(_field(data, "u")), _whole(_field(data, "E")), _whole(_field(data, "T")), bids, asks)


def book_snapshot(body: bytes) -> Book:
    """The book of a REST depth answer."""
    values = json_answer(body, dict)
    try:
        bids, asks = _sides(values, body, ("bids", "asks"), _REST_SIDES)
        return Book(
            _whole(_field(values, "lastUpdateId")),
            _whole(_field(values, "E")),
            _whole(_field(values, "T")),
            bids,
            asks,
        )
    except DecodeError as error:
        raise MalformedAnswer(f"the exchange sent an unusable book: {error}", status=200) from None


# --- marks, funding, spot, open interest, forced orders --------------------------------------------


@dataclass(frozen=True, slots=True)
class Mark:
    """Mark price and funding of a symbol; ``time`` is the event's, ms."""

    symbol: str
    mark_price: str
    funding_rate: str
    next_funding_time: int
    time: int
    answer: dict[str, Any] | None = None
    """The REST answer it came from, where it did."""


def _each(values: object, decode_one: Callable[[dict[str, Any]], Any]) -> tuple[list[Any], int]:
    """Each element decoded; a bad element drops only itself. Also how many were dropped."""
    if not isinstance(values, list):
        raise DecodeError("an array was expected")
    good: list[Any] = []
    bad = 0
    for value in values:
        try:
            good.append(decode_one(value))
        except DecodeError:
            bad += 1
    return good, bad


def _stream_mark(values: dict[str, Any]) -> Mark:
    rate = _field(values, "r")
    return Mark(
        _text(_field(values, "s")),
        _decimal(_field(values, "p")),
        _decimal(rate) if rate != "" else "0",
        _whole(_field(values, "T")),
        _whole(_field(values, "E")),
    )


def _rest_mark(values: dict[str, Any]) -> Mark:
    rate = _field(values, "lastFundingRate")
    return Mark(
        _text(_field(values, "symbol")),
        _decimal(_field(values, "markPrice")),
        _decimal(rate) if rate != "" else "0",
        _whole(_field(values, "nextFundingTime")),
        _whole(_field(values, "time")),
        values,
    )


def _text(value: object) -> str:
    if isinstance(value, str) and value:
        return value
    raise DecodeError(f"{value!r} is no text")


def stream_marks(frame: bytes) -> tuple[list[Mark], int]:
    """The marks of a ``!markPrice@arr`` frame, and how many elements were unusable."""
    return _each(_data(frame), _stream_mark)


def rest_marks(body: bytes) -> list[Mark]:
    """The marks of a premiumIndex answer for all symbols or for one."""
    values = json_answer(body, (list, dict))
    good, _ = _each(values if isinstance(values, list) else [values], _rest_mark)
    if not good:
        raise MalformedAnswer("the exchange sent no usable premium index", status=200)
    return good


def spot_prices(body: bytes) -> dict[str, str]:
    """``{symbol: price}`` of a spot price answer for all symbols or for one."""

    def one(values: dict[str, Any]) -> tuple[str, str]:
        return _text(_field(values, "symbol")), _decimal(_field(values, "price"))

    values = json_answer(body, (list, dict))
    good, _ = _each(values if isinstance(values, list) else [values], one)
    if not good:
        raise MalformedAnswer("the exchange sent no usable spot price", status=200)
    return dict(good)


def open_interest(body: bytes) -> list[dict[str, Any]]:
    """The rows of an open interest answer, oldest first, as the exchange wrote them."""
    rows = json_answer(body, list)
    try:
        for row in rows:
            _decimal(_field(row, "sumOpenInterest"))
            _decimal(_field(row, "sumOpenInterestValue"))
            _whole(_field(row, "timestamp"))
    except DecodeError as error:
        raise MalformedAnswer(f"the exchange sent an unusable open interest row: {error}", status=200) from None
    return sorted(rows, key=lambda row: int(row["timestamp"]))


COIN_MARGINED = 2


@dataclass(frozen=True, slots=True)
class Liquidation:
    """One forced order as ``!forceOrder@arr`` reported it."""

    symbol: str
    time: int
    order: dict[str, Any]


def liquidation(frame: bytes) -> Liquidation | None:
    """The forced order of a ``!forceOrder@arr`` frame, None where it is one of the COIN-M market."""
    data = _data(frame)
    if isinstance(data, dict) and data.get("st") == COIN_MARGINED:
        return None
    order = _field(data, "o")
    for key in ("p", "q", "ap", "z"):
        _decimal(order.get(key, "0") if isinstance(order, dict) else None)
    _text(_field(order, "S"))
    return Liquidation(_text(_field(order, "s")), _whole(_field(order, "T")), order)


# --- witnesses ----------------------------------------------------------------------------------


def last_trades(values: object) -> dict[str, int]:
    """``{symbol: id of its last trade}`` of an array of 24-hour tickers, as a stream (``s``, ``L``) or REST
    (``symbol``, ``lastId``) writes them. Bad elements are left out."""

    def one(ticker: dict[str, Any]) -> tuple[str, int]:
        streamed = "s" in ticker if isinstance(ticker, dict) else False
        return (
            _text(_field(ticker, "s" if streamed else "symbol")),
            _whole(_field(ticker, "L" if streamed else "lastId")),
        )

    good, _ = _each(values, one)
    return dict(good)


def stream_tickers(frame: bytes) -> tuple[int, dict[str, int]]:
    """``(event time, last trade ids)`` of an ``!ticker@arr`` frame."""
    return scan_event_time(frame), last_trades(_data(frame))


def best_quotes(frame: bytes) -> tuple[str, str, str, str]:
    """``(bid, its quantity, ask, its quantity)`` of a bookTicker frame."""
    data = _data(frame)
    bid, bid_quantity, ask, ask_quantity = (_decimal(_field(data, key)) for key in "bBaA")
    return bid, bid_quantity, ask, ask_quantity


def scan_quotes(frame: bytes) -> tuple[str, int]:
    """``(symbol, update id)`` of a bookTicker frame."""
    at = frame.find(b'"s":"')
    end = frame.find(b'"', at + 5)
    name = frame[at + 5 : end]
    if at < 0 or end < 0 or b"\\" in name:
        return _text(_field(_data(frame), "s")), _number_after(frame, b'"u":')
    try:
        return name.decode(), _number_after(frame, b'"u":')
    except UnicodeDecodeError:
        raise DecodeError("a symbol that is no text") from None


# --- exchange information ----------------------------------------------------------------------------


LEAST_WEIGHT_LIMIT = 100
"""A limit a minute below this is no limit but a mistake: with it, next to nothing could be asked."""


@dataclass(frozen=True, slots=True)
class ExchangeInfo:
    """Which symbols trade, and the weight the exchange allows a minute (None where it does not say)."""

    trading: frozenset[str]
    listed: frozenset[str]
    weight_limit: int | None


def exchange_info(body: bytes) -> ExchangeInfo:
    """The parts of an exchangeInfo answer that matter here."""
    values = json_answer(body, dict)
    symbols = values.get("symbols")
    if not isinstance(symbols, list):
        raise MalformedAnswer("exchangeInfo came without its symbols", status=200)
    listed = {s["symbol"]: s.get("status") for s in symbols if isinstance(s, dict) and isinstance(s.get("symbol"), str)}
    if not listed:
        raise MalformedAnswer("exchangeInfo listed no symbol", status=200)
    limits = values.get("rateLimits")
    limit = None
    for rule in limits if isinstance(limits, list) else ():
        if not isinstance(rule, dict):
            continue
        what = (rule.get("rateLimitType"), rule.get("interval"), rule.get("intervalNum"))
        if what == ("REQUEST_WEIGHT", "MINUTE", 1):
            number = rule.get("limit")
            if isinstance(number, int) and number >= LEAST_WEIGHT_LIMIT and not isinstance(number, bool):
                limit = number
    trading = frozenset(symbol for symbol, status in listed.items() if status == "TRADING")
    return ExchangeInfo(trading, frozenset(listed), limit)


def server_time(body: bytes) -> int:
    """The exchange's time of a ``/time`` answer, ms."""
    try:
        return _whole(_field(json_answer(body, dict), "serverTime"))
    except DecodeError as error:
        raise MalformedAnswer(f"/time came without the time: {error}", status=200) from None


def json_answer(body: bytes, expected: type | tuple[type, ...] | None = None) -> Any:
    """A REST body as JSON of the expected type, else :class:`~ats_sync.errors.MalformedAnswer`."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedAnswer(f"the answer is no JSON: {error}", status=200) from None
    if expected is not None and not isinstance(value, expected):
        raise MalformedAnswer(f"the answer is a {type(value).__name__}, which was not expected", status=200)
    return value
