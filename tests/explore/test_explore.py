"""The explorer finds a planted mistake, shrinks its schedule, says so in its exit status, and can repeat its runs."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from ats_sync.engine.stream_session import Heartbeat
from ats_sync.store.link import Link

from ..cli.command import run
from ..virtual.faults import Cut, HalfOpen, Rest
from ..virtual.recording import SETTINGS
from ..virtual.schedules import (
    KINDS,
    LONG_A_SETTING,
    LONG_SHARE,
    WIDE,
    WIDE_A_SETTING,
    WIDE_SHARE,
    a_schedule,
    a_setting,
    batch_size,
)
from ..virtual.world import Read, Schedule
from . import runs
from .runs import batch, played
from .shrink import shrunk

FOREVER = 4e9
HOUR = 3_600_000


def believe_the_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Heartbeat, "lost", lambda self, now: False)
    monkeypatch.setattr(Link, "alive", lambda self, now, silence: self.up)
    monkeypatch.setattr(Link, "age", lambda self, now: 0.0)


def test_a_planted_mistake_is_found_and_made_small(monkeypatch: pytest.MonkeyPatch) -> None:
    believe_the_dead(monkeypatch)
    schedule = Schedule(
        faults=(Cut(5_000), Rest(9_000, 2_000, "502"), HalfOpen(20_000), Cut(50_000, "public")),
        reads=(Read(3_000, "klines"), Read(9_000, "book")),
        wall_error=600.0,
    )
    assert played(schedule)[1]
    small = shrunk(schedule, lambda each: bool(played(each)[1]))
    assert small.faults == (HalfOpen(20_000),)
    assert (small.reads, small.wall_error) == ((), 0.0)


def test_a_schedule_that_cannot_be_made_is_found_like_any_other() -> None:
    script = ((-100, "hole", "BTCUSDT"), (100, "hole ends", "BTCUSDT"))
    assert "cannot be made" in played(Schedule(setting=replace(SETTINGS[0], script=script)))[1]


def test_a_schedule_that_breaks_nothing_is_not_shrunk() -> None:
    schedule = Schedule(faults=(Cut(5_000), Cut(9_000)))
    assert shrunk(schedule, lambda each: False) == schedule


def test_a_batch_is_repeated_by_its_seed_and_keeps_the_promises() -> None:
    first = batch(2, FOREVER, 4)
    assert first.schedules == 4
    assert not first.found, first.found
    assert batch(2, FOREVER, 4) == first


def test_schedules_leave_kinds_of_fault_out_and_have_all_of_them_together() -> None:
    rng = random.Random(1)
    schedules = [a_schedule(rng, a_setting(rng)) for _ in range(300)]
    sizes = {len({type(fault) for fault in schedule.faults}) for schedule in schedules}
    assert sizes >= {1, 2, 3, 4}
    assert len({type(fault) for schedule in schedules for fault in schedule.faults}) == len(KINDS)


def test_the_shares_of_sizes_are_those_of_schedules() -> None:
    rng = random.Random(3)
    drawn = [batch_size(rng) for _ in range(100_000)]
    schedules = sum(count for _, _, count in drawn)
    assert sum(count for long, _, count in drawn if long) / schedules == pytest.approx(LONG_SHARE, rel=0.05)
    assert sum(count for _, wide, count in drawn if wide) / schedules == pytest.approx(WIDE_SHARE, rel=0.05)


@pytest.mark.parametrize("size", [(True, False, LONG_A_SETTING), (False, True, WIDE_A_SETTING), (False, False, 40)])
def test_a_batch_has_schedules_of_the_size_that_was_drawn(
    monkeypatch: pytest.MonkeyPatch, size: tuple[bool, bool, int]
) -> None:
    found: list[tuple[bool, bool]] = []

    def look(schedule: Schedule) -> tuple[float, str]:
        found.append((schedule.ends > HOUR, len(schedule.whole_setting.symbols) == WIDE))
        return 0.0, ""

    monkeypatch.setattr(runs, "played", look)
    monkeypatch.setattr(runs, "batch_size", lambda rng: size)
    assert batch(3, FOREVER).schedules == size[2]
    assert found == [size[:2]] * size[2]


def test_settings_are_of_all_sizes() -> None:
    rng = random.Random(2)
    assert len(a_setting(rng, wide=True).symbols) == 50
    assert {len(a_setting(rng).symbols) for _ in range(30)} == {2, 3}


@pytest.mark.parametrize("arguments", [["--minutes", "0"], ["--workers", "0"]])
def test_bad_arguments_are_refused_in_one_sentence(arguments: list[str]) -> None:
    code, _, err = run("-m", "tests.explore", *arguments)
    assert code == 2
    assert "must be" in err
    assert "Traceback" not in err


def test_the_last_line_counts() -> None:
    code, out, err = run("-m", "tests.explore", "--schedules", "1", "--workers", "1", "--seed", "6")
    assert code == 0, out + err
    assert out.splitlines()[0] == "seed 6"
    last = out.splitlines()[-1]
    assert "schedules" in last
    assert last.endswith("simulated hours, 0 broken"), out
