"""A REST answer on its way into the store."""

from __future__ import annotations

from typing import Any

from ..errors import MalformedAnswer
from ..feeds import CANDLES, Key, Kind
from ..store.link import Link
from ..venue.books import book_snapshot
from ..venue.klines import kline_texts, text_trades
from ..venue.listings import Phase, exchange_info, server_time
from ..venue.payload import DecodeError, json_answer
from ..venue.tickers import last_trades
from ..venue.trades import rest_trades
from ..venue.values import rest_marks, rest_open_interest, rest_spot_prices
from .book import STREAMED_LEVELS
from .market import MarketStore


def absorb(
    store: MarketStore,
    key: Key,
    body: bytes,
    *,
    asked: int,
    limit: int,
    link: Link | None,
    from_id: int | None = None,
) -> Any:
    """Decode the answer that was asked for at exchange time ``asked`` (ms) and merge it, where it is followed.

    Returns what was decoded, for those who wait for it: shared, not to be changed. ``limit`` is the number
    of newest rows asked for, 0 where a range was asked for: then nothing is merged. Nor is what was asked for while
    the name belonged to another contract. Raises :class:`~ats_sync.errors.MalformedAnswer`.
    """
    if asked < store.renewed.get(key.symbol, 0):
        limit = 0
    try:
        return _absorb(store, key, body, asked, limit, link, from_id)
    except DecodeError as error:
        raise MalformedAnswer(f"the exchange sent an unusable answer for {key}: {error}", status=200) from None


def _absorb(
    store: MarketStore, key: Key, body: bytes, asked: int, limit: int, link: Link | None, from_id: int | None
) -> Any:
    if key.kind in CANDLES:
        texts = kline_texts(body)
        series = store.candles(key)
        if series is not None and limit:
            spot = key.kind is Kind.SPOT_KLINES
            if not texts and (series.following() or not (spot or _may_be_new(store, key, asked))):
                raise MalformedAnswer(f"the exchange sent no candles for {key}, which has some", status=200)
            if texts or not spot:
                series.merge_rest(texts, asked, limit)
        return texts
    if key.kind is Kind.TRADES:
        found = rest_trades(body)
        ring = store.trades.get(key.symbol)
        if ring is not None and limit:
            never = _may_be_new(store, key, asked) or _has_never_traded(store, key.symbol)
            if not found and from_id is None and (len(ring) or not never):
                raise MalformedAnswer(f"the exchange sent no trades for {key}", status=200)
            ring.merge_rest(found, asked=asked, limit=limit, from_id=from_id)
        return found
    if key.kind is Kind.BOOK:
        book = book_snapshot(body)
        held = store.books.get(key.symbol)
        if held is not None and limit >= STREAMED_LEVELS:
            held.merge_rest(book, asked=asked)
        return book
    if key.kind is Kind.DEPTH:
        snapshot = book_snapshot(body)
        depth = store.depths.get(key.symbol)
        if depth is not None and limit:
            depth.merge_rest(snapshot, link, limit, asked=asked)
        return snapshot
    if key.kind is Kind.OPEN_INTEREST:
        rows = rest_open_interest(body)
        interest = store.open_interest.get((key.symbol, key.interval))
        if interest is not None and limit:
            interest.merge_rest(rows, asked=asked, limit=limit)
        return rows
    if key.kind is Kind.MARK:
        marks = rest_marks(body)
        store.marks.merge_rest(marks, asked=asked, whole=not key.symbol)
        return marks
    if key.kind is Kind.SPOT:
        prices = rest_spot_prices(body)
        if not key.symbol:
            store.spot.merge_rest(prices, asked)
        return prices
    if key.kind is Kind.LISTINGS:
        info = exchange_info(body)
        store.listings.put("info", info, asked)
        return info
    if key.kind is Kind.TICKERS:
        newest = last_trades(json_answer(body, list))
        store.tickers.merge_rest(newest, asked)
        return newest
    if key.kind is Kind.CLOCK:
        return server_time(body)
    return json_answer(body)


NEW_FOR = 86_400_000
"""How long (ms) after its listing a contract may still be without its first trade."""


def _may_be_new(store: MarketStore, key: Key, now: int) -> bool:
    """Whether a contract may never have traded: it is pending or too new for the listings, or was listed a short while
    ago, and nobody has told of a trade. Without that, an empty answer is a mistake of whoever sent it."""
    if store.tickers.traded.get(key.symbol):
        return False
    ring = store.trades.get(key.symbol)
    if (ring is not None and len(ring)) or any(
        series.following() for (name, _), series in store.klines.items() if name == key.symbol
    ):
        return False
    if store.phase(key.symbol) is Phase.PENDING:
        return True
    info = store.listings.get("info")
    if info is None:
        return False
    onboarded = info.value.onboarded.get(key.symbol)
    return onboarded is None or onboarded > now - NEW_FOR


def _has_never_traded(store: MarketStore, symbol: str) -> bool:
    """Whether what is known of a symbol's candles allows that there was never a trade of it."""
    followed = [series for (name, _), series in store.klines.items() if name == symbol]
    whole = [series for series in followed if series.complete]
    if not whole:
        return not followed
    return not any(text_trades(text) for series in whole for text in series.audit_rows())
