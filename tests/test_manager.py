"""The manager on the simulated exchange, over real sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from inspect import signature
from itertools import pairwise

import numpy as np
import pytest

from ats_sync import (
    DataError,
    DataManager,
    DataUnavailableError,
    InvalidArgument,
    InvalidInterval,
    InvalidSymbol,
    NoSpotPair,
    Overall,
    StaleDataError,
)
from ats_sync.simulator import SimulatedExchange, before_midnight, before_turn
from ats_sync.store.klines import USUAL_ROWS
from ats_sync.store.trades import USUAL_TRADES
from ats_sync.venue.ratios import RATIOS

from .support import all_live, closed_equal, from_memory, reads, requests_by_cause, until

INTERVALS = ("1m", "1h")


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(symbols=12, seed=7) as ex:
        yield ex


@pytest.fixture(scope="module")
def symbols(exchange: SimulatedExchange) -> list[str]:
    return list(exchange.symbols[:4]) + [s for s in exchange.symbols if not s.isascii()][:1]


@pytest.fixture(scope="module")
def dm(exchange: SimulatedExchange, symbols: list[str]) -> Iterator[DataManager]:
    with DataManager(symbols, INTERVALS, config=exchange.config()) as manager:
        until(lambda: all_live(manager, "trades"))
        yield manager


class TestReads:
    pytestmark = pytest.mark.shared_threads

    def test_shapes(self, dm: DataManager, symbols: list[str]) -> None:
        symbol = symbols[0]
        rows = dm.get_klines(symbol.lower(), "1h", limit=300)
        assert len(rows) == 300
        assert all(isinstance(row, list) and len(row) == 12 for row in rows)
        assert [type(item) for item in rows[0]] == [int, *[float] * 5, int, float, int, *[float] * 3]
        assert all(a[0] + 3_600_000 == b[0] for a, b in pairwise(rows))
        book = dm.get_orderbook(symbol, limit=5)
        assert set(book) == {"bids", "asks", "timestamp", "lastUpdateId"}
        assert len(book["bids"]) == len(book["asks"]) == 5
        assert book["bids"][0][0] > book["bids"][1][0]
        assert book["bids"][0][0] < book["asks"][0][0] < book["asks"][1][0]
        assert isinstance(dm.get_mark_price(symbol), float)
        funding = dm.get_funding_rate(symbol)
        assert set(funding) == {"rate", "nextTime", "markPrice", "timestamp"}
        assert funding["nextTime"] > funding["timestamp"]
        assert dm.get_spot_price(symbol) > 0
        interest = dm.get_oi_history(symbol, "1h", limit=100)
        assert len(interest) == 100
        assert set(interest[0]) == {"timestamp", "sumOpenInterest", "sumOpenInterestValue"}
        trades = dm.get_agg_trades(symbol, limit=500)
        assert len(trades) == 500
        assert set(trades[0]) == {"id", "price", "qty", "time", "isBuyerMaker"}
        assert [trade["id"] for trade in trades] == list(range(trades[0]["id"], trades[0]["id"] + 500))
        newest = dm.get_liquidation_trades(symbol, limit=2)[0]
        assert newest["id"] >= trades[-2]["id"]
        assert isinstance(dm.get_liquidations(), list)

    def test_symbol_info_is_what_exchange_info_says(self, dm: DataManager, exchange: SimulatedExchange) -> None:
        before = requests_by_cause(dm)["read"]
        for row in exchange.rest("/fapi/v1/exchangeInfo")["symbols"]:
            info = dm.symbol_info(row["symbol"])
            filters = {each["filterType"]: each for each in row["filters"]}
            assert (f"{info.tick_size:f}", f"{info.step_size:f}") == (
                filters["PRICE_FILTER"]["tickSize"], filters["LOT_SIZE"]["stepSize"],
            )  # fmt: skip
            assert (info.contract_type, info.underlying_type) == (row["contractType"], row["underlyingType"])
            price = dm.get_mark_price(row["symbol"])
            assert info.round_price(str(price)) % info.tick_size == 0
        assert requests_by_cause(dm)["read"] == before
        with pytest.raises(InvalidSymbol, match="NOSUCHUSDT"):
            dm.symbol_info("NOSUCHUSDT")

    def test_tickers_are_those_of_rest_even_where_nothing_trades(
        self, dm: DataManager, exchange: SimulatedExchange, symbols: list[str]
    ) -> None:
        quiet = exchange.symbols[6]
        exchange.silence(quiet)
        path, window = "/fapi/v1/ticker/24hr", {"openTime", "closeTime"}
        until(lambda: from_memory(dm, lambda: dm.get_ticker(quiet)), timeout=15.0)
        before = requests_by_cause(dm)["read"]

        def equal() -> bool:
            rest = exchange.rest(path, symbol=quiet)
            return all(dm.get_ticker(quiet)[name] == float(rest[name]) for name in rest.keys() - window - {"symbol"})  # type: ignore[literal-required]

        until(equal)
        busy = symbols[0]
        until(lambda: dm.get_ticker(busy)["lastId"] >= exchange.rest(path, symbol=busy)["lastId"])
        volumes = sorted((row["quoteVolume"] for row in dm.get_tickers()), reverse=True)
        assert len(volumes) == len(exchange.rest(path))
        assert len(dm.top(3)) == 3
        assert dm.top(1, by="count")[0]["count"] == max(row["count"] for row in dm.get_tickers())
        assert requests_by_cause(dm)["read"] == before
        exchange.silence(quiet, on=False)

    def test_ratios_are_those_of_rest_and_in_memory_after_the_first_read(
        self, dm: DataManager, exchange: SimulatedExchange, symbols: list[str]
    ) -> None:
        symbol = symbols[0]
        for kind in RATIOS:
            names = {"pair": symbol, "contractType": "PERPETUAL"} if kind == "basis" else {"symbol": symbol}
            rest = exchange.rest(f"/futures/data/{kind}", period="1h", limit=24, **names)
            assert len(rest) == 24
            rows = from_memory(dm, lambda kind=kind: dm.get_ratio(symbol.lower(), kind, "1h", 24))
            for row, written in zip(rows, rest, strict=True):
                assert row.keys() <= written.keys()
                assert all(row[name] == float(written[name]) for name in row if row[name] is not None)  # type: ignore[literal-required]
            before = reads(dm)
            assert dm.rest_shaped.ratio(kind, symbol, "1h", 24) == rest
            assert reads(dm) == before
        with pytest.raises(InvalidArgument, match="basis"):
            dm.get_ratio(symbol, "openInterestHist")
        with pytest.raises(InvalidInterval):
            dm.get_ratio(symbol, "basis", "1m")

    def test_a_quote_comes_from_the_book_or_from_the_quotes_of_all(
        self, dm: DataManager, exchange: SimulatedExchange, symbols: list[str]
    ) -> None:
        book = from_memory(dm, lambda: dm.get_quote(symbols[0]))
        assert book["source"] == "book"
        assert book["age"] <= 2.0
        assert 0 < book["bid"] < book["ask"]
        unwatched = exchange.symbols[5]
        until(lambda: dm.get_quote(unwatched)["source"] == "bookTicker")
        assert dm.get_quote(unwatched)["age"] <= 5.0
        asked = dm.get_quote(unwatched, max_age=0)
        assert (asked["source"], asked["age"]) == ("rest", 0.0)
        with pytest.raises(InvalidSymbol):
            dm.get_quote("NOSUCHUSDT")

    def test_a_scan_causes_no_request(self, dm: DataManager, exchange: SimulatedExchange, symbols: list[str]) -> None:
        def scan() -> None:
            for symbol in symbols:
                for interval in INTERVALS:
                    dm.get_klines(symbol, interval, 300)
                dm.get_orderbook(symbol)
                dm.get_mark_price(symbol)
                dm.get_funding_rate(symbol)
                dm.get_oi_history(symbol, "1h", 200)
                dm.get_agg_trades(symbol, 500)

        def silent() -> bool:
            began = exchange.now()
            scan()
            return exchange.request_log(since=began) == []

        until(silent)

    def test_closed_candles_equal_rest_string_for_string(
        self, dm: DataManager, exchange: SimulatedExchange, symbols: list[str]
    ) -> None:
        for symbol in symbols:
            for interval in INTERVALS:
                assert closed_equal(dm, exchange, symbol, interval, 400)

    def test_what_is_returned_belongs_to_the_caller(self, dm: DataManager, symbols: list[str]) -> None:
        symbol = symbols[0]
        for spoilt in (
            dm.get_klines(symbol, "1h", 3),
            dm.get_agg_trades(symbol, 3),
            dm.get_oi_history(symbol, "1h", 3),
        ):
            spoilt[0].clear()
            spoilt.clear()
        dm.get_orderbook(symbol)["bids"][0][0] = -1.0
        assert len(dm.get_klines(symbol, "1h", 3)[0]) == 12
        assert dm.get_orderbook(symbol)["bids"][0][0] > 0
        assert dm.get_agg_trades(symbol, 3)[0]["id"] > 0
        assert dm.get_oi_history(symbol, "1h", 3)[0]["timestamp"] > 0

    def test_more_rows_than_are_kept_come_from_rest(self, dm: DataManager, symbols: list[str]) -> None:
        assert len(dm.get_klines(symbols[0], "1m", 1000)) == 1000
        assert len(dm.get_klines(symbols[0], "1m", 500)) == 500

    def test_max_age_zero_always_goes_to_rest(self, dm: DataManager, symbols: list[str]) -> None:
        before = reads(dm)
        dm.get_klines(symbols[0], "1h", 10, max_age=0)
        dm.get_mark_price(symbols[0], max_age=0)
        dm.get_orderbook(symbols[0], 5, max_age=0)
        assert reads(dm) == before + 3

    def test_deeper_books_come_from_rest(self, dm: DataManager, symbols: list[str]) -> None:
        assert len(dm.get_orderbook(symbols[0], limit=60)["bids"]) == 60

    def test_another_open_interest_period_has_its_own_history(self, dm: DataManager, symbols: list[str]) -> None:
        rows = dm.get_oi_history(symbols[0], "4h", 5)
        assert [b["timestamp"] - a["timestamp"] for a, b in pairwise(rows)] == [4 * 3_600_000] * 4
        until(lambda: all_live(dm, "oi"))
        again = from_memory(dm, lambda: dm.get_oi_history(symbols[0], "4h", 5))
        assert again[-1]["timestamp"] >= rows[-1]["timestamp"]

    def test_a_symbol_that_is_not_watched_is_answered_and_not_followed(
        self, dm: DataManager, exchange: SimulatedExchange
    ) -> None:
        stranger = exchange.symbols[6]
        before = reads(dm)
        for _ in range(2):
            assert len(dm.get_klines(stranger, "15m", 20)) == 20
            assert dm.get_orderbook(stranger, 5)["bids"]
        assert reads(dm) == before + 4
        assert from_memory(dm, lambda: dm.get_mark_price(stranger)) > 0, "mark prices come for all symbols anyway"
        assert stranger not in dm.symbols

    def test_a_perpetual_without_a_spot_pair_says_so_without_a_request(
        self, dm: DataManager, exchange: SimulatedExchange
    ) -> None:
        def refused() -> None:
            for _ in range(3):
                with pytest.raises(NoSpotPair, match="1000PEPEUSDT has no spot market"):
                    dm.get_spot_price("1000PEPEUSDT")

        from_memory(dm, refused)

    def test_unknown_symbols_and_bad_arguments_are_refused(self, dm: DataManager, symbols: list[str]) -> None:
        with pytest.raises(InvalidSymbol, match="NOSUCHUSDT"):
            dm.get_klines("NOSUCHUSDT", "1h")
        with pytest.raises(InvalidSymbol, match="NOSUCHUSDT"):
            dm.get_spot_price("NOSUCHUSDT")
        with pytest.raises(InvalidSymbol, match="NOSUCHUSDT"):
            dm.get_mark_price("NOSUCHUSDT")
        before = reads(dm)
        for symbol in ("", "BTC/USDT", "BTC USDT", "btcusdt@trade", "a\nb", 7, None):
            with pytest.raises(InvalidSymbol):
                dm.get_klines(symbol, "1h")  # type: ignore[arg-type]
        for interval in ("", "7m", "1H", None):
            with pytest.raises(InvalidInterval):
                dm.get_klines(symbols[0], interval)  # type: ignore[arg-type]
        for limit in (0, -1, 1.5, "7", None, True, 1501):
            with pytest.raises(InvalidArgument):
                dm.get_klines(symbols[0], "1h", limit)  # type: ignore[arg-type]
        with pytest.raises(InvalidArgument):
            dm.get_klines(symbols[0], "1h", max_age=-1)
        assert reads(dm) == before

    def test_many_readers_share_one_request(self, dm: DataManager, exchange: SimulatedExchange) -> None:
        stranger = exchange.symbols[8]
        exchange.latency(0.5)
        try:
            before = reads(dm)
            found: list[int] = []
            readers = [
                threading.Thread(target=lambda: found.append(len(dm.get_klines(stranger, "1d", 9)))) for _ in range(8)
            ]
            for reader in readers:
                reader.start()
            for reader in readers:
                reader.join()
        finally:
            exchange.latency(0.0)
        assert found == [9] * 8
        assert reads(dm) == before + 1

    def test_status_and_last_update(self, dm: DataManager, symbols: list[str]) -> None:
        status = until(lambda: (now := dm.status()).state is Overall.LIVE and now)
        assert len(status.connections) == 2
        assert all(each.acknowledged == each.streams for each in status.connections)
        assert "live" in str(status)
        symbol = symbols[0]
        now = time.time()
        keys = ("klines_1h", "klines_1m", "orderbook", "oi", "funding", "mark", "spot", "trades", "liquidation")
        for kind in keys:
            assert abs(now - dm.last_update[f"{symbol}_{kind}"]) < 600
        with pytest.raises(TypeError):
            dm.last_update["x"] = 1.0  # type: ignore[index]

    def test_it_waits_for_the_next_closed_candle(self, dm: DataManager, symbols: list[str]) -> None:
        last_closed = dm.get_klines(symbols[0], "1m", 2)[0]
        row = dm.wait_closed(symbols[0], "1m", after=last_closed[0] - 60_000, timeout=0)
        assert row is not None
        assert row[0] >= last_closed[0]
        assert dm.wait_closed(symbols[0], "1m", after=last_closed[0] + 10**9, timeout=0.05) is None

    def test_a_time_in_seconds_is_refused(self, dm: DataManager, symbols: list[str]) -> None:
        """Every candle opened later than that many ms after 1970, so it would always return at once."""
        for seconds in (time.time(), int(time.time()), np.float64(time.time())):
            with pytest.raises(InvalidArgument, match="looks like seconds"):
                dm.wait_closed(symbols[0], "1m", after=seconds, timeout=0)  # type: ignore[arg-type]
        last_closed = dm.get_klines(symbols[0], "1m", 2)[0]
        assert dm.wait_closed(symbols[0], "1m", after=np.int64(last_closed[0] - 60_000), timeout=0) is not None


class TestMaking:
    def test_nothing_to_follow(self) -> None:
        with pytest.raises(InvalidArgument, match="empty"):
            DataManager([]).start()
        with pytest.raises(InvalidInterval):
            DataManager(["BTCUSDT"], ["7m"])
        with pytest.raises(InvalidSymbol):
            DataManager(["BTC USDT"])

    def test_without_websocket(self, exchange: SimulatedExchange) -> None:
        symbol = exchange.symbols[0]
        with DataManager([symbol], ["1m"], config=exchange.config(), enable_websocket=False) as dm:
            before = exchange.stats().connections_now
            assert len(dm.get_klines(symbol, "1m", 300)) == 300
            assert dm.get_orderbook(symbol)["bids"]
            assert dm.get_mark_price(symbol) > 0
            assert dm.get_spot_price(symbol) > 0
            assert len(dm.get_agg_trades(symbol, 100)) == 100
            assert closed_equal(dm, exchange, symbol, "1m")
            assert dm.status().connections == ()
            assert exchange.stats().connections_now == before


class TestDegrading:
    def test_a_lost_connection_is_noticed_served_by_rest_and_repaired(self) -> None:
        with (
            SimulatedExchange(symbols=["BTCUSDT", "ETHUSDT"], seed=3) as ex,
            DataManager(["BTCUSDT", "ETHUSDT"], ["1m"], config=ex.config()) as dm,
        ):
            until(lambda: all_live(dm, "trades"))
            ex.refuse(what="streams")
            ex.cut(how="reset")
            until(lambda: dm.status().ready("klines") == (0, 2))  # the other connection may be lost first
            before = reads(dm)
            rows = dm.rest_shaped.klines("BTCUSDT", "1m", 50)
            assert reads(dm) == before + 1
            assert rows[:-1] == ex.rest("/fapi/v1/klines", symbol="BTCUSDT", interval="1m", limit=50)[:-1]
            ids = [trade["id"] for trade in dm.get_agg_trades("BTCUSDT", 500)]
            assert ids == list(range(ids[0], ids[0] + 500))
            ex.accept()
            until(lambda: dm.status().state is Overall.LIVE)
            until(lambda: all_live(dm, "trades"))
            ids = [trade["id"] for trade in from_memory(dm, lambda: dm.get_agg_trades("BTCUSDT", 1000))]
            assert ids == list(range(ids[0], ids[0] + 1000))
            assert from_memory(dm, lambda: closed_equal(dm, ex, "BTCUSDT", "1m"))
            assert dm.get_stats()["ws_reconnects"] >= 2

    def test_a_stale_data_error_carries_the_age_and_the_data(self) -> None:
        with (
            SimulatedExchange(symbols=["BTCUSDT"], seed=3) as ex,
            DataManager(["BTCUSDT"], ["1m"], config=ex.config(read_timeout=1.0)) as dm,
        ):
            ex.refuse(what="streams")
            ex.fail_rest("reset")
            ex.cut(how="reset")
            until(lambda: dm.status().ready("klines") == (0, 1))
            with pytest.raises(StaleDataError, match="BTCUSDT klines 1m") as caught:
                dm.get_klines("BTCUSDT", "1m", 30)
            assert caught.value.retryable
            assert caught.value.age >= 0
            assert len(caught.value.data) in (29, 30)
            until(lambda: _age(dm) > 1.0)
            with pytest.raises(StaleDataError) as book:
                dm.get_orderbook("BTCUSDT")
            assert book.value.data["bids"]
            with pytest.raises(DataUnavailableError):
                dm.get_klines("BTCUSDT", "3m", 30)

    def test_while_the_exchange_says_to_wait_it_raises_at_once_and_sends_nothing(self) -> None:
        with (
            SimulatedExchange(symbols=["BTCUSDT"], seed=3, start=before_turn("1m", 45.0)) as ex,
            DataManager(["BTCUSDT"], ["1m"], config=ex.config()) as dm,
        ):
            until(lambda: all_live(dm, "trades"))
            ex.ban(60.0)
            with pytest.raises(DataUnavailableError, match="418"):
                dm.get_klines("BTCUSDT", "3m", 30)
            sent = ex.stats().fapi.requests
            with pytest.raises(DataUnavailableError) as caught:
                dm.get_klines("BTCUSDT", "5m", 30)
            assert caught.value.retry_at is not None
            assert caught.value.retry_at > time.time() + 30
            assert dm.status().blocked["futures"] > time.time() + 30
            assert ex.stats().fapi.requests == sent

            def served() -> bool:
                try:
                    return len(dm.get_klines("BTCUSDT", "1m", 30)) == 30
                except DataError:  # right after a minute ends, until the stream reports the new candle
                    return False

            until(served)

    def test_malformed_frames_harm_nothing(self) -> None:
        kinds = (
            "not_json", "truncated", "wrong_types", "missing_field", "empty_field", "nan", "null", "unknown_event",
            "binary", "fragmented", "bad_element", "empty_message", "big_int", "deep", "huge",
        )  # fmt: skip
        with (
            SimulatedExchange(symbols=["BTCUSDT"], seed=3) as ex,
            DataManager(["BTCUSDT"], ["1m"], config=ex.config()) as dm,
        ):
            until(lambda: all_live(dm, "trades"))
            for kind in kinds:
                for selector in ("kline", "aggTrade", "depth", "markPrice"):
                    ex.malformed(kind, selector, next_n=2)
            until(lambda: sum(dm.get_stats()["ws_dropped"].values()) > 10)
            dropped = dm.status().dropped
            assert sum(dropped.values()) > 10
            assert all(f"frames dropped: {reason}" in str(dm.status()) for reason in dropped)
            until(lambda: ex.fault_counts().get("malformed", 0) >= 2 * len(kinds))
            until(lambda: dm.status().state is Overall.LIVE and all_live(dm, "trades"))
            assert closed_equal(dm, ex, "BTCUSDT", "1m")
            assert dm.get_orderbook("BTCUSDT")["bids"]
            assert dm.get_mark_price("BTCUSDT") > 0
            ids = [trade["id"] for trade in dm.get_agg_trades("BTCUSDT", 500)]
            assert ids == list(range(ids[0], ids[0] + 500))


def _age(dm: DataManager) -> float:
    ages = [feed.age for feed in dm.status().feeds if feed.kind == "orderbook" and feed.age is not None]
    return min(ages, default=0.0)


class TestCandleClose:
    def test_at_midnight_candles_of_all_intervals_close_and_memory_shows_what_rest_shows(self) -> None:
        intervals = ["1m", "1h", "1d"]
        names = ["BTCUSDT", "SUIUSDT"]
        with SimulatedExchange(symbols=12, seed=5, start=before_midnight(4.0)) as ex:
            ex.silence("SUIUSDT")
            with DataManager(names, intervals, config=ex.config()) as dm:
                midnight = (ex.now() // 86_400_000 + 1) * 86_400_000
                # The library's estimate of the exchange's time may lag a little on a busy machine.
                until(lambda: ex.now() >= midnight + 50 and dm.clock.exchange_ms() >= midnight, 20)

                def at_the_turn() -> None:
                    for symbol in names:
                        for interval in intervals:
                            rows = dm.rest_shaped.klines(symbol, interval, 5)
                            truth = ex.rest("/fapi/v1/klines", symbol=symbol, interval=interval, limit=5)
                            assert [row[0] for row in rows] == [row[0] for row in truth]
                            if symbol == "SUIUSDT":
                                assert rows[-1] == truth[-1], "the provisional row is what REST shows"

                from_memory(dm, at_the_turn)
                before = reads(dm)
                row = dm.wait_closed("BTCUSDT", "1d", after=midnight - 2 * 86_400_000, timeout=20)
                assert row is not None
                assert row[0] == midnight - 86_400_000
                row = dm.wait_closed("SUIUSDT", "1h", after=midnight - 2 * 3_600_000, timeout=40)
                assert row is not None
                assert reads(dm) == before
                for symbol in names:
                    for interval in intervals:
                        assert closed_equal(dm, ex, symbol, interval, 50)

    def test_a_lost_final_event_is_fetched(self) -> None:
        with SimulatedExchange(symbols=["BTCUSDT"], seed=5, start=before_midnight(2.5)) as ex:
            ex.lose_finals()
            with DataManager(["BTCUSDT"], ["1h", "1d"], config=ex.config()) as dm:
                midnight = (ex.now() // 86_400_000 + 1) * 86_400_000
                row = dm.wait_closed("BTCUSDT", "1d", after=midnight - 2 * 86_400_000, timeout=40)
                assert row is not None
                assert row[0] == midnight - 86_400_000
                assert requests_by_cause(dm)["repair"] >= 1
                until(lambda: dm.status().state is Overall.LIVE)
                assert closed_equal(dm, ex, "BTCUSDT", "1h")


@pytest.mark.parametrize(
    ("name", "ahead"),
    [("get_klines", USUAL_ROWS), ("get_klines_array", USUAL_ROWS), ("get_agg_trades", USUAL_TRADES)],
)
def test_what_is_decoded_ahead_is_what_reads_return_by_default(name: str, ahead: int) -> None:
    assert signature(getattr(DataManager, name)).parameters["limit"].default == ahead
