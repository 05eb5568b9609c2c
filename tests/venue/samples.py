"""Payloads as the exchange writes them in 2026, built without the library's own code."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
# Saturday 2026-11-21 00:00:00 UTC
MIDNIGHT = 1_795_219_200_000


def compact(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def parsed(message: bytes) -> dict[str, Any]:
    whole: dict[str, Any] = json.loads(message)
    return whole


def frame(stream: str, data: object) -> bytes:
    return compact({"stream": stream, "data": data})


def row(
    opened: int, *, length: int = MINUTE, trades: int = 10, price: str = "7.6110", volume: str = "12.5"
) -> list[Any]:
    """Return one REST kline row."""
    quantities = (volume, "0.75", "5.5") if trades else ("0", "0", "0")
    return [
        opened, price, price, price, price, quantities[0], opened + length - 1,
        "95.1375" if trades else "0", trades, quantities[1], quantities[2], "0",
    ]  # fmt: skip


def row_text(values: Sequence[Any]) -> bytes:
    """Return the text of a REST row without its brackets."""
    return compact(list(values))[1:-1]


def kline_data(values: Sequence[Any], *, symbol: str, interval: str, event: int, final: bool) -> dict[str, Any]:
    """Return the payload of the kline event that says the same as a REST row."""
    t, o, h, low, c, v, close_time, q, n, taker_base, taker_quote, ignore = values
    first, last = (1_000, 1_000 + n - 1) if n else (-1, -1)
    return {
        "e": "kline", "E": event, "s": symbol,
        "k": {
            "t": t, "T": close_time, "s": symbol, "i": interval, "f": first, "L": last, "o": o, "c": c, "h": h,
            "l": low, "v": v, "n": n, "x": final, "q": q, "V": taker_base, "Q": taker_quote, "B": ignore,
        },
    }  # fmt: skip


def kline_frame(
    values: Sequence[Any],
    *,
    symbol: str = "BTCUSDT",
    interval: str = "1m",
    event: int | None = None,
    final: bool = False,
) -> bytes:
    event = (values[6] + 204 if final else values[0] + 1_000) if event is None else event
    data = kline_data(values, symbol=symbol, interval=interval, event=event, final=final)
    return frame(f"{symbol.lower()}@kline_{interval}", data)


def trade_data(number: int, *, symbol: str = "BTCUSDT", at: int | None = None, price: str = "7.6110") -> dict[str, Any]:
    at = MIDNIGHT + number if at is None else at
    return {
        "e": "aggTrade", "E": at + 3, "a": number, "s": symbol, "p": price, "q": "3", "nq": "3", "f": 2 * number,
        "l": 2 * number + 1, "T": at, "m": number % 2 == 0, "st": 1, "ps": symbol,
    }  # fmt: skip


def trade_frame(number: int, *, symbol: str = "BTCUSDT", at: int | None = None, price: str = "7.6110") -> bytes:
    return frame(f"{symbol.lower()}@aggTrade", trade_data(number, symbol=symbol, at=at, price=price))


def rest_trade(number: int, *, at: int | None = None, price: str = "7.6110") -> dict[str, Any]:
    data = trade_data(number, at=at, price=price)
    return {name: data[name] for name in ("a", "p", "q", "nq", "f", "l", "T", "m")}


def levels(best: float, step: float, count: int) -> list[list[str]]:
    return [[f"{best + step * i:.4f}", str(10 + i)] for i in range(count)]


def book_data(update_id: int, *, event: int = MIDNIGHT, symbol: str = "BTCUSDT", count: int = 20) -> dict[str, Any]:
    return {
        "e": "depthUpdate", "E": event, "T": event - 4, "s": symbol, "U": update_id - 9, "u": update_id,
        "pu": update_id - 10, "b": levels(7.611, -0.001, count), "a": levels(7.612, 0.001, count),
        "st": 1, "ps": symbol,
    }  # fmt: skip


def book_frame(update_id: int, *, event: int = MIDNIGHT, symbol: str = "BTCUSDT", count: int = 20) -> bytes:
    data = book_data(update_id, event=event, symbol=symbol, count=count)
    return frame(f"{symbol.lower()}@depth20@100ms", data)


def rest_book(update_id: int, *, event: int = MIDNIGHT, count: int = 20) -> dict[str, Any]:
    return {
        "lastUpdateId": update_id, "E": event, "T": event - 4,
        "bids": levels(7.611, -0.001, count), "asks": levels(7.612, 0.001, count),
    }  # fmt: skip


def mark_data(symbol: str, *, event: int = MIDNIGHT, price: str = "7.6115") -> dict[str, Any]:
    return {
        "e": "markPriceUpdate", "E": event, "s": symbol, "p": price, "i": "7.6110", "P": "7.6100", "r": "0.00010000",
        "T": MIDNIGHT + 8 * HOUR, "st": 1, "ps": symbol,
    }  # fmt: skip


def marks_frame(symbols: Sequence[str], *, event: int = MIDNIGHT, price: str = "7.6115") -> bytes:
    return frame("!markPrice@arr@1s", [mark_data(symbol, event=event, price=price) for symbol in symbols])


def rest_mark(symbol: str, *, at: int = MIDNIGHT, price: str = "7.6115") -> dict[str, Any]:
    return {
        "symbol": symbol, "markPrice": price, "indexPrice": "7.6110", "estimatedSettlePrice": "7.6100",
        "lastFundingRate": "0.00010000", "interestRate": "0.00010000", "nextFundingTime": MIDNIGHT + 8 * HOUR,
        "time": at,
    }  # fmt: skip


def liquidation_data(symbol: str, *, at: int = MIDNIGHT, price: str = "7.6000") -> dict[str, Any]:
    return {
        "e": "forceOrder", "E": at + 2,
        "o": {
            "s": symbol, "S": "SELL", "o": "LIMIT", "f": "IOC", "q": "14", "p": price, "ap": price, "X": "FILLED",
            "l": "14", "z": "14", "T": at,
        },
        "st": 1, "ps": symbol,
    }  # fmt: skip


def liquidation_frame(symbol: str, *, at: int = MIDNIGHT, price: str = "7.6000") -> bytes:
    return frame("!forceOrder@arr", liquidation_data(symbol, at=at, price=price))


def ticker_data(symbol: str, last: int, *, event: int = MIDNIGHT) -> dict[str, Any]:
    return {
        "e": "24hrTicker", "E": event, "s": symbol, "p": "0.1000", "P": "1.32", "w": "7.6000", "c": "7.6110",
        "Q": "3", "o": "7.5110", "h": "7.7000", "l": "7.4000", "v": "1000", "q": "7600.0", "O": event - DAY,
        "C": event, "F": 1, "L": last, "n": last, "st": 1, "ps": symbol,
    }  # fmt: skip


def rest_ticker(symbol: str, last: int, *, event: int = MIDNIGHT) -> dict[str, Any]:
    return {
        "symbol": symbol, "priceChange": "0.1000", "priceChangePercent": "1.32", "weightedAvgPrice": "7.6000",
        "lastPrice": "7.6110", "lastQty": "3", "openPrice": "7.5110", "highPrice": "7.7000", "lowPrice": "7.4000",
        "volume": "1000", "quoteVolume": "7600.0", "openTime": event - DAY, "closeTime": event, "firstId": 1,
        "lastId": last, "count": last,
    }  # fmt: skip


def tickers_frame(last_trades: dict[str, int], *, event: int = MIDNIGHT) -> bytes:
    return frame("!ticker@arr", [ticker_data(symbol, last, event=event) for symbol, last in last_trades.items()])


def quotes_data(symbol: str, update_id: int, *, event: int = MIDNIGHT) -> dict[str, Any]:
    return {
        "e": "bookTicker", "u": update_id, "s": symbol, "b": "7.6110", "B": "10", "a": "7.6120", "A": "10",
        "T": event - 4, "E": event, "st": 1, "ps": symbol,
    }  # fmt: skip


def quotes_frame(symbol: str, update_id: int, *, event: int = MIDNIGHT) -> bytes:
    return frame("!bookTicker", quotes_data(symbol, update_id, event=event))


def open_interest_row(stamp: int, value: str = "10659.509", symbol: str = "BTCUSDT") -> dict[str, Any]:
    return {
        "symbol": symbol, "sumOpenInterest": value, "sumOpenInterestValue": "87621.5000", "CMCCirculatingSupply": "1",
        "timestamp": stamp,
    }  # fmt: skip


def ratio_row(kind: str, stamp: int, value: str = "1.0048") -> dict[str, Any]:
    """Return a row of one series of ``/futures/data``."""
    if kind == "basis":
        return {
            "indexPrice": "34400.15945055", "contractType": "PERPETUAL", "basisRate": "0.0004",
            "futuresPrice": "34414.10", "annualizedBasisRate": "", "basis": value, "pair": "BTCUSDT",
            "timestamp": stamp,
        }  # fmt: skip
    if kind == "takerlongshortRatio":
        return {"buySellRatio": value, "sellVol": "248.5030", "buyVol": "387.3300", "timestamp": stamp}
    return {
        "symbol": "BTCUSDT", "longAccount": "0.5012", "longShortRatio": value, "shortAccount": "0.4988",
        "timestamp": stamp,
    }  # fmt: skip


def exchange_info(
    symbols: dict[str, str], *, weight: int = 2400, onboarded: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """``symbols``: name → status; ``onboarded``: name → ms."""
    began = {name: {"onboardDate": at} for name, at in (onboarded or {}).items()}
    return {
        "timezone": "UTC",
        "serverTime": MIDNIGHT,
        "rateLimits": [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": weight},
            {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
        ],
        "symbols": [{"symbol": name, "status": status, **began.get(name, {})} for name, status in symbols.items()],
    }


def contract_frame(symbol: str, status: str, *, event: int = MIDNIGHT, onboarded: int = MIDNIGHT - 100 * DAY) -> bytes:
    data = {
        "e": "contractInfo", "E": event, "s": symbol, "ps": symbol, "ct": "PERPETUAL", "dt": 4133404800000,
        "ot": onboarded, "cs": status, "st": 1,
    }  # fmt: skip
    return frame("!contractInfo", data)


def contract_row(symbol: str, *, tick: str = "0.10", step: str = "0.001", status: str = "TRADING") -> dict[str, Any]:
    """Return one of exchangeInfo's ``symbols``, with its trading rules."""
    return {
        "symbol": symbol, "pair": symbol, "contractType": "PERPETUAL", "status": status, "baseAsset": symbol[:-4],
        "quoteAsset": "USDT", "underlyingType": "COIN",
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000", "tickSize": tick},
            {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "1000", "stepSize": step},
            {"filterType": "MARKET_LOT_SIZE", "minQty": step, "maxQty": "120", "stepSize": step},
            {"filterType": "MIN_NOTIONAL", "notional": "50"},
        ],
    }  # fmt: skip
