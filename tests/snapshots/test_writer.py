"""What is written to disk, and when."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from ats_sync.feeds import LISTINGS
from ats_sync.snapshots.records import file_name
from ats_sync.store.series import Origin

from ..support import until
from ..venue.samples import MINUTE
from .launches import CANDLES, NOW, TRUTH, Launch, launched


def test_what_has_not_changed_is_not_written_again(directory: Path) -> None:
    with launched(directory, NOW + MINUTE) as launch:
        launch.list()
        until(lambda: launch.loaded() == 3)
        before = {path.name: path.stat().st_mtime_ns for path in launch.folder.glob("*.rows")}
    assert len(before) == 4
    with launched(directory, NOW + 2 * MINUTE) as launch:
        launch.list()
        until(lambda: launch.loaded() == 3)
        launch.store.series[CANDLES].replace(TRUTH.texts(NOW + 2 * MINUTE, 100), Origin(NOW + 2 * MINUTE, 100))
    after = {path.name: path.stat().st_mtime_ns for path in launch.folder.glob("*.rows")}
    assert {name for name in after if after[name] != before[name]} == {file_name(CANDLES), file_name(LISTINGS)}
    assert after.keys() == before.keys()


def test_before_the_time_and_the_contract_are_known_nothing_is_written(tmp_path: Path) -> None:
    launch = Launch(tmp_path, time_known=False)
    launch.start()
    launch.fill()
    launch.close()
    assert not list(launch.folder.glob("*.rows"))


def test_where_writing_fails_it_says_so_once_and_goes_on_when_it_works_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ats_sync.snapshots")
    launch = Launch(tmp_path)
    launch.start()
    launch.list()
    launch.fill()
    in_the_way = launch.folder / file_name(CANDLES)
    in_the_way.mkdir()
    (in_the_way / "file").touch()

    def pass_a_minute() -> None:
        launch.time.at += 61.0

    def failed() -> bool:
        pass_a_minute()
        return bool(launch.snapshotter.status().problem)

    until(failed)
    until(lambda: pass_a_minute() or launch.store.series[CANDLES].dump_mark())
    shutil.rmtree(in_the_way)

    def written() -> bool:
        pass_a_minute()
        return in_the_way.is_file() and not launch.snapshotter.status().problem

    until(written)
    launch.close()
    assert caplog.text.count("cannot be written") == 1
    assert caplog.text.count("writing rows to") == 1
    assert launch.snapshotter.status().written is not None


def test_nothing_is_begun_after_the_deadline_of_close(tmp_path: Path) -> None:
    launch = Launch(tmp_path)
    launch.start()
    launch.list()
    launch.fill()
    launch.snapshotter.stop(launch.clock.now())
    launch.snapshotter.join(launch.clock.now() + 60.0)
    assert not list(launch.folder.glob("*.rows"))
    other = Launch(tmp_path)
    other.close()
    assert not other.snapshotter.status().problem
