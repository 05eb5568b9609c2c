"""The stress test itself: its comparisons can fail, and none does in a run of twenty seconds."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ats_sync.feeds import Kind
from ats_sync.simulator import RequestRecord
from ats_sync.stress import FAULTS, checks
from ats_sync.stress.accounts import Accountant
from ats_sync.stress.manager import DisturbedTime, ReadSources
from ats_sync.stress.tally import Finding, Promise, Tally
from ats_sync.stress.world import Effects

from .cli.command import run
from .support import until

MINUTE = 60_000
FIRST = 1_700_000_040_000


def row(index: int, trades: int, close: str = "10") -> list[Any]:
    opened = FIRST + index * MINUTE
    return [opened, "10", "11", "9", close, "1", opened + MINUTE - 1, "10", trades, "1", "10", "0"]


def flat(index: int, close: str) -> list[Any]:
    opened = FIRST + index * MINUTE
    return [opened, close, close, close, close, "0", opened + MINUTE - 1, "0", 0, "0", "0", "0"]


def promises(findings: list[Finding]) -> list[Promise]:
    return [finding.promise for finding in findings]


class TestCandles:
    before = (row(0, 5), row(1, 7))
    after = (row(0, 5), row(1, 9), row(2, 1))
    now = FIRST + 2 * MINUTE + 500

    def judge(self, read: list[list[Any]], *, bounded: bool = True) -> list[Promise]:
        return promises(checks.klines("", "1m", len(read), read, self.before, self.after, self.now, bounded=bounded))

    def test_what_is_true_at_any_moment_between(self) -> None:
        assert self.judge([row(0, 5), row(1, 7)]) == []
        assert self.judge([row(0, 5), row(1, 8)]) == []
        assert self.judge([row(0, 5), row(1, 9), row(2, 1)]) == []
        assert self.judge([row(0, 5), row(1, 9), flat(2, "10")]) == []

    def test_stale(self) -> None:
        assert self.judge([row(0, 5), row(1, 6)]) == [Promise.STALE]
        assert self.judge([row(0, 5)]) == [Promise.STALE]
        assert self.judge([row(0, 5), row(1, 6)], bounded=False) == []

    def test_a_closed_candle_that_differs(self) -> None:
        assert self.judge([row(0, 5, "9.5"), row(1, 9)]) == [Promise.INVARIANT]
        assert self.judge([row(0, 4), row(1, 9)]) == [Promise.INVARIANT]
        assert self.judge([row(0, 4), row(1, 9)], bounded=False) == [Promise.INVARIANT]

    def test_holes_duplicates_disorder_and_the_future(self) -> None:
        assert self.judge([row(0, 5), row(2, 1)]) == [Promise.INVARIANT]
        assert self.judge([row(0, 5), row(0, 5), row(1, 9)]) == [Promise.INVARIANT]
        assert self.judge([row(1, 9), row(0, 5)]) == [Promise.INVARIANT]
        assert self.judge([row(1, 9), row(2, 2)]) == [Promise.INVARIANT]
        assert self.judge([row(1, 9), row(2, 1), flat(3, "10")]) == [Promise.INVARIANT]
        assert self.judge([[*row(1, 9)[:4], "12", *row(1, 9)[5:]]]) == [Promise.INVARIANT]

    def test_too_few(self) -> None:
        found = checks.klines("", "1m", 2, [row(1, 9)], self.before, self.after, self.now)
        assert promises(found) == [Promise.INVARIANT]

    def test_a_flat_candle_on_a_close_that_may_be_behind(self) -> None:
        before = [row(0, 5), row(1, 7)]
        after = [row(0, 5), row(1, 9, "10.5"), flat(2, "10.5")]
        good = [row(0, 5), row(1, 8, "10"), flat(2, "10")]
        assert checks.klines("", "1m", 3, good, before, after, self.now) == []
        bad = [row(0, 5), row(1, 9, "10.5"), flat(2, "10")]
        assert promises(checks.klines("", "1m", 3, bad, before, after, self.now)) == [Promise.INVARIANT]


class TestBooks:
    @staticmethod
    def book(number: int, bid: str = "9", ask: str = "11") -> dict[str, Any]:
        return {"lastUpdateId": number, "bids": [[bid, "1"], ["8", "1"]], "asks": [[ask, "1"], ["12", "1"]]}

    def judge(self, read: dict[str, Any], *, bounded: bool = True) -> list[Promise]:
        return promises(checks.book("", read, self.book(5), self.book(9, "9.5"), bounded=bounded))

    def test_fresh(self) -> None:
        assert self.judge(self.book(5)) == []
        assert self.judge(self.book(7, "9.2")) == []
        assert self.judge(self.book(9, "9.5")) == []
        assert self.judge(self.book(4)) == [], "only deeper levels have changed"

    def test_stale_or_wrong(self) -> None:
        assert self.judge(self.book(4, "8.5")) == [Promise.STALE]
        assert self.judge(self.book(4, "8.5"), bounded=False) == []
        assert self.judge(self.book(5, "8.5")) == [Promise.INVARIANT]
        assert self.judge(self.book(9, "9.4")) == [Promise.INVARIANT]
        assert self.judge(self.book(10)) == [Promise.INVARIANT]
        assert self.judge(self.book(7, "11", "11")) == [Promise.INVARIANT]
        assert self.judge(self.book(7, "7")) == [Promise.INVARIANT]


class TestTrades:
    @staticmethod
    def run_of(first: int, last: int) -> list[dict[str, Any]]:
        return [{"a": number, "p": str(number)} for number in range(first, last + 1)]

    def test_fresh(self) -> None:
        assert checks.trades("", self.run_of(3, 7), 6, self.run_of(3, 9)) == []

    def test_stale_or_wrong(self) -> None:
        truth = self.run_of(3, 9)
        assert promises(checks.trades("", self.run_of(3, 5), 6, truth)) == [Promise.STALE]
        assert promises(checks.trades("", self.run_of(3, 5), 6, truth, bounded=False)) == []
        holed = [*self.run_of(3, 4), *self.run_of(6, 7)]
        assert promises(checks.trades("", holed, 6, truth)) == [Promise.INVARIANT]
        assert promises(checks.trades("", self.run_of(3, 4) * 2, 6, truth)) == [Promise.INVARIANT]
        assert promises(checks.trades("", self.run_of(3, 10), 6, truth)) == [Promise.INVARIANT]
        wrong = [*self.run_of(3, 6), {"a": 7, "p": "0"}]
        assert promises(checks.trades("", wrong, 6, truth)) == [Promise.INVARIANT]


class TestInstruments:
    def test_a_tally_keeps_an_example_of_each_promise(self) -> None:
        tally = Tally()
        for _ in range(100):
            tally.found(Finding(Promise.STALE, "old"))
        tally.found(Finding(Promise.LEAK, "more"))
        assert tally.broken == {Promise.STALE: 100, Promise.LEAK: 1}
        assert sum("old" in each for each in tally.examples) < 100
        assert any("more" in each for each in tally.examples)

    def test_a_clock_that_jumps_and_stands_still(self) -> None:
        time = DisturbedTime()
        wall = time.wall()
        time.jump(-600.0)
        assert wall - 601.0 < time.wall() < wall - 590.0
        time.hold()
        held = time.steady()
        assert time.steady() == held
        time.release()
        assert held <= time.steady() < held + 5.0
        until(lambda: time.steady() > held)

    def test_where_a_read_was_answered_from(self) -> None:
        sources = ReadSources()
        sources.miss(Kind.KLINES)
        assert sources.by_rest()
        sources.hit(Kind.KLINES)
        assert not sources.by_rest()
        assert (sources.hits, sources.misses) == (1, 1)


class TestCommand:
    def test_faults_for_twenty_seconds_break_no_promise(self, tmp_path: Path) -> None:
        # After the exchange has refused this address, a recovery may take 80 s.
        quick = [name for name in FAULTS.names() if name not in ("no_handshake", "rest_fails")]
        told = tmp_path / "report.json"
        # For so few series a minute's weight repairs several disconnects, so nothing waits for the next minute.
        market = ["--symbols", "5", "--intervals", "1m,15m,1h"]
        arguments = ["--seconds", "20", *market, "--only", ",".join(quick), "--json", str(told)]
        code, out, err = run("-m", "ats_sync", "stress", *arguments)
        assert code == 0, out + err
        report = json.loads(told.read_text(encoding="utf-8"))
        assert report["kept"]
        assert report["broken"] == {}
        assert report["streams"] >= 5 * 5
        assert report["connections_most"] <= 5
        assert sum(report["faults"].values()) >= 1
        assert report["from_memory"] > 200
        assert sum(report["checks"].values()) > 30
        assert 0 < report["weight_most"] <= report["weight_allowed"]
        for shown in ("stale reads", "divergences", "slowest recovery", "Every promise was kept."):
            assert shown in out

    def test_an_unknown_fault(self) -> None:
        code, _, err = run("-m", "ats_sync", "stress", "--only", "earthquake")
        assert code == 2
        assert "earthquake" in err
        assert FAULTS.names()[0] in err


class TestAccounts:
    """Requests keep arriving between two looks at the exchange."""

    def test_each_request_counts_once_and_none_is_missed(self) -> None:
        log = [
            RequestRecord(FIRST + number, "fapi", "/x", {}, 200, 20 if number % 7 == 0 else 1, 0, None, number)
            for number in range(60)
        ]
        told = [0]

        def stats() -> Any:
            return SimpleNamespace(
                fapi=SimpleNamespace(requests=told[0]), spot=SimpleNamespace(requests=0), connections=[], time=FIRST,
                behind_ms=0,
            )  # fmt: skip

        def request_log(most: int) -> list[RequestRecord]:
            return log[: told[0] + 3][-most:]

        exchange = SimpleNamespace(stats=stats, request_log=request_log)
        world: Any = SimpleNamespace(exchange=exchange, effects=Effects, tally=Tally())
        accountant = Accountant(world)
        for told[0] in (5, 6, 20, 57):
            accountant.look()
        assert accountant.weight["fapi"] == {FIRST: sum(record.weight for record in log)}
