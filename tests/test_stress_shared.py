"""Schedules of collectors, readers and their store: two short ones, and checks that a broken promise is found."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ats_sync.cli import main
from ats_sync.stress.shared import SharedOptions, SharedReport, run_shared_stress
from ats_sync.stress.shared.faults import FAULTS
from ats_sync.stress.shared.report import Outcome
from ats_sync.stress.shared.schedule import Observer, _judge, _take_reports
from ats_sync.stress.tally import Promise

from .shared.conftest import started
from .support import until


def test_two_schedules_break_no_promise() -> None:
    started("valkey").stop()  # skipped where there is none
    lines: list[str] = []
    seed = random.randrange(1_000_000)
    report = run_shared_stress(SharedOptions(schedules=2, seed=seed, faults_for=6.0), lines.append)
    sys.stdout.write("\n".join([*lines, *report.examples, ""]))
    assert report.kept
    assert report.schedules == 2
    assert report.faults.total() >= 2
    assert report.epochs >= 2
    assert report.checks >= 10
    assert all(f"seed {seed + number}: " in line for number, line in enumerate(lines))


def test_an_unknown_fault_is_refused_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["stress", "--shared", "--only", "earthquake"]) == 2
    assert FAULTS.names()[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--shared", "--symbols", "200"], "--symbols cannot be used with --shared"),
        (["--shared", "--intervals", "1m"], "--intervals cannot be used with --shared"),
        (["--shared", "--pause"], "--pause cannot be used with --shared"),
        (["--schedules", "3"], "--schedules can only be used with --shared"),
    ],
)
def test_options_that_would_change_nothing_are_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert main(["stress", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_feed_of_an_earlier_epoch_is_found() -> None:
    epochs = iter([b"5", None, b"7", b"5", b"7"])
    client = SimpleNamespace(hget=lambda *_: next(epochs), close=lambda: None)
    store: Any = SimpleNamespace(client=lambda: client)
    observer = Observer(store)
    observer.start()
    until(lambda: observer.findings)
    observer.over.set()
    observer.join(30)
    assert [promise for promise, _ in observer.findings] == [Promise.OLD_EPOCH.value]


def judged(*requests: Any, faults: tuple[str, ...] = (), account_lost: Sequence[int] = ()) -> list[str]:
    outcome = Outcome(seed=1)
    outcome.faults.update(faults)
    exchange: Any = SimpleNamespace(
        config=lambda: SimpleNamespace(weight_share=0.8), request_log=lambda: list(requests)
    )
    _judge(exchange, outcome, 100, account_lost)
    return [promise for promise, _ in outcome.findings]


def request(time: int, weight: int, waited: int | None = None) -> Any:
    return SimpleNamespace(host="fapi", time=time, weight=weight, waited=waited, path="/x")


def test_a_minute_with_more_than_the_share_is_found() -> None:
    assert judged(request(0, 40), request(59_999, 40), request(60_000, 80)) == []
    assert judged(request(0, 40), request(59_999, 41)) == [Promise.BUDGET.value]
    assert judged(request(0, 40), request(59_999, 60), faults=("store killed",)) == []
    assert judged(request(0, 40), request(59_999, 61), faults=("store killed",)) == [Promise.BUDGET.value]


def test_a_request_during_a_wait_that_all_could_know_of_is_found() -> None:
    assert judged(request(0, 1, 1000)) == []
    assert judged(request(0, 1, 2000)) == [Promise.WAIT.value]
    assert judged(request(0, 1, 2000), faults=("store killed",)) == []


def test_a_request_during_a_wait_that_nobody_could_know_of_is_none() -> None:
    for time, found in ((499, True), (500, False), (1_500, False), (1_501, True)):
        assert bool(judged(request(time, 1, 2000), account_lost=[500])) is found
    assert judged(request(9_000, 1, 2000), faults=("leader killed",), account_lost=[500]) == []
    assert judged(request(499, 1, 2000), faults=("leader killed",), account_lost=[500])


def test_what_readers_note_is_collected_and_one_that_does_not_end_is_found(tmp_path: Path) -> None:
    done = {"checks": 5, "by_rest": 1, "raised": {"StaleDataError": 2}, "healed": 0.5}
    lines = [{"finding": ["stale reads", "old"]}, {"done": done}]
    whole, killed = tmp_path / "1.json", tmp_path / "2.json"
    whole.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    killed.write_text('{"finding": ["divergences", "other"]}\n{"fin')
    outcome = Outcome(seed=1)
    scene: Any = SimpleNamespace(readers=[], reports=[whole, killed, tmp_path / "3.json"], signal=None)
    _take_reports(scene, 1.0, outcome)
    assert outcome.findings == [("stale reads", "old"), ("divergences", "other")]
    assert (outcome.checks, outcome.by_rest, outcome.raised, outcome.healed) == (5, 1, {"StaleDataError": 2}, 0.5)
    report = SharedReport()
    report.add(outcome)
    assert not report.kept
    assert report.broken == {"stale reads": 1, "divergences": 1}
    shown = json.loads(json.dumps(report.to_json()))
    assert shown["kept"] is False
    assert shown["broken"] == {"stale reads": 1, "divergences": 1}
    assert shown["raised"] == {"StaleDataError": 2}
    assert ("stale reads", "1") in report.rows()
