"""The shim without a manager on recorded answers, and with one on the simulated exchange."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import responses

from ats_sync import Config, DataManager, get_data_manager, reset_data_manager
from ats_sync.simulator import SimulatedExchange

from ..support import all_live, until

RECORDINGS = Path(__file__).parents[1] / "recordings"
SYMBOLS = ["BTCUSDT", "ETHUSDT", "币安人生USDT", "1000PEPEUSDT"]
"""Followed. The last one has no spot pair."""
SILENT = ("ETHUSDT", "1000PEPEUSDT")
"""The ones among them that do not trade."""
STRANGER = "SOLUSDT"
"""Listed and not followed."""


@pytest.fixture(autouse=True)
def no_autostart(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in users' own tests, nothing starts by itself."""
    monkeypatch.setenv("ATS_SYNC_AUTOSTART", "0")


class Recorded:
    """Answers from files, and the requests that were sent."""

    def __init__(self, mock: responses.RequestsMock, started: list[str]) -> None:
        self.mock = mock
        self.started = started

    def answer(self, name: str, url: str | None = None) -> Any:
        """Answer with this recording from now on (at ``url``, where it is not its own); return its parsed body."""
        record = json.loads((RECORDINGS / f"{name}.json").read_text(encoding="utf-8"))
        assert record["source"]
        self.mock.add(
            record["method"],
            url or record["url"],
            body=record["body"],
            status=record["status"],
            headers={key: value for key, value in record["headers"].items() if key != "Content-Type"},
            content_type=record["headers"]["Content-Type"],
        )
        try:
            return json.loads(record["body"])
        except ValueError:
            return None

    def sent(self) -> list[tuple[str, dict[str, str]]]:
        """Return the URL without its query, and the decoded query, of each request."""
        found = []
        for call in self.mock.calls:
            parts = urlsplit(str(call.request.url))
            found.append((f"{parts.scheme}://{parts.netloc}{parts.path}", dict(parse_qsl(parts.query))))
        return found


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorded]:
    """Recorded answers where no manager runs, the hosts are the real ones, and no thread of ours may start."""
    for name in ("BINANCE_FAPI_BASE", "BINANCE_SPOT_BASE", "BINANCE_FSTREAM_BASE", "BINANCE_SPOT_STREAM_BASE"):
        monkeypatch.delenv(name, raising=False)
    started: list[str] = []
    start = threading.Thread.start

    def note(thread: threading.Thread) -> None:
        started.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", note)
    reset_data_manager()
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield Recorded(mock, started)
    assert not get_data_manager().running
    reset_data_manager()
    assert [name for name in started if name.startswith("ats-")] == []


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(symbols=12, seed=7, start=datetime(2026, 11, 3, 10, 20, 30)) as ex:
        for symbol in SILENT:
            ex.silence(symbol)
        yield ex


@pytest.fixture(scope="module")
def live(exchange: SimulatedExchange) -> Iterator[DataManager]:
    """The shared manager, warm."""
    with pytest.MonkeyPatch.context() as patch:
        for name, url in exchange.environment().items():
            patch.setenv(name, url)
        patch.setenv("NO_PROXY", "127.0.0.1")
        reset_data_manager()
        manager = get_data_manager()
        assert manager.config == Config.from_env()
        try:
            manager.initialize([symbol.lower() for symbol in SYMBOLS], ["1m", "15m", "1h", "4h"])
            until(lambda: all_live(manager, "klines", "orderbook", "trades"))
            yield manager
        finally:
            reset_data_manager()


def _as_streamed(value: Any) -> Any:
    """Return a book without update id and times: a change beyond the streamed levels advances them without a frame."""
    if isinstance(value, dict) and "lastUpdateId" in value:
        return {name: part for name, part in value.items() if name in ("bids", "asks")}
    return value


class Wire:
    """Counts what arrives at the exchange."""

    def __init__(self, exchange: SimulatedExchange) -> None:
        self._exchange = exchange

    def count(self) -> int:
        stats = self._exchange.stats()
        return stats.fapi.requests + stats.spot.requests

    def equal_without_request(self, read: Callable[[], Any], truth: Callable[[], Any]) -> None:
        """Wait until ``read()`` sends nothing and returns what REST has at the same moment."""
        seen: list[Any] = []

        def equal() -> bool:
            before = self.count()
            got = read()
            silent = self.count() == before
            seen[:] = [_as_streamed(got), _as_streamed(truth()), silent]
            return silent and seen[0] == seen[1]

        try:
            until(equal)
        except AssertionError:
            assert seen[2], "it sends requests"
            assert seen[0] == seen[1]
            raise


@pytest.fixture
def wire(exchange: SimulatedExchange) -> Wire:
    return Wire(exchange)
