"""REST answers, as the Python values of the exchange's JSON."""

from __future__ import annotations

from typing import Any

from .candles import Candles
from .decimals import fixed
from .derived import MarkValues, funding_times, mark_values, marked_at, open_interest, settled_rate
from .history import Candle
from .instrument import Instrument
from .intervals import (
    DAY,
    FIXED,
    MINUTE,
    OPEN_INTEREST_PERIODS,
    QUARTER,
    UnknownInterval,
    check_interval,
    floor_open,
    next_open,
)
from .spot import SpotPair

Row = list[Any]
Answer = dict[str, Any]


def klines(
    instrument: Instrument, interval: str, now: int, start: int | None, end: int | None, limit: int
) -> list[Row]:
    """Return rows of ``/fapi/v1/klines``."""
    check_interval(interval)
    if instrument.untraded:
        return []
    spec = instrument.spec
    places, decimals, tick = spec.price_decimals, spec.qty_decimals, spec.tick
    # Optimised for speed: these texts are most of the cost of a REST answer.
    price_width, point = places + 1, -places
    quote_width, quote_point = places + decimals + 1, -places - decimals
    length = FIXED.get(interval)
    rows: list[Row] = []
    for candle in instrument.candles.select(interval, now, start, end, limit):
        opened, open_, high, low, close, volume, trades, quote, bought, buy_quote, _ = candle
        closes = (opened + length if length else next_open(interval, opened)) - 1
        if not trades:
            c = fixed(close * tick, places)
            rows.append([opened, c, c, c, c, "0", closes, "0", 0, "0", "0", "0"])
            continue
        o = str(open_ * tick).zfill(price_width)
        h = str(high * tick).zfill(price_width)
        l = str(low * tick).zfill(price_width)  # noqa: E741
        c = str(close * tick).zfill(price_width)
        q = str(quote * tick).zfill(quote_width)
        b = str(buy_quote * tick).zfill(quote_width)
        rows.append(
            [
                opened,
                f"{o[:point]}.{o[point:]}",
                f"{h[:point]}.{h[point:]}",
                f"{l[:point]}.{l[point:]}",
                f"{c[:point]}.{c[point:]}",
                fixed(volume, decimals) if decimals else str(volume),
                closes,
                f"{q[:quote_point]}.{q[quote_point:]}",
                trades,
                fixed(bought, decimals) if decimals else str(bought),
                f"{b[:quote_point]}.{b[quote_point:]}",
                "0",
            ]
        )
    return rows


def spot_klines(pair: SpotPair, interval: str, now: int, start: int | None, end: int | None, limit: int) -> list[Row]:
    """Return rows of spot ``/api/v3/klines``."""
    check_interval(interval)
    rows = []
    for candle in pair.candles.select(interval, now, start, end, limit):
        open_, high, low, close, volume, quote, bought, buy_quote = pair.candle_texts(candle)
        closes = next_open(interval, candle[0]) - 1
        rows.append([candle[0], open_, high, low, close, volume, closes, quote, candle[6], bought, buy_quote, "0"])
    return rows


def depth(instrument: Instrument, now: int, limit: int) -> Answer:
    """Return ``/fapi/v1/depth``."""
    state = instrument.state(now)
    bids, asks = instrument.book.top(state, limit) if not instrument.pending else ([], [])
    price, qty = instrument.price_text, instrument.qty_text
    return {
        "lastUpdateId": instrument.book.update_id(state),
        "E": now,
        "T": instrument.changed_at(now),
        "bids": [[price(p), qty(q)] for p, q in bids],
        "asks": [[price(p), qty(q)] for p, q in asks],
    }


def agg_trades(
    instrument: Instrument, from_id: int | None, start: int | None, end: int | None, limit: int
) -> list[Answer]:
    """Return ``/fapi/v1/aggTrades``: from an id on, in a window of time (oldest first), or the newest."""
    instrument.make_older_trades()
    trades = instrument.trades
    first, stop = trades.first_id, trades.next_id
    if start is not None:
        first = trades.first_at(start)
    if end is not None:
        stop = trades.first_at(end + 1)
    if from_id is not None:
        first = max(first, from_id)
    elif start is None:
        first = max(first, stop - limit)
    rows = []
    for trade_id in range(first, min(stop, first + limit)):
        trade = trades.get(trade_id)
        qty = instrument.qty_text(trade.qty)
        rows.append(
            {
                "a": trade.id,
                "p": instrument.price_text(trade.price),
                "q": qty,
                "nq": qty,
                "f": trade.first,
                "l": trade.last,
                "T": trade.time,
                "m": trade.maker_buys,
            }
        )
    return rows


def premium_index(instrument: Instrument, now: int) -> Answer:
    """Return ``/fapi/v1/premiumIndex``: the values of the last mark price frame."""
    at = marked_at(instrument, now)
    return premium_row(instrument.name, at, mark_values(instrument, at))


def premium_row(name: str, at: int, values: MarkValues) -> Answer:
    """Return one row of ``/fapi/v1/premiumIndex``."""
    return {
        "symbol": name,
        "markPrice": values.mark,
        "indexPrice": values.index_price,
        "estimatedSettlePrice": values.settle,
        "lastFundingRate": values.rate,
        "interestRate": "0.00010000",
        "nextFundingTime": values.next_funding,
        "time": at,
    }


def funding_rates(instrument: Instrument, now: int, start: int | None, end: int | None, limit: int) -> list[Answer]:
    """Return ``/fapi/v1/fundingRate`` of one contract, oldest first."""
    last = now if end is None else min(end, now)
    times = funding_times(instrument, start or 0, last)
    times = times[-limit:] if start is None else times[:limit]
    places = instrument.spec.price_decimals
    rows = []
    for at in times:
        price = _close_before(instrument.candles, at)
        rows.append(
            {
                "symbol": instrument.name,
                "fundingTime": at,
                "fundingRate": fixed(settled_rate(instrument, at), 8),
                "markPrice": fixed(price * instrument.spec.tick * 10 ** (8 - places), 8),
                "rateType": "Regular",
            }
        )
    return rows


def _close_before(candles: Candles, at: int) -> int:
    """Return the price at ``at`` (on the hour), without splitting old candles into minutes."""
    if at > candles.history.end:
        return candles.close_before(at)
    rows = candles.rows(at - QUARTER * 4, at, QUARTER * 4)
    return rows[-1][4] if rows else candles.history.close


def funding_info(instrument: Instrument) -> Answer:
    """Return one entry of ``/fapi/v1/fundingInfo``."""
    cap = "0.02000000" if instrument.spec.funding_hours < 8 else "0.00300000"
    return {
        "symbol": instrument.name,
        "adjustedFundingRateCap": cap,
        "adjustedFundingRateFloor": "-" + cap,
        "fundingIntervalHours": instrument.spec.funding_hours,
        "disclaimer": False,
        "updateTime": instrument.listed if instrument.spec.funding_hours < 8 else None,
    }


def traded_periods(
    instrument: Instrument, period: str, now: int, start: int | None, end: int | None, limit: int
) -> list[tuple[int, Candle]]:
    """Return the periods that traded, oldest first, each with the end time of its row; a month back."""
    if period not in OPEN_INTEREST_PERIODS:
        raise UnknownInterval(period)
    length = FIXED[period]
    last = now if end is None else min(end, now)
    # A row appears at the end of its period.
    last_open = floor_open(period, last) - length
    oldest = -(-max(now - 30 * DAY, start or 0) // length) * length - length
    oldest = max(oldest, floor_open(period, instrument.listed))
    first_open = oldest
    if start is None:
        first_open = max(oldest, last_open - (limit - 1) * length)
        traded = instrument.candles.traded(period, first_open, last_open)
        while len(traded) < limit and first_open > oldest:
            first_open = max(oldest, first_open - limit * length)
            traded = instrument.candles.traded(period, first_open, last_open)
        traded = traded[-limit:]
    else:
        traded = instrument.candles.traded(period, first_open, last_open)[:limit]
    return [(candle[0] + length, candle) for candle in traded]


def open_interest_hist(
    instrument: Instrument, period: str, now: int, start: int | None, end: int | None, limit: int
) -> list[Answer]:
    """Return rows of ``/futures/data/openInterestHist``, one per period that traded."""
    spec = instrument.spec
    rows = []
    for at, candle in traded_periods(instrument, period, now, start, end, limit):
        contracts = open_interest(instrument, at)
        value = contracts * candle[4] * spec.tick
        rows.append(
            {
                "symbol": spec.name,
                "sumOpenInterest": fixed(contracts, 8),
                "sumOpenInterestValue": fixed(value // 10**spec.price_decimals, 8),
                "CMCCirculatingSupply": fixed(spec.mean_qty * 100_000_000, 8),
                "timestamp": at,
            }
        )
    return rows


def ticker_24hr(instrument: Instrument, now: int) -> Answer:
    """Return ``/fapi/v1/ticker/24hr`` of one contract."""
    spec = instrument.spec
    _, open_, high, low, close, volume, trades, quote, _, _, _ = instrument.candles.last_day(now)
    last_id = instrument.trades.next_trade - 1
    newest = instrument.trades.get(instrument.trades.next_id - 1) if len(instrument.trades) else None
    price = instrument.price_text
    average = quote // volume if volume else close
    return {
        "symbol": spec.name,
        "priceChange": fixed((close - open_) * spec.tick, spec.price_decimals),
        "priceChangePercent": fixed((close - open_) * 100_000 // open_, 3),
        "weightedAvgPrice": price(average),
        "lastPrice": price(close),
        "lastQty": instrument.qty_text(newest.qty) if newest else "0",
        "openPrice": price(open_),
        "highPrice": price(high),
        "lowPrice": price(low),
        "volume": fixed(volume, spec.qty_decimals),
        "quoteVolume": fixed(quote * spec.tick, spec.price_decimals + spec.qty_decimals),
        "openTime": now - now % MINUTE - DAY,
        "closeTime": newest.time if newest else now,
        "firstId": last_id - trades + 1,
        "lastId": last_id,
        "count": trades,
    }


def book_ticker(instrument: Instrument, now: int) -> Answer:
    """Return ``/fapi/v1/ticker/bookTicker`` of one contract: zeros for an empty book (assumed)."""
    state = instrument.state(now)
    bid, ask, (bid_qty, ask_qty) = state.bid, state.ask, instrument.book.touch(state)
    if instrument.pending:
        bid = ask = bid_qty = ask_qty = 0
    return {
        "symbol": instrument.name,
        "bidPrice": instrument.price_text(bid),
        "bidQty": instrument.qty_text(bid_qty),
        "askPrice": instrument.price_text(ask),
        "askQty": instrument.qty_text(ask_qty),
        "time": instrument.changed_at(now),
        "lastUpdateId": instrument.book.update_id(state),
    }


def last_price(instrument: Instrument) -> Answer:
    """Return ``/fapi/v1/ticker/price`` of one contract."""
    candle = instrument.candles.current
    return {
        "symbol": instrument.name,
        "price": instrument.price_text(candle[4]),
        "time": instrument.trades.last_time,
    }


def spot_price(pair: SpotPair) -> Answer:
    """Return spot ``/api/v3/ticker/price`` of one pair."""
    return {"symbol": pair.name, "price": pair.price(pair.candles.current[4])}


def spot_ticker_24hr(pair: SpotPair, now: int) -> Answer:
    """Return spot ``/api/v3/ticker/24hr`` of one pair."""
    candle = pair.instrument.candles.last_day(now)
    open_, high, low, close, volume, quote, _, _ = pair.candle_texts(candle)
    futures = pair.instrument
    last_id = futures.trades.next_trade - 1
    change = candle[4] - candle[1]
    bid_qty, ask_qty = futures.book.touch(futures.state(now))
    average = candle[7] // candle[5] if candle[5] else candle[4]
    return {
        "symbol": pair.name,
        "priceChange": pair.price(change + pair.basis),
        "priceChangePercent": fixed(change * 100_000 // candle[1], 3),
        "weightedAvgPrice": pair.price(average),
        "prevClosePrice": pair.price(candle[10]),
        "lastPrice": close,
        "lastQty": pair.qty(futures.trades.get(futures.trades.next_id - 1).qty if len(futures.trades) else 0),
        "bidPrice": pair.price(futures.bid),
        "bidQty": pair.qty(bid_qty),
        "askPrice": pair.price(futures.ask),
        "askQty": pair.qty(ask_qty),
        "openPrice": open_,
        "highPrice": high,
        "lowPrice": low,
        "volume": volume,
        "quoteVolume": quote,
        "openTime": now - now % MINUTE - DAY,
        "closeTime": now,
        "firstId": last_id - candle[6] + 1,
        "lastId": last_id,
        "count": candle[6],
    }
