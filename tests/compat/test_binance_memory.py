"""The shim while the shared manager runs: what REST has at the same moment, without a request."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from ats_sync import DataManager
from ats_sync.simulator import SimulatedExchange
from compat import binance, binance_safe, klines, oi, tickers

from ..support import from_memory, reads, until
from .conftest import SILENT, STRANGER, SYMBOLS, Wire

pytestmark = [pytest.mark.shared_threads, pytest.mark.usefixtures("live")]

BTC, QUIET, CHINESE, NO_SPOT = SYMBOLS
UNKNOWN = "NOSUCHUSDT"
LATER = "XRPUSDT"
"""Listed, and not followed before these tests read it."""
Rest = Callable[..., Any]


def without_sending_time(book: dict[str, Any]) -> dict[str, Any]:
    """Return a book without ``E``, the moment at which this copy of it was sent."""
    assert type(book["E"]) is int
    return {name: value for name, value in book.items() if name != "E"}


def depth(rest: Rest, symbol: str, limit: int) -> dict[str, Any]:
    return without_sending_time(rest("/fapi/v1/depth", symbol=symbol, limit=limit))


@pytest.mark.parametrize("symbol", SYMBOLS)
@pytest.mark.parametrize(
    ("read", "truth"),
    [
        pytest.param(
            lambda s: binance.get_klines(s, "1h", 300),
            lambda rest, s: rest("/fapi/v1/klines", symbol=s, interval="1h", limit=300),
            id="klines 1h",
        ),
        pytest.param(
            lambda s: binance.get_klines(s, "1m", "499"),
            lambda rest, s: rest("/fapi/v1/klines", symbol=s, interval="1m", limit=499),
            id="klines 1m",
        ),
        pytest.param(
            lambda s: binance.get_klines(s, "4h", 1),
            lambda rest, s: rest("/fapi/v1/klines", symbol=s, interval="4h", limit=1),
            id="the open candle",
        ),
        pytest.param(
            klines.klines_15m,
            lambda rest, s: rest("/fapi/v1/klines", symbol=s, interval="15m", limit=300),
            id="klines_15m",
        ),
        pytest.param(
            lambda s: binance.get_open_interest_hist(s, "1h", 300),
            lambda rest, s: rest("/futures/data/openInterestHist", symbol=s, period="1h", limit=300),
            id="open interest",
        ),
        pytest.param(
            oi.fetch_oi_hourly,
            lambda rest, s: [
                float(row["sumOpenInterest"])
                for row in rest("/futures/data/openInterestHist", symbol=s, period="1h", limit=200)
            ],
            id="open interest as numbers",
        ),
        pytest.param(
            binance.get_mark_price,
            lambda rest, s: float(rest("/fapi/v1/premiumIndex", symbol=s)["markPrice"]),
            id="mark price",
        ),
        pytest.param(
            binance.get_funding_rate,
            lambda rest, s: float(rest("/fapi/v1/premiumIndex", symbol=s)["lastFundingRate"]),
            id="funding rate",
        ),
        pytest.param(
            binance.get_agg_trades,
            lambda rest, s: rest("/fapi/v1/aggTrades", symbol=s, limit=500),
            id="trades",
        ),
    ],
)
def test_memory_equals_rest(
    live: DataManager,
    wire: Wire,
    exchange: SimulatedExchange,
    read: Callable[[str], Any],
    truth: Callable[[Rest, str], Any],
    symbol: str,
) -> None:
    # The market is paused, so that both are seen at the same moment; earlier events have been streamed.
    exchange.silence(symbol)
    try:
        wire.equal_without_request(lambda: read(symbol.lower()), lambda: truth(exchange.rest, symbol))
    finally:
        exchange.silence(symbol, symbol in SILENT)


@pytest.mark.parametrize("symbol", SYMBOLS)
@pytest.mark.parametrize(("asked", "levels"), [(20, 20), (10, 10), ("3", 5), (15, 10)])
def test_books_in_memory_equal_rest(
    live: DataManager, wire: Wire, exchange: SimulatedExchange, symbol: str, asked: Any, levels: int
) -> None:
    wire.equal_without_request(
        lambda: without_sending_time(binance.get_orderbook_snapshot(symbol.lower(), asked)),
        lambda: depth(exchange.rest, symbol, levels),
    )


class TestSpotPrices:
    def test_are_those_of_the_poll(self, live: DataManager, wire: Wire, exchange: SimulatedExchange) -> None:
        def truth() -> float:
            return float(exchange.rest("/api/v3/ticker/price", symbol=QUIET)["price"])

        wire.equal_without_request(lambda: binance.get_spot_price(QUIET.lower()), truth)
        wire.equal_without_request(lambda: binance.get_all_spot_prices()[QUIET], truth)
        listed = {row["symbol"] for row in exchange.rest("/api/v3/ticker/price")}

        def whole() -> None:
            prices = binance.get_all_spot_prices()
            assert set(prices) == listed
            assert {type(price) for price in prices.values()} == {float}
            assert binance.get_spot_price(STRANGER) == binance.get_all_spot_prices()[STRANGER]

        from_memory(live, whole)

    def test_a_perpetual_without_a_pair_fails_as_it_did_and_sends_nothing(self, live: DataManager) -> None:
        before = reads(live)
        for _ in range(3):
            with pytest.raises(OSError, match=r"1000PEPEUSDT.*400.*-1121"):
                binance.get_spot_price(NO_SPOT)
        assert reads(live) == before


class TestLiquidations:
    def test_are_those_seen_so_far_in_the_old_shape(self, live: DataManager) -> None:
        until(lambda: live.get_liquidations(), 60)
        before = reads(live)
        symbol = live.get_liquidations()[0]["symbol"]
        (order, *_) = binance.get_liquidations(symbol.lower(), limit=1000)
        assert set(order) == {
            "symbol", "price", "origQty", "executedQty", "averagePrice", "status", "timeInForce", "type", "side",
            "time",
        }  # fmt: skip
        assert order["symbol"] == symbol
        assert order["side"] in ("BUY", "SELL")
        assert type(order["price"]) is type(order["origQty"]) is str
        known = binance.get_liquidations(symbol, limit=1000, end_time=order["time"])
        assert known[0] == order
        assert binance.get_liquidations(symbol, limit=1000, start_time=order["time"] + 10**9) == []
        assert len(binance.get_liquidations(symbol, limit=0)) == 1
        assert reads(live) == before


def is_rest(exchange: SimulatedExchange, read: Callable[[], Any], path: str, **params: Any) -> None:
    """Check that ``read()`` sends exactly this one request and returns its answer."""
    wanted = {name: str(value) for name, value in params.items()}

    def once() -> bool:
        since = len(exchange.request_log())
        got = read()
        sent = [each for each in exchange.request_log()[since:] if each.params == wanted and each.path == path]
        assert len(sent) == 1
        return bool(got == exchange.rest(path, **params))

    until(once)


class TestRest:
    """Reads that are not in memory, or not to that depth."""

    def test_times(self, exchange: SimulatedExchange) -> None:
        end = exchange.now() - 7_200_000
        is_rest(
            exchange, lambda: binance.get_klines(BTC, "1h", 5, end_time=end), "/fapi/v1/klines", symbol=BTC,
            interval="1h", limit=5, endTime=end,
        )  # fmt: skip
        is_rest(
            exchange, lambda: binance.get_open_interest_hist(BTC, "1h", 5, end_time=end),
            "/futures/data/openInterestHist", symbol=BTC, period="1h", limit=5, endTime=end,
        )  # fmt: skip
        start = exchange.now() - 60_000
        is_rest(
            exchange, lambda: binance.get_agg_trades(BTC, 5, start), "/fapi/v1/aggTrades", symbol=BTC, limit=5,
            startTime=start,
        )  # fmt: skip

    def test_kinds_that_are_not_kept(self, exchange: SimulatedExchange) -> None:
        is_rest(exchange, lambda: binance.get_funding_hist(CHINESE, 9), "/fapi/v1/fundingRate", symbol=CHINESE, limit=9)
        is_rest(exchange, lambda: binance._get("/fapi/v1/fundingInfo"), "/fapi/v1/fundingInfo")
        since = len(exchange.request_log())
        assert {row["symbol"] for row in binance.get_all_premium_index()} == set(exchange.trading())
        paths = [each.path for each in exchange.request_log()[since:] if not each.params]
        assert "/fapi/v1/premiumIndex" in paths

    def test_tickers_are_those_of_rest_and_their_stream(self, exchange: SimulatedExchange) -> None:
        def equal() -> bool:
            rest, row = exchange.rest("/fapi/v1/ticker/24hr", symbol=QUIET), tickers.one_24h(QUIET)
            assert list(row) == list(rest)
            return all(row[name] == rest[name] for name in rest.keys() - {"openTime", "closeTime"})  # type: ignore[literal-required]

        until(equal)
        assert {row["symbol"] for row in tickers.all_24h()} == set(exchange.trading())


class TestFollowedFromTheFirstReadOn:
    """REST answers the first read of a series, memory those after it."""

    @pytest.mark.parametrize(
        ("symbol", "read", "path", "sent", "truth"),
        [
            pytest.param(
                LATER, lambda s: binance.get_klines(s, "1h", 20), "/fapi/v1/klines", {"interval": "1h", "limit": 20},
                {}, id="another symbol",
            ),
            pytest.param(
                CHINESE, lambda s: binance.get_klines(s, "1d", 20), "/fapi/v1/klines", {"interval": "1d", "limit": 20},
                {}, id="another interval",
            ),
            pytest.param(
                QUIET, lambda s: binance.get_klines(s, "1h", 1500), "/fapi/v1/klines",
                {"interval": "1h", "limit": 1500}, {}, id="more rows than were kept",
            ),
            pytest.param(
                LATER, lambda s: binance.get_klines(s, "5m", 1500), "/fapi/v1/klines",
                {"interval": "5m", "limit": 1500}, {}, id="more rows than the first time",
            ),
            pytest.param(
                QUIET, lambda s: binance.get_spot_klines(s, "1h", 9), "/api/v3/klines", {"interval": "1h", "limit": 9},
                {}, id="spot candles of what is watched",
            ),
            pytest.param(
                LATER, lambda s: binance.get_spot_klines(s, "15m", 1000), "/api/v3/klines",
                {"interval": "15m", "limit": 1000}, {}, id="spot candles",
            ),
            pytest.param(
                BTC, lambda s: binance.get_open_interest_hist(s, "4h", 5), "/futures/data/openInterestHist",
                {"period": "4h", "limit": 5}, {}, id="another period",
            ),
            pytest.param(
                BTC, lambda s: binance.get_open_interest_hist(s, "1h", 500), "/futures/data/openInterestHist",
                {"period": "1h", "limit": 500}, {}, id="more open interest than was kept",
            ),
            pytest.param(
                # As many as are kept, which weighs the same.
                LATER, binance.get_agg_trades, "/fapi/v1/aggTrades", {"limit": 1000}, {"limit": 500}, id="trades",
            ),
        ],
    )  # fmt: skip
    def test_what_was_not_kept(
        self,
        live: DataManager,
        wire: Wire,
        exchange: SimulatedExchange,
        symbol: str,
        read: Callable[[str], Any],
        path: str,
        sent: dict[str, Any],
        truth: dict[str, Any],
    ) -> None:
        if symbol == LATER and sent.get("limit") == 1500:
            read_less = binance.get_klines(symbol, "5m", 30)
            assert len(read_less) == 30
        exchange.silence(symbol)
        try:
            before, since = reads(live), len(exchange.request_log())
            got = read(symbol.lower())
            assert reads(live) == before + 1
            params = {name: str(value) for name, value in {"symbol": symbol, **sent}.items()}
            assert params in [each.params for each in exchange.request_log()[since:] if each.path == path]
            answer = {"symbol": symbol, **sent, **truth}
            assert got == exchange.rest(path, **answer)
            wire.equal_without_request(lambda: read(symbol), lambda: exchange.rest(path, **answer))
        finally:
            exchange.silence(symbol, symbol in SILENT)
        assert LATER not in live.symbols

    @pytest.mark.parametrize("symbol", [QUIET, LATER])
    def test_deeper_books(self, live: DataManager, wire: Wire, exchange: SimulatedExchange, symbol: str) -> None:
        for limit in (50, 100, 1000):
            before = reads(live)
            book = without_sending_time(binance.get_orderbook_snapshot(symbol, limit))
            assert reads(live) <= before + 1
            assert {len(book["bids"]), len(book["asks"])} <= set(range(limit + 1))
            held: dict[int, Any] = {}
            truth: dict[int, Any] = {}

            def met(limit: int = limit, held: dict[int, Any] = held, truth: dict[int, Any] = truth) -> bool:
                # It changes ten times a second, so the two are rarely seen at the same moment.
                before = wire.count()
                book = without_sending_time(binance.get_orderbook_snapshot(symbol, limit))
                if wire.count() == before:
                    held[book["lastUpdateId"]] = book
                book = depth(exchange.rest, symbol, limit)
                truth[book["lastUpdateId"]] = book
                return bool(held.keys() & truth.keys())

            until(met)
            for update_id in held.keys() & truth.keys():
                assert held[update_id] == truth[update_id]

    def test_a_spot_pair_without_a_perpetual(self, wire: Wire, exchange: SimulatedExchange) -> None:
        params = {"symbol": "PEPEUSDT", "interval": "1h", "limit": 50}
        wire.equal_without_request(
            lambda: binance.get_spot_klines("PEPEUSDT", "1h", 50)[:-1],
            lambda: exchange.rest("/api/v3/klines", **params)[:-1],
        )


class TestErrors:
    @pytest.mark.parametrize(
        "read",
        [
            lambda: binance.get_klines(UNKNOWN, "1h"),
            lambda: binance.get_orderbook_snapshot(UNKNOWN),
            lambda: binance.get_mark_price(UNKNOWN),
            lambda: binance.get_funding_rate(UNKNOWN),
            lambda: binance.get_spot_price(UNKNOWN),
            lambda: binance.get_agg_trades(UNKNOWN),
            lambda: binance.get_ticker_24h(UNKNOWN),
        ],
    )
    def test_of_an_unknown_symbol_are_the_exchanges_own(self, live: DataManager, read: Callable[[], Any]) -> None:
        before = reads(live)
        with pytest.raises(OSError, match=r"400.*-1121"):
            read()
        # Before a symbol counts as unknown the listings may be requested once more: it may be new.
        assert before + 1 <= reads(live) <= before + 2

    def test_of_a_symbol_without_spot_pair_come_at_once(self, live: DataManager) -> None:
        before = reads(live)
        for symbol in (UNKNOWN, NO_SPOT):
            with pytest.raises(OSError, match=rf"{symbol}.*400.*-1121"):
                binance.get_spot_klines(symbol, "1h")
        assert reads(live) == before

    def test_of_a_wrong_interval_are_the_exchanges_own_and_follow_nothing(self, live: DataManager) -> None:
        with pytest.raises(OSError, match=r"400.*-1120"):
            binance.get_klines(BTC, "7m")
        with pytest.raises(OSError, match="400"):
            binance.get_open_interest_hist(BTC, "7h")
        assert {"7m", "7h"}.isdisjoint(feed.interval for feed in live.status().feeds)

    def test_of_a_server_that_fails_contain_its_status(self, live: DataManager, exchange: SimulatedExchange) -> None:
        exchange.fail_rest("503", path="/fapi/v1/fundingRate")
        try:
            with pytest.raises(OSError, match="503"):
                binance.get_funding_hist(BTC)
        finally:
            exchange.clear_faults()


class TestOwnership:
    def test_a_result_belongs_to_its_caller(self) -> None:
        for read in (
            lambda: binance.get_klines(QUIET, "1h", 5),
            lambda: binance.get_open_interest_hist(QUIET, "1h", 5),
            lambda: binance.get_agg_trades(QUIET, 5),
            lambda: binance.get_orderbook_snapshot(QUIET, 5)["bids"],
        ):
            first, kept = read(), read()
            first[0].clear()
            first.clear()
            assert read() == kept

    def test_a_result_belongs_to_its_caller_also_where_a_request_is_shared(
        self, live: DataManager, exchange: SimulatedExchange
    ) -> None:
        exchange.latency(0.5)
        found: list[Any] = []

        def one() -> None:
            found.append(binance._get("/fapi/v1/premiumIndex", {"symbol": LATER}))

        readers = [threading.Thread(target=one) for _ in range(6)]
        try:
            before = reads(live)
            for reader in readers:
                reader.start()
            for reader in readers:
                reader.join()
            assert reads(live) == before + 1
        finally:
            exchange.latency(0.0)
        assert len({id(answer) for answer in found}) == 6
        found[0].clear()
        assert all(answer["symbol"] == LATER for answer in found[1:])


def test_the_budget_is_reported(live: DataManager, exchange: SimulatedExchange) -> None:
    binance.get_klines(STRANGER, "1h", 1000)
    minutes = exchange.stats().fapi.weight_by_minute
    status = binance_safe.get_rate_limiter_status()
    assert set(status) == {"requests", "weight", "requests_limit", "weight_limit"}
    assert status["weight_limit"] == status["requests_limit"] == int(2400 * live.config.weight_share)
    assert status["weight"] >= minutes[max(minutes)] >= 5
    assert 0 < status["requests"] <= exchange.stats().fapi.requests
