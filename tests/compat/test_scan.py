"""A whole scan as the old code made it, in a process of its own: 200 symbols, 20 threads."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from ats_sync.simulator import RequestRecord, SimulatedExchange, before_turn

from ..cli.command import ROOT, environment
from ..support import until

pytestmark = pytest.mark.timeout(300)

SYMBOLS, THREADS = 200, 20
WEIGHT_LIMIT = 48_000
"""Twenty minutes' worth, so that a first scan is not spread over some of them."""
LEAD = 40.0
"""Seconds from the start to the turn of the hour."""
PATIENCE = 120.0
NEARLY_ZERO = 1e-6
"""Rates move by so much in the time of a scan."""
NO_PAIR = "HTTP 400, code -1121"


class Scanner:
    """The scanning process, and what the exchange has seen of it."""

    def __init__(self, exchange: SimulatedExchange) -> None:
        self.exchange = exchange
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 -- closed by kill()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.compat.scanner", ",".join(exchange.symbols), str(THREADS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            cwd=ROOT,
            env=environment({**exchange.environment(), "ATS_SYNC_AUTOSTART": "1", "NO_PROXY": "127.0.0.1"}),
        )

    def ask(self, command: str) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, self.written()
        return json.loads(line)

    def recorded(self, command: str) -> tuple[Any, list[RequestRecord]]:
        """Return the answer, and the requests that arrived in the meantime."""
        seen = len(self.exchange.request_log())
        return self.ask(command), self.exchange.request_log()[seen:]

    def until_warm(self) -> None:
        told: dict[str, Any] = {}

        def warm() -> bool:
            told.update(self.ask("warm"))
            return bool(told["warm"])

        try:
            until(warm, PATIENCE, every=0.5)  # a look costs as much as a hundred reads
        except AssertionError:
            raise AssertionError(f"still lacking: {told}") from None

    def scan_from_memory(self, command: str = "scan") -> list[RequestRecord]:
        """Scan until no read of a scan sends anything; return what arrived during that scan.

        On a machine that is busy with other things the streams may lag at times, and then reads rightly ask REST.
        """
        seen: list[tuple[Any, list[RequestRecord]]] = []

        def silent() -> bool:
            seen.append(self.recorded(command))
            return bool(seen[-1][0]["requests"]["read"] == 0)

        try:
            until(silent, PATIENCE, every=1.0)  # a scan that lags makes the streams lag more
        except AssertionError:
            sent = Counter((each.path, each.params.get("symbol")) for each in seen[-1][1])
            raise AssertionError(f"the last of {len(seen)} scans sent {seen[-1][0]['requests']}: {sent}") from None
        return seen[-1][1]

    def written(self) -> str:
        """Return what it wrote to stderr."""
        self._errors.seek(0)
        return self._errors.read()

    def end(self) -> None:
        """Let it end by itself, and check that it ends without an error."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write("end\n")
            self.process.stdin.close()
            code = self.process.wait(PATIENCE)
            written = self.written()
        finally:
            self.kill()
        assert code == 0, written
        assert "Traceback" not in written

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._errors.close()


@pytest.fixture(scope="module")
def scanner() -> Iterator[Scanner]:
    with SimulatedExchange(
        symbols=SYMBOLS,
        seed=7,
        start=before_turn("1h", LEAD),
        latency=0.02,
        activity=0.1,
        weight_limit=WEIGHT_LIMIT,
        spot_weight_limit=WEIGHT_LIMIT,
    ) as exchange:
        it = Scanner(exchange)
        yield it
        it.end()


def confirms(record: RequestRecord) -> bool:
    """Return whether it is for candles that are known except for the newest ones."""
    return record.path in ("/fapi/v1/klines", "/api/v3/klines") and 0 < int(record.params.get("limit", 0)) <= 99


def documented(record: RequestRecord) -> bool:
    """Return whether it is a poll, an audit or a confirmation that the README mentions."""
    limit = int(record.params.get("limit", 0))
    one = "symbol" in record.params
    if confirms(record):
        return True
    if record.path == "/fapi/v1/depth":
        return limit == 500  # an audit, or the price has moved
    if record.path == "/futures/data/openInterestHist":
        return one
    all_at_once = ("/fapi/v1/time", "/fapi/v1/ticker/24hr", "/api/v3/ticker/price", "/fapi/v1/exchangeInfo")
    return record.path in all_at_once and not one


def unexpected(errors: list[str], exchange: SimulatedExchange) -> list[str]:
    """Return the errors other than the exchange's own answer to a missing spot pair. (The old code takes a funding rate
    of zero for an empty answer.)"""
    pairs = {each["symbol"] for each in exchange.rest("/api/v3/ticker/price")}
    lacking = set(exchange.symbols) - pairs
    rates = {each["symbol"]: float(each["lastFundingRate"]) for each in exchange.rest("/fapi/v1/premiumIndex")}
    of_zero = {f"funding rate: {symbol}: empty" for symbol, rate in rates.items() if abs(rate) < NEARLY_ZERO}
    return [
        error
        for error in errors
        if error not in of_zero
        and not (error.startswith("spot") and NO_PAIR in error and error.split(": ")[1] in lacking)
    ]


@pytest.fixture(scope="module")
def first(scanner: Scanner) -> tuple[Any, list[RequestRecord]]:
    return scanner.recorded("scan")


def test_the_first_scan_is_inside_the_budget_and_shares_requests(
    scanner: Scanner, first: tuple[Any, list[RequestRecord]]
) -> None:
    told, log = first
    assert not unexpected(told["errors"], scanner.exchange)
    stats = scanner.exchange.stats()
    for host in (stats.fapi, stats.spot):
        assert (host.refused_429, host.refused_418) == (0, 0)
        assert 0 < host.max_weight <= 0.8 * WEIGHT_LIMIT
    assert not [each for each in log if each.status not in (200, 0)], "what is known beforehand is not requested"
    paths = Counter(each.path for each in log)
    # One answer for all symbols serves all 600 such calls; some are polled again in that time.
    for path in ("/api/v3/ticker/price", "/fapi/v1/premiumIndex", "/fapi/v1/exchangeInfo"):
        assert paths[path] <= 10
    of_btc = [each for each in log if each.path == "/fapi/v1/klines" and each.params["symbol"] == "BTCUSDT"]
    # 200 symbols need its candles. On a busy machine its streams may be late, and then REST answers at times.
    assert len(of_btc) <= 40
    # At most once for the reader, and once more where its stream began only after that. (What confirms a quiet candle
    # comes as often as candles close meanwhile.)
    pairs = Counter(
        (each.path, each.params["symbol"], each.params.get("interval"))
        for each in log
        if each.params.get("symbol", "BTCUSDT") not in ("BTCUSDT", "ETHUSDT") and not confirms(each)
    )
    assert not {pair: count for pair, count in pairs.items() if count > 3}


def test_scans_cause_no_request_from_the_second_one_on(
    scanner: Scanner, first: tuple[Any, list[RequestRecord]]
) -> None:
    scanner.until_warm()
    for _ in range(2):
        assert all(map(documented, scanner.scan_from_memory()))
    told, _ = scanner.recorded("scan")
    assert not unexpected(told["errors"], scanner.exchange)


def test_scans_of_recently_listed_symbols_cause_no_request_either(
    scanner: Scanner, first: tuple[Any, list[RequestRecord]]
) -> None:
    told = scanner.ask("new")
    assert told["errors"] == []
    scanner.until_warm()
    assert all(map(documented, scanner.scan_from_memory("new")))


def test_scans_after_the_full_hour_cause_no_request_either(
    scanner: Scanner, first: tuple[Any, list[RequestRecord]]
) -> None:
    exchange = scanner.exchange
    assert exchange.settings.start is not None
    turn = exchange.settings.start + round(1000 * LEAD)
    scanner.until_warm()
    until(lambda: exchange.now() > turn, LEAD, every=0.5)
    sent = scanner.scan_from_memory()
    assert all(map(documented, sent))
    stats = exchange.stats()
    assert (stats.fapi.refused_429, stats.spot.refused_429) == (0, 0)
    assert stats.connections_max <= 5
