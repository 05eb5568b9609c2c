"""Few files that compute run at once, while files that wait are left."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from . import sharing

WAITING = [f"tests/faults/test_{letter}.py" for letter in "abcd"]
COMPUTING = [f"tests/store/test_{letter}.py" for letter in "abcd"]
LEAST_PRIORITY = 19
"""No process gives way more than that."""


class Node:
    """A process of the suite, as the scheduler sees it."""

    def __init__(self) -> None:
        self.shutting_down = False
        self.gateway = SimpleNamespace(id="a process")
        self.given: list[int] = []

    def send_runtest_some(self, indices: list[int]) -> None:
        self.given += indices

    def shutdown(self) -> None:
        self.shutting_down = True


@pytest.fixture
def scheduler(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sharing, "cores", lambda: 2)
    option = SimpleNamespace(loadscopereorder=False, tx=["popen"] * 3, dist="loadfile", numprocesses=3)
    config: Any = SimpleNamespace(option=option, getvalue=lambda name: getattr(option, name))
    return sharing.Sharing(config)


def files_given(scheduler: Any, nodes: list[Node]) -> list[list[str]]:
    names = [name.partition("::")[0] for name in scheduler.collection]
    return [list(dict.fromkeys(names[index] for index in node.given)) for node in nodes]


def test_one_of_two_cores_computes_and_no_test_is_lost(scheduler: Any) -> None:
    nodes = [Node() for _ in range(3)]
    tests = [f"{file}::test_{number}" for file in COMPUTING + WAITING for number in range(5)]
    for node in nodes:
        scheduler.add_node(node)
        scheduler.add_node_collection(node, tests)
    scheduler.schedule()
    assert files_given(scheduler, nodes) == [COMPUTING[:1], WAITING[:1], WAITING[1:2]]
    done = [0, 0, 0]
    while scheduler.has_pending:
        for place, node in enumerate(nodes):
            if done[place] < len(node.given):
                scheduler.mark_test_complete(node, node.given[done[place]])
                done[place] += 1
    assert sorted(index for node in nodes for index in node.given) == list(range(len(tests)))


def test_which_files_compute() -> None:
    assert all(map(sharing.computes, COMPUTING))
    assert not any(map(sharing.computes, WAITING))


def test_the_files_that_take_longest_come_first() -> None:
    items: list[Any] = [SimpleNamespace(nodeid=f"{file}::test") for file in ("tests/test_clock.py", sharing.LONGEST[1])]
    assert [item.nodeid for item in sorted(items, key=sharing.by_length)] == [items[1].nodeid, items[0].nodeid]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may take the processor back")
def test_files_that_compute_yield_the_processor_and_those_that_wait_do_not() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    try:
        sharing.give_way(COMPUTING[0])
        assert os.getpriority(os.PRIO_PROCESS, 0) == min(sharing.NICE + sharing.COMPUTING_NICE, LEAST_PRIORITY)
        sharing.give_way(WAITING[0])
        assert os.getpriority(os.PRIO_PROCESS, 0) == sharing.NICE
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, before)


def test_files_that_were_written_since_are_not_compiled(tmp_path: Path) -> None:
    file = tmp_path / "test_it.py"
    file.write_text("def test_it():\n    assert True\n")
    assert not sharing.is_compiled([file])
    sharing.compile_once(tmp_path)
    assert sharing.is_compiled([file])
    os.utime(file, (later := file.stat().st_mtime + 60, later))
    assert not sharing.is_compiled([file])
