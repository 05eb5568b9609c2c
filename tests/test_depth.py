"""Full order books over real sockets: the manager on the simulated exchange."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from ats_sync import DataManager, RequestRejected, StaleDataError
from ats_sync.simulator import SimulatedExchange
from ats_sync.status import FeedState

from .support import PATIENCE, from_memory, reads, requests_by_cause, until

DEPTH = "/fapi/v1/depth"
MATCHES = 5


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatedExchange]:
    # The less traded symbols have books of fewer than a thousand levels.
    with SimulatedExchange(symbols=32, seed=7) as ex:
        yield ex


@pytest.fixture(scope="module")
def symbols(exchange: SimulatedExchange) -> list[str]:
    levels = {s: len(exchange.rest(DEPTH, symbol=s, limit=1000)["bids"]) for s in exchange.symbols}
    thin = [s for s in exchange.symbols if 200 < levels[s] < 900]
    return [exchange.symbols[0], thin[0]]


@pytest.fixture
def dm(exchange: SimulatedExchange, symbols: list[str]) -> Iterator[DataManager]:
    with DataManager(symbols, ("1h",), config=exchange.config()) as manager:
        yield manager
    exchange.clear_faults()


def feed_state(dm: DataManager, symbol: str) -> FeedState | None:
    states = [feed.state for feed in dm.status().feeds if (feed.kind, feed.symbol) == ("depth", symbol)]
    return states[0] if states else None


def is_live(dm: DataManager, symbol: str) -> bool:
    return feed_state(dm, symbol) is FeedState.LIVE


def warm(dm: DataManager, symbol: str, limit: int) -> None:
    """Read until memory answers from the book's own snapshot, and not only from a reader's answer."""

    def settled() -> bool:
        before = reads(dm)
        dm.get_orderbook(symbol, limit)
        return reads(dm) == before and is_live(dm, symbol) and dm._life.store.depth(symbol).has_enough()

    until(settled, PATIENCE, f"{limit} levels of {symbol} in memory")


def matches(dm: DataManager, ex: SimulatedExchange, symbol: str, limit: int, *, wanted: int = MATCHES) -> int:
    """Compare memory with the exchange wherever both were seen at one update id, until that has happened ``wanted``
    times; return the requests that reads caused meanwhile."""
    before = reads(dm)
    held: dict[int, dict[str, Any]] = {}
    truth: dict[int, dict[str, Any]] = {}

    def enough() -> bool:
        for seen, book in (
            (held, dm.rest_shaped.depth(symbol, limit)),
            (truth, ex.rest(DEPTH, symbol=symbol, limit=limit)),
        ):
            seen[book["lastUpdateId"]] = book
        return len(held.keys() & truth.keys()) >= wanted

    until(enough, PATIENCE, f"{limit} levels of {symbol} at the id of REST")
    for update_id in held.keys() & truth.keys():
        for part in ("bids", "asks", "T"):
            assert held[update_id][part] == truth[update_id][part], f"{part} of {symbol} at {update_id}"
    return reads(dm) - before


def matches_memory(dm: DataManager, ex: SimulatedExchange, symbol: str, limit: int, *, wanted: int = MATCHES) -> bool:
    """Compare memory with the exchange; return whether everything was answered from memory."""
    return matches(dm, ex, symbol, limit, wanted=wanted) == 0


def depth_requests(ex: SimulatedExchange, since: int) -> list[dict[str, Any]]:
    return [record.params for record in ex.request_log(since=since) if record.path == DEPTH]


@pytest.mark.parametrize("place", [0, 1], ids=["deep", "thin"])
def test_a_hundred_levels_are_those_of_rest_and_cost_nothing(
    dm: DataManager, exchange: SimulatedExchange, symbols: list[str], place: int
) -> None:
    symbol = symbols[place]
    began = exchange.now()
    assert feed_state(dm, symbol) is None, "followed only from its first read on"
    first = dm.rest_shaped.depth(symbol, 100)
    assert len(first["bids"]) == len(first["asks"]) == 100
    warm(dm, symbol, 100)
    assert {int(params.get("limit", 500)) for params in depth_requests(exchange, began)} <= {100, 500}

    def silent() -> bool:
        began = exchange.now()
        return matches(dm, exchange, symbol, 100) == 0 and depth_requests(exchange, began) == []

    until(silent)
    held = dm.rest_shaped.depth(symbol, 100)
    assert list(held) == ["lastUpdateId", "E", "T", "bids", "asks"]
    assert json.loads(json.dumps(held)) == held
    assert held["E"] >= held["T"]
    book = dm.get_orderbook(symbol, 100)
    assert len(book["bids"]) == len(book["asks"]) == 100
    assert all(type(number) is float for level in book["bids"] for number in level)
    assert book["bids"] == sorted(book["bids"], reverse=True)
    assert book["asks"] == sorted(book["asks"])


def test_a_thousand_levels_of_a_deep_book(dm: DataManager, exchange: SimulatedExchange, symbols: list[str]) -> None:
    symbol = symbols[0]
    assert len(dm.get_orderbook(symbol, 1000)["bids"]) == 1000
    until(lambda: is_live(dm, symbol), PATIENCE)
    # A snapshot has no more levels than were requested, so some of these reads go to REST again; all are correct.
    matches(dm, exchange, symbol, 1000)
    assert requests_by_cause(dm)["repair"] <= 2


def test_a_thin_book_is_known_completely(dm: DataManager, exchange: SimulatedExchange, symbols: list[str]) -> None:
    symbol = symbols[1]
    warm(dm, symbol, 1000)
    until(lambda: matches_memory(dm, exchange, symbol, 1000))
    assert 200 < len(dm.get_orderbook(symbol, 1000)["bids"]) < 1000


def test_depths_that_rest_does_not_offer_are_refused(
    dm: DataManager, exchange: SimulatedExchange, symbols: list[str]
) -> None:
    symbol = symbols[0]
    assert len(dm.get_orderbook(symbol, 37)["bids"]) == 37
    warm(dm, symbol, 37)
    assert len(dm.get_orderbook(symbol, 37)["asks"]) == 37
    assert dm.get_orderbook(symbol, 21)["bids"] == dm.get_orderbook(symbol, 21)["bids"][:21]
    with pytest.raises(RequestRejected, match="limit"):
        dm.rest_shaped.depth(symbol, 37)
    assert len(dm.get_orderbook(symbol, 20)["bids"]) == 20


def test_what_is_returned_belongs_to_the_caller(
    dm: DataManager, exchange: SimulatedExchange, symbols: list[str]
) -> None:
    symbol = symbols[1]
    warm(dm, symbol, 100)
    for _ in range(3):
        dm.get_orderbook(symbol, 100)["bids"][0][0] = -1.0
        spoilt = dm.rest_shaped.depth(symbol, 100)
        spoilt["asks"][0][0] = "spoilt"
        spoilt["bids"].clear()
    until(lambda: matches_memory(dm, exchange, symbol, 100, wanted=2))


@pytest.mark.parametrize("fault", ["lose", "reorder"])
def test_a_lost_event_is_noticed_and_repaired(
    dm: DataManager, exchange: SimulatedExchange, symbols: list[str], fault: str
) -> None:
    symbol = symbols[0]
    warm(dm, symbol, 100)
    began = exchange.now()
    getattr(exchange, fault)(f"{symbol.lower()}@depth@100ms", next_n=1)
    # (Where a reader's own snapshot made the book live, the new one counts as part of the warm-up.)
    until(lambda: depth_requests(exchange, began), PATIENCE, "a new snapshot")
    until(lambda: is_live(dm, symbol), PATIENCE)
    assert len(depth_requests(exchange, began)) <= 2
    until(lambda: matches_memory(dm, exchange, symbol, 100))


def test_no_wrong_book_is_shown_while_events_are_lost(
    dm: DataManager, exchange: SimulatedExchange, symbols: list[str]
) -> None:
    symbol = symbols[0]
    warm(dm, symbol, 100)
    exchange.lose(f"{symbol.lower()}@depth@100ms", probability=0.3)
    until(lambda: feed_state(dm, symbol) is FeedState.DEGRADED and "suspended" in str(_reason(dm, symbol)), PATIENCE)
    # The book is suspended now, and REST answers.
    assert matches(dm, exchange, symbol, 100, wanted=2) > 0
    assert dm.quality(symbol).missing > 0


def _reason(dm: DataManager, symbol: str) -> str:
    return next(feed.reason for feed in dm.status().feeds if (feed.kind, feed.symbol) == ("depth", symbol))


@pytest.mark.parametrize("kind", ["nan", "bad_element", "truncated"])
def test_an_unusable_event_is_repaired(
    dm: DataManager, exchange: SimulatedExchange, symbols: list[str], kind: Any
) -> None:
    symbol = symbols[0]
    warm(dm, symbol, 100)
    began = exchange.now()
    exchange.malformed(kind, f"{symbol.lower()}@depth@100ms", replace=True)
    # The reader or the engine requests it, whichever notices first.
    until(lambda: dm.get_orderbook(symbol, 100) and depth_requests(exchange, began), PATIENCE, "a new snapshot")
    until(lambda: is_live(dm, symbol), PATIENCE)
    until(lambda: matches_memory(dm, exchange, symbol, 100))


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_lost_connection_is_repaired(
    dm: DataManager, exchange: SimulatedExchange, symbols: list[str], how: Any
) -> None:
    for symbol in symbols:
        warm(dm, symbol, 100)
    reconnects = dm.get_stats()["ws_reconnects"]
    exchange.cut("public", how)
    until(lambda: dm.get_stats()["ws_reconnects"] > reconnects, PATIENCE)
    until(lambda: all(is_live(dm, symbol) for symbol in symbols), PATIENCE)
    for symbol in symbols:
        until(partial(matches_memory, dm, exchange, symbol, 100))


def test_a_stream_that_falls_silent_is_found(
    dm: DataManager, exchange: SimulatedExchange, symbols: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    symbol = symbols[0]
    warm(dm, symbol, 100)
    with caplog.at_level(logging.INFO, "ats_sync"):
        exchange.drop_stream(f"{symbol.lower()}@depth@100ms")
        # (The state itself may be degraded for an instant only.)
        until(lambda: f"{symbol} depth: its stream is silent" in caplog.text, PATIENCE)
    until(lambda: is_live(dm, symbol), PATIENCE)
    until(lambda: matches_memory(dm, exchange, symbol, 100))


def test_replaced_connections_leave_no_hole(exchange: SimulatedExchange, symbols: list[str]) -> None:
    with DataManager(symbols, ("1h",), config=exchange.config(connection_max_age=6.0)) as dm:
        symbol = symbols[0]
        warm(dm, symbol, 100)
        public = {c.name for c in dm.status().connections if c.route == "public"}
        until(
            lambda: dm.get_orderbook(symbol, 100) and not public & {c.name for c in dm.status().connections},
            PATIENCE,
            "another connection",
        )
        until(lambda: matches_memory(dm, exchange, symbol, 100))


def test_an_unwatched_symbol_is_read_by_rest(dm: DataManager, exchange: SimulatedExchange) -> None:
    other = exchange.symbols[5]
    for _ in range(2):
        assert len(dm.get_orderbook(other, 100)["bids"]) == 100
    assert feed_state(dm, other) is None
    assert reads(dm) == 2


def test_rest_alone_follows_nothing(exchange: SimulatedExchange, symbols: list[str]) -> None:
    with DataManager(symbols, ("1h",), config=exchange.config(), enable_websocket=False) as dm:
        assert len(dm.get_orderbook(symbols[0], 100)["bids"]) == 100
        assert len(dm.rest_shaped.depth(symbols[0], 100)["bids"]) == 100
        assert feed_state(dm, symbols[0]) is None


def test_a_full_book_is_shown_in_the_status(dm: DataManager, exchange: SimulatedExchange, symbols: list[str]) -> None:
    symbol = symbols[0]
    assert f"{symbol}_depth" not in dm.last_update
    warm(dm, symbol, 100)
    dm.get_orderbook(symbol, 100)
    assert abs(dm.last_update[f"{symbol}_depth"] - exchange.now() / 1000) < 5
    assert dm.get_stats()["depth_cached"] == 1
    assert "depth        1 live" in str(dm.status())
    assert dm.status().ready("depth") == (1, 1)
    dm.unwatch([symbol])
    assert feed_state(dm, symbol) is None
    assert dm.get_stats()["depth_cached"] == 0


def test_without_rest_and_streams_the_last_book_comes_with_the_error(symbols: list[str]) -> None:
    with (
        SimulatedExchange(symbols=symbols, seed=3) as ex,
        DataManager(symbols, ("1h",), config=ex.config(read_timeout=1.0)) as dm,
    ):
        symbol = symbols[0]
        warm(dm, symbol, 100)
        dm.get_orderbook(symbol, 100)
        ex.fail_rest("503")
        ex.refuse()
        ex.cut()

        def fails() -> StaleDataError | None:
            try:
                dm.get_orderbook(symbol, 100)
            except StaleDataError as error:
                return error
            return None

        error = until(fails, PATIENCE)
        assert error.age > 1.0
        assert len(error.data["bids"]) == len(error.data["asks"]) == 100
        assert error.data["lastUpdateId"] > 0


def test_many_threads_share_one_snapshot(exchange: SimulatedExchange, symbols: list[str]) -> None:
    with DataManager(symbols, ("1h",), config=exchange.config()) as dm:
        symbol, failures = symbols[0], []
        warm(dm, symbol, 100)

        def read(start: threading.Barrier) -> None:
            start.wait()
            for _ in range(30):
                book = dm.get_orderbook(symbol, 100)
                if len(book["bids"]) != 100 or book["bids"][0][0] >= book["asks"][0][0]:
                    failures.append(book)

        def all_read() -> None:
            start = threading.Barrier(16)
            threads = [threading.Thread(target=read, args=(start,), daemon=True) for _ in range(16)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE)

        from_memory(dm, all_read)
        assert failures == []
