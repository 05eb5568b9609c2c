from __future__ import annotations

from typing import Any

import pytest

from ats_sync.config import Config
from ats_sync.errors import MalformedAnswer
from ats_sync.feeds import Key, Kind
from ats_sync.store.link import Link
from ats_sync.store.market import MarketStore, keys_of
from ats_sync.store.order import LAGS_AT_MOST
from ats_sync.store.series import Change
from ats_sync.venue.klines import string_rows

from ..requesting import request_for
from ..venue import samples
from ..venue.samples import DAY, HOUR, MIDNIGHT, MINUTE, compact

SYMBOL = "BTCUSDT"
LINK = Link(1, "public", 0.0)
ASKED = MIDNIGHT + 10 * MINUTE
ROWS = compact([samples.row(MIDNIGHT + i * MINUTE) for i in range(11)])
KLINES = Key(Kind.KLINES, SYMBOL, "1m")
TRADES = Key(Kind.TRADES, SYMBOL)
BOOK = Key(Kind.BOOK, SYMBOL)
INTEREST = Key(Kind.OPEN_INTEREST, SYMBOL, "1h")


@pytest.fixture
def store() -> MarketStore:
    store = MarketStore(Config(), lambda: 0.0)
    store.follow(keys_of((SYMBOL,), ("1m",), ("1h",)))
    return store


def take(store: MarketStore, key: Key, body: bytes, *, limit: int = 0, link: Link | None = None) -> Any:
    return store.merge(key, request_for(key, limit), body, ASKED, link)


def test_candles_are_merged_and_returned_as_texts(store: MarketStore) -> None:
    texts = take(store, KLINES, ROWS, limit=499)
    assert string_rows(texts) == [samples.row(MIDNIGHT + i * MINUTE) for i in range(11)]
    series = store.klines(SYMBOL, "1m")
    assert series.following() == MIDNIGHT + 9 * MINUTE, "the tenth closed only just before it was requested"
    assert series.complete


def test_a_range_is_answered_and_not_merged(store: MarketStore) -> None:
    take(store, KLINES, ROWS)
    take(store, TRADES, compact([samples.rest_trade(5)]))
    take(store, INTEREST, compact([samples.open_interest_row(MIDNIGHT)]))
    assert store.klines(SYMBOL, "1m").following() == 0
    assert store.trades(SYMBOL).last_id() == -1
    assert store.open_interest(SYMBOL, "1h").newest() == 0


def test_what_is_not_followed_is_only_answered(store: MarketStore) -> None:
    assert len(take(store, Key(Kind.KLINES, "ETHUSDT", "1m"), ROWS, limit=499)) == 11
    assert len(take(store, Key(Kind.SPOT_KLINES, SYMBOL, "1m"), ROWS, limit=499)) == 11
    assert take(store, Key(Kind.TRADES, "ETHUSDT"), b"[]", limit=5) == []
    assert take(store, Key(Kind.BOOK, "ETHUSDT"), compact(samples.rest_book(5)), limit=20).update_id == 5
    assert store.symbols == {SYMBOL}


def test_trades_that_begin_with_the_first_are_complete(store: MarketStore) -> None:
    take(store, TRADES, compact([samples.rest_trade(number) for number in (3, 4)]), limit=1000)
    ring = store.trades(SYMBOL)
    assert [trade.id for trade in ring.read(5)] == [3, 4]
    take(store, TRADES, compact([samples.rest_trade(number) for number in range(5)]), limit=1000)
    assert ring.complete
    assert [trade.id for trade in ring.read(9)] == [0, 1, 2, 3, 4]


def test_an_empty_answer_about_candles_that_exist_is_unusable(store: MarketStore) -> None:
    with pytest.raises(MalformedAnswer):
        take(store, KLINES, b"[]", limit=499)
    assert not store.klines(SYMBOL, "1m").complete
    take(store, KLINES, ROWS, limit=499)
    with pytest.raises(MalformedAnswer):
        take(store, KLINES, b"[]", limit=2)


def test_an_empty_answer_about_trades_counts_where_the_candles_show_none(store: MarketStore) -> None:
    with pytest.raises(MalformedAnswer):
        take(store, TRADES, b"[]", limit=1000)
    take(store, KLINES, compact([samples.row(MIDNIGHT, trades=0), samples.row(MIDNIGHT + MINUTE, trades=0)]), limit=499)
    assert take(store, TRADES, b"[]", limit=1000) == []
    assert store.trades(SYMBOL).complete


def test_an_empty_answer_about_trades_is_unusable_where_the_candles_show_some(store: MarketStore) -> None:
    take(store, KLINES, ROWS, limit=499)
    with pytest.raises(MalformedAnswer):
        take(store, TRADES, b"[]", limit=1000)


def listed(onboarded: int | None, status: str = "TRADING") -> bytes:
    info = samples.exchange_info({SYMBOL: status})
    if onboarded is not None:
        info["symbols"][0]["onboardDate"] = onboarded
    return compact(info)


@pytest.mark.parametrize(
    "info", [listed(MIDNIGHT - 3_600_000), listed(None), listed(MIDNIGHT + 3_600_000, "PENDING_TRADING")]
)
def test_an_empty_answer_about_a_contract_that_has_not_traded_yet_is_data(store: MarketStore, info: bytes) -> None:
    take(store, Key(Kind.LISTINGS), info, limit=0)
    assert take(store, KLINES, b"[]", limit=499) == []
    assert take(store, TRADES, b"[]", limit=1000) == []
    series, ring = store.klines(SYMBOL, "1m"), store.trades(SYMBOL)
    standing = series.state(MIDNIGHT)
    assert (standing.rows, standing.complete, standing.doubt) == (0, True, "")
    assert series.rows(5, MIDNIGHT, exact=True) == []
    assert ring.complete
    link = Link(1, "market", 0.0)
    for frame in (samples.kline_frame(samples.row(MIDNIGHT, trades=1)), samples.trade_frame(7)):
        (notice,), _ = store.ingest([frame], link)
        assert notice.change is Change.GAP, "REST is to show whether that was its first trade"
    assert not ring.complete
    assert series.state(MIDNIGHT).doubt
    take(store, KLINES, compact([samples.row(MIDNIGHT, trades=1)]), limit=499)
    assert not series.state(MIDNIGHT + 1_000).doubt
    assert series.complete


def test_an_empty_answer_about_an_old_contract_is_a_mistake(store: MarketStore) -> None:
    take(store, Key(Kind.LISTINGS), listed(MIDNIGHT - 30 * 86_400_000), limit=0)
    for key, limit in ((KLINES, 499), (TRADES, 1000)):
        with pytest.raises(MalformedAnswer):
            take(store, key, b"[]", limit=limit)


def test_a_book_is_merged_but_not_live_for_that_reason(store: MarketStore) -> None:
    take(store, BOOK, compact(samples.rest_book(5)), limit=20, link=LINK)
    series = store.book(SYMBOL)
    assert series.update_id() == 5
    assert series.shown_until(Link(9, "public", 0.0)) == ASKED - LAGS_AT_MOST
    assert series.state(0).link is None


@pytest.mark.parametrize("limit", [5, 10])
def test_a_shallow_book_never_replaces_the_deep_one(store: MarketStore, limit: int) -> None:
    take(store, BOOK, compact(samples.rest_book(5)), limit=20, link=LINK)
    shallow = take(store, BOOK, compact(samples.rest_book(9, count=limit)), limit=limit)
    assert len(shallow.bids) == limit
    held = store.book(SYMBOL).read()
    assert held is not None
    assert (held.update_id, len(held.bids)) == (5, 20)


def test_open_interest_is_merged(store: MarketStore) -> None:
    rows = [samples.open_interest_row(MIDNIGHT + i * HOUR) for i in range(3)]
    assert take(store, INTEREST, compact(rows), limit=3) == rows
    series = store.open_interest(SYMBOL, "1h")
    assert (series.read(5), series.state(0).answered) == (rows, ASKED)


def test_what_serves_all_symbols(store: MarketStore) -> None:
    take(store, Key(Kind.MARK), compact([samples.rest_mark(SYMBOL)]))
    assert store.marks.state(0).answered == ASKED
    assert set(store.marks.everything()) == {SYMBOL}
    take(store, Key(Kind.SPOT), compact([{"symbol": SYMBOL, "price": "1.50"}]))
    held = store.spot.get()
    assert held is not None
    assert (dict(held.value), held.as_of) == ({SYMBOL: "1.50"}, ASKED)
    take(store, Key(Kind.SPOT, SYMBOL), compact({"symbol": SYMBOL, "price": "9"}))
    assert store.spot.get() == held, "one price is not the list of all"
    take(store, Key(Kind.LISTINGS), compact(samples.exchange_info({SYMBOL: "TRADING"})))
    info = store.listings.get()
    assert info is not None
    assert info.value.trading == {SYMBOL}
    take(store, Key(Kind.TICKERS), compact([{"symbol": SYMBOL, "lastId": 5}]))
    assert store.tickers.take(MIDNIGHT + DAY) == [(ASKED - LAGS_AT_MOST, {SYMBOL: 5}, False)]
    assert take(store, Key(Kind.CLOCK), b'{"serverTime":5}') == 5
    assert take(store, Key(Kind.ANSWER), b'{"anything":[1]}') == {"anything": [1]}


@pytest.mark.parametrize(
    "key",
    [
        KLINES,
        TRADES,
        BOOK,
        INTEREST,
        *map(Key, (Kind.MARK, Kind.SPOT, Kind.LISTINGS, Kind.TICKERS, Kind.CLOCK, Kind.ANSWER)),
    ],
)
@pytest.mark.parametrize("body", [b"", b"<html>", b"[[1]", b'"x', b"\xff"])
def test_what_is_not_an_answer_is_malformed_and_changes_nothing(store: MarketStore, key: Key, body: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        take(store, key, body, limit=20)
    assert store.klines(SYMBOL, "1m").following() == 0
    assert store.book(SYMBOL).update_id() == -1


def test_rows_out_of_order_are_malformed(store: MarketStore) -> None:
    rows = [samples.row(MIDNIGHT + MINUTE), samples.row(MIDNIGHT)]
    with pytest.raises(MalformedAnswer, match="order"):
        take(store, KLINES, compact(rows), limit=5)
