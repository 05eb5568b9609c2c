"""One feed for many processes: what a reader returns is what the collector has, or REST, or an error."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
import requests as web

from ats_sync import (
    AtsSyncError,
    DataManager,
    DataUnavailableError,
    FeedStatus,
    InvalidArgument,
    InvalidSymbol,
    NotRunning,
    SharedStoreUnavailable,
    StaleDataError,
    StartTimeout,
)
from ats_sync.cli.main import main
from ats_sync.endpoint import Endpoint
from ats_sync.endpoint.views import Views
from ats_sync.errors import ConfigError, RequestRejected
from ats_sync.shared.client import SharedStore
from ats_sync.shared.lease_state import TTL
from ats_sync.shared.publish import FEED_KEY
from ats_sync.shared.wishes import WISHES_KEY
from ats_sync.simulator import SimulatedExchange, before_turn

from ..support import until
from .conftest import started
from .feed import INTERVALS, Scene, config_of, managed, requests, same, scene_of, served
from .proxy import Proxy
from .servers import StoreServer, free_port

SYMBOLS = 4


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """A collector and a reader that live for the whole module; tests that stop something make their own."""
    with scene_of(SYMBOLS) as scene:
        until(lambda: scene.collector.status().ready("trades") == (3, 3))
        yield scene


READS: dict[str, Callable[[DataManager, str], Any]] = {
    "candles in strings": lambda dm, symbol: dm.rest_shaped.klines(symbol, "1m", 100),
    "candles in numbers": lambda dm, symbol: dm.get_klines(symbol, "1h", 300),
    "candles in columns": lambda dm, symbol: dm.get_klines_array(symbol, "1m", 50).tolist(),
    "candles as text": lambda dm, symbol: dm.rest_text.klines(symbol, "1m", 200).body,
    "book": lambda dm, symbol: dm.get_orderbook(symbol, 20),
    "book in strings": lambda dm, symbol: dm.rest_shaped.depth(symbol, 5),
    "mark price": lambda dm, symbol: dm.get_mark_price(symbol),
    "funding": lambda dm, symbol: dm.get_funding_rate(symbol),
    "premium index": lambda dm, symbol: dm.rest_text.premium_index(symbol).body,
    "trades": lambda dm, symbol: dm.get_agg_trades(symbol, 500),
    "trades in strings": lambda dm, symbol: dm.rest_shaped.agg_trades(symbol, 1000),
    "open interest": lambda dm, symbol: dm.get_oi_history(symbol, "1h", 100),
    "open interest in strings": lambda dm, symbol: dm.rest_shaped.open_interest_hist(symbol, "1h", 30),
    "spot price": lambda dm, symbol: dm.get_spot_price(symbol),
    "all spot prices": lambda dm, symbol: dm.rest_shaped.all_spot_prices(),
    "ticker": lambda dm, symbol: dm.get_ticker(symbol),
    "tickers": lambda dm, symbol: dm.get_tickers(),
    "busiest": lambda dm, symbol: dm.top(2),
    "rules": lambda dm, symbol: dm.symbol_info(symbol),
    "liquidations": lambda dm, symbol: dm.get_liquidations(),
    "liquidations of one": lambda dm, symbol: dm.rest_shaped.liquidations(symbol, 50),
}


@pytest.mark.parametrize("name", READS)
def test_a_reader_returns_what_the_collector_returns(scene: Scene, name: str) -> None:
    for symbol in scene.symbols[:2]:
        found = same(scene.reader, scene.collector, lambda dm, symbol=symbol: READS[name](dm, symbol))  # type: ignore[misc]
        assert found or name.startswith("liquidations")


def test_the_candles_of_many_symbols_are_one_round_trip(scene: Scene) -> None:
    reader = scene.reader
    replica: Any = reader._life.store

    def whole() -> bool:
        before, pulls = requests(reader), replica.pulls
        batch = reader.read_klines(scene.symbols, "1m", 50)
        assert batch.symbols == tuple(scene.symbols)
        return requests(reader) == before and replica.pulls == pulls + 1

    until(whole)
    found = same(reader, scene.collector, lambda dm: dm.read_klines(scene.symbols, "1h", 100).array.tolist())
    assert [len(rows) for rows in found] == [100] * len(scene.symbols)


@pytest.mark.parametrize("kind", ["globalLongShortAccountRatio", "takerlongshortRatio", "basis"])
def test_a_ratio_is_requested_once_and_comes_from_the_store_from_then_on(scene: Scene, kind: str) -> None:
    symbol, reader = scene.symbols[0], scene.reader
    first = reader.get_ratio(symbol, kind, "1h", 30)
    assert len(first) == 30
    assert len(served(reader, lambda dm: dm.get_ratio(symbol, kind, "1h", 30))) == 30
    same(reader, scene.collector, lambda dm: dm.get_ratio(symbol, kind, "1h", 30))


def test_the_last_update_of_a_symbol_is_that_of_what_was_read(scene: Scene) -> None:
    symbol = scene.symbols[0]
    served(scene.reader, lambda dm: dm.get_klines(symbol, "1h", 5))
    at = scene.reader.last_update[f"{symbol}_klines_1h"]
    assert abs(at - scene.exchange.now() / 1000.0) < 60


def test_the_best_quote_comes_from_the_book_and_of_another_symbol_from_all_quotes(scene: Scene) -> None:
    quote = served(scene.reader, lambda dm: dm.get_quote(scene.symbols[0]))
    assert quote["source"] == "book"
    assert 0 <= quote["age"] < 3
    other = next(symbol for symbol in scene.exchange.symbols if symbol not in scene.symbols)
    assert served(scene.reader, lambda dm: dm.get_quote(other))["source"] == "bookTicker"


def test_closed_candles_and_trades_are_those_of_the_exchange_string_for_string(scene: Scene) -> None:
    for symbol in scene.symbols:
        for interval in INTERVALS:
            found = served(scene.reader, lambda dm, s=symbol, i=interval: dm.rest_shaped.klines(s, i, 100))  # type: ignore[misc]
            truth = {row[0]: row for row in scene.exchange.rest("/fapi/v1/klines", symbol=symbol, interval=interval)}
            assert [truth[row[0]] for row in found[:-2]] == found[:-2]
        trades = served(scene.reader, lambda dm, s=symbol: dm.rest_shaped.agg_trades(s, 300))  # type: ignore[misc]
        known = {row["a"]: row for row in scene.exchange.rest("/fapi/v1/aggTrades", symbol=symbol, limit=1000)}
        assert [known[row["a"]] for row in trades if row["a"] in known] == [row for row in trades if row["a"] in known]
        assert [row["a"] for row in trades] == list(range(trades[0]["a"], trades[0]["a"] + 300))


def test_a_reader_has_no_thread_and_no_stream_and_causes_no_request(scene: Scene) -> None:
    before = set(threading.enumerate())
    with managed(scene.config, scene.symbols) as reader:
        for symbol in scene.symbols:
            served(reader, lambda dm, s=symbol: dm.get_klines(s, "1m", 300))  # type: ignore[misc]
        # (The collector's request threads, which are in this process too, come and go.)
        until(lambda: set(threading.enumerate()) <= before)
        assert requests(reader) == 0
    assert reader.running is False
    with pytest.raises(NotRunning):
        reader.get_klines(scene.symbols[0], "1m", 5)


def test_a_prefetched_scan_needs_no_further_round_trip(scene: Scene) -> None:
    reader = scene.reader
    replica = reader._life.store
    reader.prefetch()

    def scan() -> int:
        before = replica.pulls  # type: ignore[attr-defined]
        reader.prefetch(scene.symbols, INTERVALS)
        for symbol in scene.symbols:
            for interval in INTERVALS:
                reader.get_klines(symbol, interval, 100)
            reader.get_orderbook(symbol)
            reader.get_oi_history(symbol)
            reader.get_funding_rate(symbol)
            reader.get_agg_trades(symbol, 100)
            reader.get_spot_price(symbol)
            reader.get_quote(symbol)
        pulls: int = replica.pulls - before  # type: ignore[attr-defined]
        return pulls

    until(lambda: scan() == 1, what="a scan of one round trip")


def test_a_scan_needs_at_most_one_round_trip_a_symbol_and_one_more_for_a_bound_of_the_caller(scene: Scene) -> None:
    with managed(scene.config, scene.symbols) as reader:
        replica: Any = reader._life.store

        def scan() -> int:
            before = replica.pulls
            for symbol in scene.symbols:
                for interval in INTERVALS:
                    reader.get_klines(symbol, interval, 100)
                reader.get_orderbook(symbol)
                reader.get_oi_history(symbol)
                reader.get_agg_trades(symbol, 100)
                reader.get_spot_price(symbol)
                reader.get_mark_price(symbol)
                reader.get_funding_rate(symbol)
            return int(replica.pulls) - int(before)

        until(lambda: scan() <= len(scene.symbols), what="no more than a round trip a symbol")
        reader.get_klines(scene.symbols[0], INTERVALS[0], 100)
        before = replica.pulls
        reader.get_orderbook(scene.symbols[0], max_age=5.0)
        assert replica.pulls == before + 1


def test_prefetching_does_nothing_in_a_manager_that_follows_the_exchange(scene: Scene) -> None:
    scene.collector.prefetch()


def test_a_series_that_nobody_follows_is_answered_by_rest_and_followed_from_then_on(scene: Scene) -> None:
    symbol = next(each for each in scene.exchange.symbols if each not in scene.symbols)
    with managed(scene.config, scene.symbols) as reader:
        before = requests(reader)
        assert len(reader.get_klines(symbol, "5m", 50)) == 50
        assert requests(reader) == before + 1
        assert len(served(reader, lambda dm: dm.get_klines(symbol, "5m", 50))) == 50
        same(reader, scene.collector, lambda dm: dm.rest_shaped.klines(symbol, "5m", 50))


def test_a_malformed_wish_of_another_program_does_the_collector_no_harm(scene: Scene) -> None:
    store = SharedStore(scene.server.url)
    wrong = [
        "klines|BTC/USDT|1m|5",
        "klines|BTCUSDT|7m|5",
        "what|X||1",
        "mark|BTCUSDT||1",
        "nonsense",
        "orderbook|A|1m|0",
    ]
    now = time.time()
    store.run(lambda redis: redis.zadd(WISHES_KEY, dict.fromkeys(wrong, now)))
    followed = scene.collector.get_stats()["klines_cached"]
    served(scene.reader, lambda dm: dm.get_klines(scene.symbols[0], "1m", 10))
    assert scene.collector.get_stats()["klines_cached"] >= followed
    store.close()


def test_a_symbol_that_does_not_exist_is_refused_as_elsewhere(scene: Scene) -> None:
    for read in (DataManager.get_mark_price, DataManager.get_ticker, DataManager.symbol_info):
        with pytest.raises(InvalidSymbol):
            read(scene.reader, "NOSUCHUSDT")
    with pytest.raises(InvalidSymbol):
        scene.reader.get_klines("NOSUCHUSDT", "1m", 5)
    with pytest.raises(RequestRejected):
        scene.reader.rest_shaped.klines("NOSUCHUSDT", "1m", 5)


def test_the_endpoint_of_a_reader_answers_from_the_store(scene: Scene) -> None:
    reader = DataManager(scene.symbols, INTERVALS, config=scene.config)
    with Endpoint(reader, "127.0.0.1", 0) as endpoint:
        reader.start(30)
        url = f"{endpoint.url}/fapi/v1/klines?symbol={scene.symbols[0]}&interval=1m&limit=50"
        until(lambda: web.get(url, timeout=10).headers["X-Ats-Source"] == "memory")
        assert [row[0] for row in web.get(url, timeout=10).json()] == [
            row[0] for row in served(reader, lambda dm: dm.rest_shaped.klines(scene.symbols[0], "1m", 50))
        ]
        for path in ("/status", "/metrics", "/healthz", "/"):
            assert web.get(endpoint.url + path, timeout=10).status_code == 200
    reader.close()


def test_the_status_of_a_reader_is_that_of_the_collector(scene: Scene) -> None:
    until(lambda: scene.reader.status().state.value == scene.collector.status().state.value == "live")
    status = scene.reader.status()
    ready, count = status.ready("klines")
    assert ready == count >= 6
    assert {connection.state for connection in status.connections} == {"open"}
    of_collector = scene.collector.status().shared
    assert status.shared is not None
    assert of_collector is not None
    assert status.shared.reason == "every series is fresh"
    assert (status.shared.leader, status.shared.epoch) == (of_collector.leader, of_collector.epoch)
    assert status.shared.standbys == of_collector.standbys == ()
    assert status.shared.readers == of_collector.readers == 1
    assert min(status.shared.memory or 0, of_collector.memory or 0) > 100_000
    assert status.shared.epoch > 0
    assert f"reader of {status.shared.leader}, epoch {status.shared.epoch}" in str(status)
    assert f"shared store: leader, epoch {status.shared.epoch}" in str(scene.collector.status())
    assert re.search(r"; standbys: none; readers: 1; \d+\.\d MB$", str(status))


def test_the_status_of_a_reader_has_the_ages_that_the_collector_has_in_one_round_trip(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    with managed(scene.config, scene.symbols) as reader:
        until(lambda: scene.collector.status().state.value == reader.status().state.value == "live")
        until(lambda: {each.age for each in scene.collector.status().feeds if each.kind == "tickers"} != {None})

        def alike() -> bool:
            """Return whether the state of each series is the collector's, and its age too, but for the time that both
            calls take."""
            theirs = {each[:3]: each for each in scene.collector.status().feeds}
            ours = reader.status().feeds
            assert {"klines", "orderbook", "trades", "oi", "mark", "spot", "tickers"} <= {each.kind for each in ours}
            return all(
                theirs[each[:3]].state is each.state
                and (theirs[each[:3]].age is None) == (each.age is None)
                and abs((theirs[each[:3]].age or 0.0) - (each.age or 0.0)) < 2.0
                for each in ours
            )

        until(alike, what="the same from both")
        shared: Any = reader._life._shared  # type: ignore[attr-defined]
        trips, scripts, evaluate_all = shared.calls()[0], [], shared.evaluate_all
        monkeypatch.setattr(
            shared, "evaluate_all", lambda script, calls: scripts.append(len(calls)) or evaluate_all(script, calls)
        )
        reader.status()
        reader.status()
        assert shared.calls()[0] - trips <= 3  # one of them is the census
        assert scripts == [1, 1], "the heads of so few series and the state of the feed come with one script"
        assert requests(reader) == 0
        assert reader._life.store.klines(scene.symbols[0], "1m") is None, "nothing was read"


def test_what_the_collector_does_not_serve_fresh_is_degraded_in_a_reader_and_says_why(scene: Scene) -> None:
    symbol, stream = scene.symbols[2], f"{scene.symbols[2].lower()}@depth20@100ms"
    with managed(scene.config, scene.symbols) as reader:
        until(lambda: reader.status().ready("orderbook") == (3, 3))
        reader.watch([scene.exchange.symbols[3]], ["3d"])

        def of(kind: str) -> dict[str, FeedStatus]:
            return {each.symbol: each for each in reader.status().feeds if each.kind == kind}

        until(lambda: of("klines")[scene.exchange.symbols[3]].state.value == "live", what="what only this reader wants")
        scene.exchange.drop_stream(stream, everywhere=True)
        try:
            until(lambda: of("orderbook")[symbol].state.value == "degraded" and of("orderbook")[symbol].reason)
        finally:
            scene.exchange.restore_stream(stream)


def test_the_page_of_a_reader_says_who_writes_and_when_nobody_does(
    exchange: SimulatedExchange, valkey: StoreServer, capsys: pytest.CaptureFixture[str]
) -> None:
    symbols, config = exchange.symbols[:2], config_of(exchange, valkey.url)
    with managed(config, symbols, role="collector") as collector:
        until(lambda: collector.status().state.value == "live")
        with managed(config, symbols) as reader, Endpoint(reader, port=0) as endpoint:
            stream = web.get(endpoint.url + "/events", stream=True, timeout=30)
            messages = (
                json.loads(line[6:]) for line in stream.iter_lines(decode_unicode=True) if line.startswith("data: ")
            )
            live = next(each for each in messages if each["state"] == "live")
            assert live["shared"]["role"] == "reader"
            assert live["shared"]["epoch"] > 0
            assert live["reason"] == "every series is fresh"
            assert {each["state"] for each in live["connections"]} == {"open"}
            assert main(["top", "--url", endpoint.url]) == 0
            shown = capsys.readouterr().out
            assert f"reader of {live['shared']['leader']}, epoch" in shown
            assert "; standbys: none; readers: 1; " in shown
            collector.close()
            alone = next(each for each in messages if each["state"] == "degraded")
            assert alone["reason"].startswith("no collector leads")
            for shared in (alone["shared"], web.get(endpoint.url + "/status", timeout=10).json()["shared"]):
                assert (shared["role"], shared["epoch"], shared["leader"]) == ("reader", 0, "")
                assert shared["reason"] == alone["reason"]
                assert (shared["standbys"], shared["alone"]) == ([], False)
                assert shared["memory"] > 0
            ready = web.get(endpoint.url + "/readyz", timeout=10)
            assert (ready.status_code, ready.json()) == (503, {"state": "degraded", "reason": alone["reason"]})
            stream.close()


def test_the_status_of_a_reader_without_a_store_says_so(exchange: SimulatedExchange, valkey: StoreServer) -> None:
    symbols, config = exchange.symbols[:1], config_of(exchange, valkey.url)
    with managed(config, symbols, role="collector") as collector:
        until(lambda: collector.status().state.value == "live")
        with managed(config, symbols) as reader:
            until(lambda: reader.status().state.value == "live")
            valkey.kill()
            status = reader.status()
            assert status.state.value == "degraded"
            assert status.shared is not None
            assert (status.shared.leader, status.shared.epoch) == ("", 0)
            assert "does not answer" in status.shared.reason


def scraped(manager: DataManager) -> dict[tuple[str, str], float]:
    """Return the metrics of the shared store by name and label."""
    parser = pytest.importorskip("prometheus_client.parser")
    with closing(Views(manager)) as views:
        text = views.metrics().body.decode()
    return {
        (sample.name.removeprefix("ats_sync_shared_"), "".join(sample.labels.values())): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("ats_sync_shared_")
    }


@pytest.mark.shared_threads  # the collector notifies the metrics of closed candles until it is closed
def test_metrics_show_who_leads_how_old_its_data_are_and_what_they_cost(scene: Scene) -> None:
    until(lambda: scraped(scene.collector).get(("write_lag_seconds", ""), 9.0) < 5.0)
    leader, reader = scraped(scene.collector), scraped(scene.reader)
    assert (leader["role", "leader"], reader["role", "reader"], reader["role", "leader"]) == (1, 1, 0)
    for found in (leader, reader):
        assert (found["leader_seen", "1/1"], found["answers", ""], found["alone", ""]) == (1, 1, 0)
        assert 0 <= found["leader_age_seconds", "1/1"] < TTL
        assert found["epoch", "1/1"] == scene.reader.status().shared.epoch  # type: ignore[union-attr]
        assert (found["standbys", "1/1"], found["readers", ""]) == (0, 1)
        assert found["memory_bytes", ""] > 100_000
    assert abs(leader["written_timestamp_seconds", ""] - time.time()) < 10
    assert ("written_timestamp_seconds", "") not in reader
    assert 0 <= reader["feed_age_seconds", "1/1"] < 5
    before = reader["round_trips_total", "feed"]
    scene.reader.get_klines(scene.symbols[0], "1m", 5, max_age=3)
    assert scraped(scene.reader)["round_trips_total", "feed"] > before


def test_metrics_of_a_reader_whose_store_has_gone(exchange: SimulatedExchange, valkey: StoreServer) -> None:
    symbols, config = exchange.symbols[:1], config_of(exchange, valkey.url)
    with managed(config, symbols, role="collector") as collector, managed(config, symbols) as reader:
        until(lambda: scraped(reader)["leader_seen", "1/1"] == 1)
        valkey.kill()
        assert len(reader.get_klines(symbols[0], "1m", 5, max_age=0)) == 5
        found = scraped(reader)
        assert (found["leader_seen", "1/1"], found["answers", ""], found["alone", ""]) == (0, 0, 1)
        assert found["errors_total", "feed"] + found["errors_total", "account"] > 0
        assert not {"readers", "memory_bytes", "leader_age_seconds"} & {name for name, _ in found}
        assert reader.status().shared.alone  # type: ignore[union-attr]
        assert "requests are counted without it" in str(reader.status())
        until(lambda: scraped(collector)["role", "lost"] == 1)
        assert scraped(collector)["leader_seen", "1/1"] == 0


def test_a_manager_that_shares_only_the_account_says_so(exchange: SimulatedExchange, valkey: StoreServer) -> None:
    manager = DataManager(config=config_of(exchange, valkey.url, role="alone"))
    shared = manager.status().shared
    assert shared is not None
    assert shared.role == "alone"
    manager.close()


# --- events -------------------------------------------------------------------------------------------


def test_candles_that_close_come_to_a_reader_as_they_do_in_the_collector(valkey: StoreServer) -> None:
    with SimulatedExchange(2, seed=3, start=before_turn("1m", 5)) as exchange:
        config, symbols = config_of(exchange, valkey.url), exchange.symbols
        with managed(config, symbols, role="collector") as collector, managed(config, symbols) as reader:
            served(reader, lambda dm: dm.get_klines(symbols[0], "1m", 5))
            ways = [(dm.closed(intervals=["1m"], timeout=90), dm.turns("1m", timeout=90)) for dm in (collector, reader)]
            opened = reader.get_klines(symbols[0], "1m", 1)[0][0]
            row = reader.wait_closed(symbols[0], "1m", opened - 1, timeout=90)
            assert row is not None
            assert row[0] == opened
            (theirs, their_turns), (ours, our_turns) = ways
            expected = {event.symbol: event for event in (next(theirs), next(theirs))}
            assert {event.symbol: event for event in (next(ours), next(ours))} == expected
            assert expected[symbols[0]].row == row  # type: ignore[union-attr]
            turn, other = next(our_turns), next(their_turns)
            assert (turn.open_time, turn.closed, turn.late) == (other.open_time, other.closed, ())
            assert requests(reader) == 0
        assert list(our_turns) == []  # it ends with its manager


def test_the_wait_for_a_candle_ends_in_time_and_an_async_loop_ends_too(scene: Scene) -> None:
    with managed(scene.config, scene.symbols) as reader:
        assert reader.wait_closed(scene.symbols[0], "1h", 1 << 42, timeout=0.3) is None
        with pytest.raises(InvalidSymbol, match="not followed"):
            reader.wait_closed(scene.symbols[0], "3d", 0)
        assert list(reader.closed(intervals=["1h"], timeout=0.3)) == []

        async def loop() -> list[object]:
            return [event async for event in reader.closed(intervals=["1h"], timeout=0.3)]

        assert asyncio.run(loop()) == []


def test_what_closed_while_nobody_listened_follows_in_order(scene: Scene) -> None:
    symbol = scene.symbols[0]
    rows = served(scene.reader, lambda dm: dm.get_klines(symbol, "1m", 6))
    with scene.reader.closed([symbol], ["1m"], since=rows[0][0], timeout=1.0) as iterator:
        found = [next(iterator).row for _ in range(4)]  # type: ignore[union-attr]
    assert found == rows[:4]


@pytest.fixture
def exchange(scene: Scene) -> Iterator[SimulatedExchange]:
    """The exchange of the scene, whose faults end after the test."""
    yield scene.exchange
    scene.exchange.clear_faults()
    scene.exchange.pardon()


# --- what dies ---------------------------------------------------------------------------------------


def test_without_a_collector_reads_go_to_rest_and_say_so(exchange: SimulatedExchange, valkey: StoreServer) -> None:
    symbol = exchange.symbols[0]
    reader = DataManager([symbol], INTERVALS, config=config_of(exchange, valkey.url))
    with pytest.raises(StartTimeout, match="no collector leads") as failure:
        reader.start(0.3)
    assert f"{symbol} klines 1m" in failure.value.missing
    assert len(reader.get_klines(symbol, "1m", 20)) == 20
    with pytest.raises(DataUnavailableError, match="no collector"):
        reader.get_liquidations(symbol)
    assert requests(reader) == 1
    with managed(config_of(exchange, valkey.url), [symbol], role="collector"):
        reader.start(30)
        served(reader, lambda dm: dm.get_klines(symbol, "1m", 20))
    reader.close()


def test_a_reader_does_not_wait_for_what_the_collector_has_no_room_to_poll(
    exchange: SimulatedExchange, valkey: StoreServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    symbol, config = exchange.symbols[0], config_of(exchange, valkey.url, read_timeout=2.0)
    monkeypatch.setattr("ats_sync.watchlist.OPEN_INTEREST_LIMIT", (0, 300.0))
    with managed(config, [symbol], role="collector") as collector, managed(config, [symbol]) as reader:
        assert collector.status().ready("oi") == (0, 0)
        assert "1 series, such as BTCUSDT oi 1h, are not polled" in caplog.text
        assert "1 series, such as BTCUSDT oi 1h, are served by REST: the collector does not" in caplog.text
        served(reader, lambda dm: dm.get_klines(symbol, "1m", 20))
        before = requests(reader)
        assert len(reader.get_oi_history(symbol)) == 100
        assert requests(reader) == before + 1


def test_the_feed_of_another_exchange_is_not_read(scene: Scene) -> None:
    symbol = scene.symbols[0]
    with SimulatedExchange(2, seed=11, start=scene.exchange.now()) as other:
        reader = DataManager([symbol], INTERVALS, config=config_of(other, scene.server.url))
        with closing(reader):
            with pytest.raises(StartTimeout, match="another exchange") as failure:
                reader.start(0.3)
            theirs, ours = scene.config.fapi_base, reader.config.fapi_base
            assert f"it reads {theirs}, and here {ours} is configured" in str(failure.value)
            rows = reader.rest_shaped.klines(symbol, "1h", 50)
            assert rows[:-1] == other.rest("/fapi/v1/klines", symbol=symbol, interval="1h", limit=50)[:-1]
            assert rows[:-1] != served(scene.reader, lambda dm: dm.rest_shaped.klines(symbol, "1h", 50))[:-1]
            assert requests(reader) == 1
            with pytest.raises(DataUnavailableError, match="another exchange"):
                reader.get_liquidations(symbol)
            with pytest.raises(DataUnavailableError, match="another exchange"):
                reader.quality(symbol)
            shared = reader.status().shared
            assert shared is not None
            assert "another exchange" in shared.reason


def test_a_reader_without_symbols_is_ready_when_a_collector_has_the_tickers(
    exchange: SimulatedExchange, valkey: StoreServer
) -> None:
    config = config_of(exchange, valkey.url)
    with pytest.raises(InvalidArgument, match="empty"):
        DataManager(config=replace(config, role="collector")).start(5)
    reader = DataManager(config=config)
    with pytest.raises(StartTimeout, match="no collector leads"):
        reader.start(0.3)
    assert (reader.status().state.value, reader.initialized) == ("starting", False)
    with managed(config, exchange.symbols[:2], role="collector"):
        reader.start(30)
        assert (reader.status().state.value, reader.initialized) == ("live", True)
        assert served(reader, lambda dm: dm.top(2))
    reader.close()


def test_the_status_of_a_reader_names_a_host_that_said_to_wait(
    exchange: SimulatedExchange, valkey: StoreServer
) -> None:
    symbols, config = exchange.symbols[:1], config_of(exchange, valkey.url)
    with managed(config, symbols, role="collector"), managed(config, symbols, read_timeout=1.0) as reader:
        assert reader.status().blocked == {}
        exchange.ban(30.0)
        with pytest.raises(AtsSyncError):
            reader.get_klines(symbols[0], "1m", 5, max_age=0)
        assert reader.status().blocked.keys() == {"futures"}


def test_a_standby_knows_who_leads(exchange: SimulatedExchange, valkey: StoreServer) -> None:
    symbols, config = exchange.symbols[:1], config_of(exchange, valkey.url, role="collector")
    with managed(config, symbols) as first, managed(config, symbols) as second:
        until(lambda: first.status().shared.role == "leader")  # type: ignore[union-attr]
        until(lambda: second.status().shared.standbys)  # type: ignore[union-attr]
        leads, waits = first.status().shared, second.status().shared
        assert leads is not None
        assert waits is not None
        assert (waits.role, waits.leader) == ("standby", leads.leader)
        assert f"shared store: standby behind {leads.leader}" in str(second.status())


def test_without_a_store_reads_go_to_rest(exchange: SimulatedExchange, valkey: StoreServer) -> None:
    symbol = exchange.symbols[0]
    url = valkey.url
    valkey.kill()
    reader = DataManager([symbol], INTERVALS, config=config_of(exchange, url))
    with pytest.raises(StartTimeout, match="does not answer"):
        reader.start(0.3)
    assert len(reader.get_klines(symbol, "1m", 20)) == 20
    reader.close()


def test_a_collector_that_is_closed_is_no_longer_trusted(exchange: SimulatedExchange, valkey: StoreServer) -> None:
    symbol, config = exchange.symbols[0], config_of(exchange, valkey.url)
    with managed(config, [symbol], role="collector") as collector, managed(config, [symbol]) as reader:
        served(reader, lambda dm: dm.get_klines(symbol, "1m", 20))
        served(reader, lambda dm: dm.get_oi_history(symbol))
        collector.close()
        before = requests(reader)
        reader.get_klines(symbol, "1m", 20)
        reader.get_oi_history(symbol)
        assert requests(reader) == before + 2


def test_a_second_collector_stands_by_and_takes_over(exchange: SimulatedExchange, valkey: StoreServer) -> None:
    symbol, config = exchange.symbols[0], config_of(exchange, valkey.url)
    with (
        managed(config, [symbol], role="collector") as first,
        managed(config, [symbol], role="collector") as second,
        managed(config, [symbol]) as reader,
    ):
        served(reader, lambda dm: dm.get_klines(symbol, "1m", 20))
        first.close()
        same(reader, second, lambda dm: dm.rest_shaped.klines(symbol, "1m", 20))


def test_collectors_need_streams(exchange: SimulatedExchange, valkey: StoreServer) -> None:
    manager = DataManager(
        exchange.symbols, INTERVALS, config=config_of(exchange, valkey.url, role="collector"), enable_websocket=False
    )
    with pytest.raises(ConfigError, match="streams"):
        manager.start(5)


@pytest.mark.parametrize("lost", ["heads", "parts", "life"])
def test_what_is_deleted_in_the_store_is_noticed_and_written_again(scene: Scene, lost: str) -> None:
    symbol, collector, reader = scene.symbols[0], scene.collector, scene.reader
    store = SharedStore(scene.server.url)
    served(reader, lambda dm: dm.get_klines(symbol, "1m", 20))
    life = store.run(lambda redis: redis.hget(FEED_KEY, "life")).decode()
    key = FEED_KEY if lost == "life" else SharedStore.key("feed", life, lost)
    store.run(lambda redis: redis.delete(key))
    fresh = DataManager([symbol], INTERVALS, config=scene.config).autostart()
    truth = {row[0] for row in scene.exchange.rest("/fapi/v1/klines", symbol=symbol, interval="1m", limit=30)}
    assert {row[0] for row in fresh.get_klines(symbol, "1m", 20)} <= truth | {max(truth) + 60_000}
    fresh.close()
    same(reader, collector, lambda dm: dm.rest_shaped.klines(symbol, "1m", 20))
    same(reader, collector, lambda dm: dm.get_orderbook(symbol))
    until(lambda: store.run(lambda redis: redis.hget(FEED_KEY, "life")) not in (None, life.encode()))
    store.close()


def test_a_reader_that_comes_after_the_state_of_the_feed_was_deleted_reads_from_the_store(scene: Scene) -> None:
    symbol, store = scene.symbols[0], SharedStore(scene.server.url)
    served(scene.reader, lambda dm: dm.get_klines(symbol, "1m", 20))
    life = store.run(lambda redis: redis.hget(FEED_KEY, "life")).decode()
    store.run(lambda redis: redis.delete(SharedStore.key("feed", life, "meta")))
    with managed(scene.config, [symbol]) as fresh:
        same(fresh, scene.collector, lambda dm: dm.rest_shaped.klines(symbol, "1m", 20))
    store.close()


def test_a_store_that_comes_back_empty_is_filled_again(exchange: SimulatedExchange, valkey: StoreServer) -> None:
    symbol, config = exchange.symbols[0], config_of(exchange, valkey.url)
    with managed(config, [symbol], role="collector") as collector, managed(config, [symbol]) as reader:
        served(reader, lambda dm: dm.get_klines(symbol, "1m", 20))
        valkey.kill()
        before = requests(reader)
        with ThreadPoolExecutor(1) as other:  # for which no earlier read has brought anything along
            assert len(other.submit(reader.get_klines, symbol, "1m", 20).result()) == 20
        assert requests(reader) == before + 1
        valkey.start()
        same(reader, collector, lambda dm: dm.rest_shaped.klines(symbol, "1m", 20))


def test_reads_get_around_a_network_that_swallows_everything_until_it_heals(exchange: SimulatedExchange) -> None:
    symbol = exchange.symbols[0]
    with (
        started("valkey", free_port()) as server,
        Proxy(server.port) as proxy,
        managed(config_of(exchange, server.url), [symbol], role="collector"),
        managed(config_of(exchange, proxy.url), [symbol]) as reader,
    ):
        served(reader, lambda dm: dm.get_orderbook(symbol))
        for _ in range(2):
            proxy.cut()
            before = requests(reader)
            for _ in range(3):  # nothing tells it that the connection is dead
                assert exchange.now() - reader.get_orderbook(symbol)["timestamp"] < 3_000
                assert len(reader.get_klines(symbol, "1m", 20)) == 20
            assert requests(reader) > before
            proxy.mend()
            served(reader, lambda dm: dm.get_orderbook(symbol))
            served(reader, lambda dm: dm.get_klines(symbol, "1m", 20))


def test_a_silent_stream_is_suspected_in_every_reader(scene: Scene) -> None:
    symbol, reader = scene.symbols[1], scene.reader
    served(reader, lambda dm: dm.get_orderbook(symbol))
    stream = f"{symbol.lower()}@depth20@100ms"
    scene.exchange.drop_stream(stream, everywhere=True)  # else it may be well again before the next read
    before = requests(reader)
    try:
        until(lambda: reader.get_orderbook(symbol) and requests(reader) > before)
    finally:
        scene.exchange.restore_stream(stream)


def test_the_error_says_why_what_was_read_a_moment_ago_is_no_longer_trusted(
    scene: Scene, exchange: SimulatedExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    symbol = scene.symbols[0]
    with managed(scene.config, [symbol], read_timeout=1.0) as reader:
        served(reader, lambda dm: dm.get_klines(symbol, "1m", 20))

        def away(*_: object) -> None:
            raise SharedStoreUnavailable("the store is away")

        monkeypatch.setattr(reader._life.store, "_request", away)
        exchange.fail_rest("503")
        with pytest.raises(StaleDataError, match=r"\(its bound is 3 s, but .*the store is away\)"):
            reader.get_klines(symbol, "1m", 20)


def test_where_the_exchange_fails_too_the_error_has_the_age(scene: Scene, exchange: SimulatedExchange) -> None:
    symbol = scene.symbols[0]
    with managed(scene.config, [symbol], read_timeout=1.0) as reader:
        known = served(reader, lambda dm: dm.get_klines(symbol, "1m", 20))
        exchange.fail_rest("503")
        exchange.freeze()
        with pytest.raises(StaleDataError) as failure:
            until(lambda: reader.get_klines(symbol, "1m", 20) is None, 30)
        assert failure.value.age >= 0
        assert failure.value.data[:5] == known[:5]
