"""The JSON texts of stream frames, written as the exchange writes them."""

from __future__ import annotations

import json
from typing import Any

from .book import BookState, Level
from .decimals import fixed
from .derived import MarkValues
from .history import Candle
from .instrument import Instrument
from .spot import SpotPair
from .trades import AggTrade

COIN_MARGINED = 2


def event_head(event_time: int, late: bool) -> tuple[str, str]:
    """Return ``E`` directly after ``e``, or as the last key: the exchange does not promise an order."""
    return ("", f',"E":{event_time}') if late else (f'"E":{event_time},', "")


def kline(
    instrument: Instrument,
    interval: str,
    event_time: int,
    candle: Candle,
    opened: int,
    closes: int,
    last_id: int,
    final: bool,
    late: bool,
) -> str:
    """Return the ``kline`` event of a candle that traded."""
    spec = instrument.spec
    name = spec.name
    price = instrument.price_text
    _, open_, high, low, close, volume, trades, quote, bought, buy_quote, _ = candle
    decimals = spec.qty_decimals
    both = spec.price_decimals + decimals
    tick = spec.tick
    head, tail = event_head(event_time, late)
    return (
        f'{{"e":"kline",{head}"s":"{name}","k":{{"t":{opened},"T":{closes - 1},"s":"{name}","i":"{interval}",'
        f'"f":{max(1, last_id - trades + 1)},"L":{last_id},"o":"{price(open_)}","c":"{price(close)}",'
        f'"h":"{price(high)}","l":"{price(low)}","v":"{fixed(volume, decimals)}","n":{trades},'
        f'"x":{"true" if final else "false"},"q":"{fixed(quote * tick, both)}",'
        f'"V":"{fixed(bought, decimals)}","Q":"{fixed(buy_quote * tick, both)}","B":"0"}}{tail}}}'
    )


def spot_kline(
    pair: SpotPair,
    interval: str,
    event_time: int,
    candle: Candle,
    opened: int,
    closes: int,
    last_id: int,
    final: bool,
) -> str:
    """Return the ``kline`` event of the spot exchange."""
    open_, high, low, close, volume, quote, bought, buy_quote = pair.candle_texts(candle)
    return (
        f'{{"e":"kline","E":{event_time},"s":"{pair.name}","k":{{"t":{opened},"T":{closes - 1},'
        f'"s":"{pair.name}","i":"{interval}","f":{max(1, last_id - candle[6] + 1)},"L":{last_id},"o":"{open_}",'
        f'"c":"{close}","h":"{high}","l":"{low}","v":"{volume}","n":{candle[6]},'
        f'"x":{"true" if final else "false"},"q":"{quote}","V":"{bought}","Q":"{buy_quote}","B":"0"}}}}'
    )


def agg_trade(instrument: Instrument, event_time: int, trade: AggTrade, late: bool) -> str:
    """Return the ``aggTrade`` event."""
    qty = instrument.qty_text(trade.qty)
    head, tail = event_head(event_time, late)
    return (
        f'{{"e":"aggTrade",{head}"a":{trade.id},"s":"{instrument.name}","p":"{instrument.price_text(trade.price)}",'
        f'"q":"{qty}","nq":"{qty}","f":{trade.first},"l":{trade.last},"T":{trade.time},'
        f'"m":{"true" if trade.maker_buys else "false"},"st":1,"ps":"{instrument.name}"{tail}}}'
    )


def spot_agg_trade(pair: SpotPair, event_time: int, trade: AggTrade) -> str:
    """Return the ``aggTrade`` event of the spot exchange."""
    return (
        f'{{"e":"aggTrade","E":{event_time},"s":"{pair.name}","a":{trade.id},"p":"{pair.price(trade.price)}",'
        f'"q":"{pair.qty(trade.qty)}","f":{trade.first},"l":{trade.last},"T":{trade.time},'
        f'"m":{"true" if trade.maker_buys else "false"},"M":true}}'
    )


def spot_trades(pair: SpotPair, event_time: int, trade: AggTrade) -> list[str]:
    """Return the ``trade`` events of the spot exchange: the single trades of an aggregated one."""
    count = trade.last - trade.first + 1
    each = trade.qty // count
    texts = []
    for i in range(count):
        qty = each if i < count - 1 else trade.qty - each * (count - 1)
        texts.append(
            f'{{"e":"trade","E":{event_time},"s":"{pair.name}","t":{trade.first + i},'
            f'"p":"{pair.price(trade.price)}","q":"{pair.qty(qty)}","T":{trade.time},'
            f'"m":{"true" if trade.maker_buys else "false"},"M":true}}'
        )
    return texts


def levels(instrument: Instrument, side: list[Level]) -> str:
    """Return one side of a book as a JSON array."""
    write = instrument.level_text
    return "[" + ",".join([write(price, qty) for price, qty in side]) + "]"


def depth(
    instrument: Instrument,
    event_time: int,
    changed_at: int,
    ids: tuple[int, int, int],
    bids: str,
    asks: str,
) -> str:
    """Return a ``depthUpdate`` event: a difference, or the best levels; ``ids`` are ``U``, ``u`` and ``pu``."""
    first, last, previous = ids
    return (
        f'{{"e":"depthUpdate","E":{event_time},"T":{changed_at},"s":"{instrument.name}","U":{first},"u":{last},'
        f'"pu":{previous},"b":{bids},"a":{asks},"st":1,"ps":"{instrument.name}"}}'
    )


def book_ticker(
    instrument: Instrument, event_time: int, changed_at: int, state: BookState, update_id: int, touch: tuple[int, int]
) -> str:  # fmt: skip
    """Return the ``bookTicker`` event."""
    return (
        f'{{"e":"bookTicker","u":{update_id},"s":"{instrument.name}","b":"{instrument.price_text(state.bid)}",'
        f'"B":"{instrument.qty_text(touch[0])}","a":"{instrument.price_text(state.ask)}",'
        f'"A":"{instrument.qty_text(touch[1])}","T":{changed_at},"E":{event_time},"st":1,"ps":"{instrument.name}"}}'
    )


def mark_price(name: str, event_time: int, values: MarkValues, *, market: int = 1) -> str:
    """Return the ``markPriceUpdate`` event; ``market`` is 1 for USDⓈ-M, 2 for COIN-M."""
    pair = name.partition("_")[0] if market == COIN_MARGINED else name
    return (
        f'{{"e":"markPriceUpdate","E":{event_time},"s":"{name}","p":"{values.mark}","ap":"{values.average}",'
        f'"P":"{values.settle}","i":"{values.index_price}","r":"{values.rate}","T":{values.next_funding},'
        f'"st":{market},"ps":"{pair}"}}'
    )


def force_order(instrument: Instrument, event_time: int, trade: AggTrade) -> str:
    """Return the ``forceOrder`` event of a liquidation that took ``trade``."""
    price = instrument.price_text(trade.price)
    qty = instrument.qty_text(trade.qty)
    side = "SELL" if trade.maker_buys else "BUY"
    return (
        f'{{"e":"forceOrder","E":{event_time},"o":{{"s":"{instrument.name}","S":"{side}","o":"LIMIT","f":"IOC",'
        f'"q":"{qty}","p":"{price}","ap":"{price}","X":"FILLED","l":"{qty}","z":"{qty}","T":{trade.time},'
        f'"st":1,"ps":"{instrument.name}"}},"st":1}}'
    )


def contract_info(instrument: Instrument, event_time: int, status: str) -> str:
    """Return the ``contractInfo`` event: a listing or a change of status (brackets are sent only when they change)."""
    spec = instrument.spec
    return (
        f'{{"e":"contractInfo","E":{event_time},"s":"{spec.name}","ps":"{spec.pair}","ct":"{spec.contract_type}",'
        f'"dt":{spec.delivery},"ot":{instrument.listed},"cs":"{status}","st":1}}'
    )


def trading_session(event: str, event_time: int, begins: int, ends: int, session: str) -> str:
    """Return an event of the stream ``tradingSession``."""
    return f'{{"e":"{event}","E":{event_time},"t":{begins},"T":{ends},"S":"{session}"}}'


def ticker(row: dict[str, Any], event_time: int, *, market: int = 1) -> str:
    """Return the ``24hrTicker`` event for the REST row of the same moment; ``market`` as in :func:`mark_price`."""
    return json.dumps(
        {
            "e": "24hrTicker",
            "E": event_time,
            "s": row["symbol"],
            "p": row["priceChange"],
            "P": row["priceChangePercent"],
            "w": row["weightedAvgPrice"],
            "c": row["lastPrice"],
            "Q": row["lastQty"],
            "o": row["openPrice"],
            "h": row["highPrice"],
            "l": row["lowPrice"],
            "v": row["volume"],
            "q": row["quoteVolume"],
            "O": row["openTime"],
            "C": row["closeTime"],
            "F": row["firstId"],
            "L": row["lastId"],
            "n": row["count"],
            "st": market,
            "ps": row["symbol"].partition("_")[0] if market == COIN_MARGINED else row["symbol"],
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )
