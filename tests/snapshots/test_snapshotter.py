"""What the thread loads, and which directory it uses."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ats_sync import Config
from ats_sync.feeds import Key
from ats_sync.snapshots import records
from ats_sync.snapshots.records import file_name, folder_of
from ats_sync.snapshots.snapshotter import TRY_EVERY
from ats_sync.store.series import Origin
from ats_sync.venue.listings import exchange_info

from ..support import until
from ..venue import samples
from ..venue.samples import DAY, MIDNIGHT, MINUTE, compact
from .launches import CANDLES, INTEREST, KEYS, LISTED, NOW, SYMBOL, TRADES, TRUTH, Launch, launched
from .test_directory import another_process


def test_what_is_followed_after_the_start_is_loaded_too(directory: Path) -> None:
    with launched(directory, keys=(INTEREST,)) as launch:
        launch.list()
        until(lambda: launch.loaded() == 1)
        later = launch.store.follow([CANDLES, TRADES])
        launch.snapshotter.expect(later)
        assert all(launch.store.series[key].expecting for key in later)
        launch.snapshotter.load(later)
        until(lambda: launch.loaded() == 3)
        assert launch.rows() == TRUTH.texts(NOW, 100)[:-1]
        until(lambda: set(launch.runtime.gone_on) == set(KEYS))
        launch.store.unfollow([CANDLES])
        launch.snapshotter.load(launch.store.follow([CANDLES]))
        assert not launch.store.series[CANDLES].expecting


def test_what_is_followed_while_the_start_is_awaited_is_loaded_too(directory: Path) -> None:
    launch = Launch(directory, keys=(TRADES, INTEREST))
    launch.runtime.missing = [CANDLES]
    launch.list()
    launch.start()
    try:
        until(lambda: launch.loaded() == 1)
        later = launch.store.follow([CANDLES])
        launch.snapshotter.expect(later)
        launch.snapshotter.load(later)
        launch.runtime.turn()
        until(lambda: launch.loaded() == 2)
        assert launch.store.series[TRADES].expecting
        launch.runtime.missing = []
        launch.runtime.turn()
        until(lambda: launch.loaded() == 3)
    finally:
        launch.close()


def test_nothing_is_expected_of_a_thread_that_has_ended(directory: Path) -> None:
    with launched(directory, keys=(INTEREST,)) as launch:
        launch.list()
        until(lambda: launch.loaded() == 1)
    later = launch.store.follow([CANDLES])
    launch.snapshotter.expect(later)
    launch.snapshotter.load(later)
    assert not launch.store.series[CANDLES].expecting
    assert not launch.loader.later, "nobody would ever take it"


def test_what_was_written_is_loaded_once_its_contract_is_known(directory: Path) -> None:
    with launched(directory, NOW + MINUTE) as launch:
        assert all(launch.store.series[key].expecting for key in KEYS)
        assert launch.rows() == []
        launch.list()
        until(lambda: launch.loaded() == 3)
        assert launch.rows() == TRUTH.texts(NOW, 100)[:5]
        assert launch.runtime.gone_on == [CANDLES, INTEREST, TRADES]
        status = launch.snapshotter.status()
        assert (status.problem, status.unaudited, status.written) == ("", 2, None)
        assert "3 series loaded, 2 of them to be compared with REST" in str(status)
        assert not launch.store.series[TRADES].lacks_older()
        assert launch.store.series[TRADES].state(0).rows == 40


def test_what_was_read_is_followed_again_where_nothing_is_followed_from_the_start(directory: Path) -> None:
    launch = Launch(directory, NOW + MINUTE, keys=())
    launch.start()
    launch.list()
    until(lambda: launch.loaded() == 3)
    launch.close()
    assert launch.demanded == {CANDLES: 6, TRADES: 40, INTEREST: 3}
    assert launch.rows() == TRUTH.texts(NOW, 100)[:5]


def test_what_was_read_is_not_added_to_what_is_followed_from_the_start_nor_followed_for_ever(directory: Path) -> None:
    for keys, now in ((KEYS[:1], NOW + MINUTE), ((), NOW + DAY)):
        with launched(directory, now, keys=keys) as launch:
            launch.list()
            until(lambda launch=launch: launch.loader.has_loaded)
        assert launch.demanded == {}


def test_a_delisted_contract_is_not_followed_again(directory: Path) -> None:
    launch = Launch(directory, NOW + MINUTE, keys=())
    body = compact(samples.exchange_info({SYMBOL: "SETTLING"}, onboarded={SYMBOL: LISTED}))
    launch.store.listings.replace(exchange_info(body), Origin(NOW + MINUTE))
    launch.start()
    until(lambda: launch.loader.has_loaded)
    launch.close()
    assert launch.demanded == {}


def changed(launch: Launch, key: Key, **facts: Any) -> None:
    """Write a file again with other facts in it."""
    path = launch.folder / file_name(key)
    path.write_bytes(records.pack(records.unpack(path.read_bytes())._replace(**facts)))


def of_another_exchange(launch: Launch) -> None:
    for key in KEYS:
        changed(launch, key, exchange=("https://testnet.example", "", "", ""))


def of_another_contract(launch: Launch) -> None:
    for key in KEYS:
        changed(launch, key, onboarded=LISTED - DAY)


def of_later(launch: Launch) -> None:
    for key in KEYS:
        changed(launch, key, written=NOW + DAY)


def with_rows_of_later(launch: Launch) -> None:
    for key in KEYS:
        changed(launch, key, written=MIDNIGHT - DAY)


def cut(launch: Launch) -> None:
    for key in KEYS:
        path = launch.folder / file_name(key)
        path.write_bytes(path.read_bytes()[:-1])


def empty(launch: Launch) -> None:
    for key in KEYS:
        (launch.folder / file_name(key)).write_bytes(b"")


def newer(launch: Launch) -> None:
    for key in KEYS:
        path = launch.folder / file_name(key)
        path.write_bytes(path.read_bytes().replace(b'"format":1', b'"format":2', 1))


def exchanged(launch: Launch) -> None:
    names = [file_name(key) for key in KEYS]
    texts = [(launch.folder / name).read_bytes() for name in names]
    for name, text in zip(names, texts[1:] + texts[:1], strict=True):
        (launch.folder / name).write_bytes(text)


def folders(launch: Launch) -> None:
    for key in KEYS:
        (launch.folder / file_name(key)).unlink()
        (launch.folder / file_name(key)).mkdir()


@pytest.mark.parametrize(
    ("spoil", "word"),
    [
        (of_another_exchange, "testnet.example"),
        (of_another_contract, "another contract"),
        (of_later, "clock was set back"),
        (with_rows_of_later, "newer than the time it was written"),
        (cut, "bytes of rows"),
        (empty, "first line"),
        (newer, "newer version"),
        (exchanged, "the dump is of"),
        (folders, "directory"),
    ],
)
def test_what_is_of_no_use_is_not_loaded_and_one_warning_says_why(
    directory: Path, spoil: Callable[[Launch], None], word: str, caplog: pytest.LogCaptureFixture
) -> None:
    launch = Launch(directory, NOW + MINUTE)
    spoil(launch)
    launch.start()
    launch.list()
    until(launch.cold)
    assert launch.runtime.gone_on
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert word in warnings[0]
    launch.fill()
    launch.close()
    assert launch.rows() == TRUTH.texts(NOW + MINUTE, 100)[: len(launch.rows())]


def test_a_contract_with_a_newer_event_begins_with_nothing(directory: Path) -> None:
    launch = Launch(directory, NOW + MINUTE)
    frame = samples.contract_frame(SYMBOL, "TRADING", event=NOW, onboarded=NOW - 1000)
    launch.store.contracts.apply(frame, None)  # type: ignore[arg-type]
    launch.start()
    launch.list()
    until(launch.cold)
    launch.close()


def test_a_clock_set_back_since_is_noticed(directory: Path) -> None:
    with launched(directory, NOW - DAY) as launch:
        launch.list()
        until(launch.cold)


def test_the_series_of_a_new_contract_takes_nothing_of_the_old_one(directory: Path) -> None:
    launch = Launch(directory, NOW + MINUTE)
    launch.start()
    until(lambda: (launch.folder / "lock").exists())
    launch.store.renew(KEYS, NOW + MINUTE)
    launch.list()
    launch.close()
    assert launch.rows() == []
    assert launch.loaded() == 0


def test_without_listings_nothing_is_loaded_and_the_start_goes_on(directory: Path) -> None:
    launch = Launch(directory, NOW + MINUTE)
    launch.start()

    def given_up() -> bool:
        launch.time.at += 1.0
        launch.runtime.turn()
        return launch.cold()

    until(given_up)
    launch.close()


def test_what_is_read_meanwhile_is_not_replaced(directory: Path) -> None:
    launch = Launch(directory, NOW + MINUTE)
    launch.store.series[CANDLES].replace(TRUTH.texts(NOW + MINUTE, 3), Origin(NOW + MINUTE, 3))
    before = launch.rows()
    launch.start()
    launch.list()
    until(lambda: not any(launch.store.series[key].expecting for key in KEYS))
    assert launch.rows() == before
    launch.close()


def test_the_second_manager_on_a_directory_says_so_and_runs_without(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with launched(directory, NOW + MINUTE):
        second = Launch(directory, NOW + MINUTE)
        assert not any(second.store.series[key].expecting for key in KEYS)
        second.start()
        second.list()
        second.fill()
        assert "another manager of this process" in second.snapshotter.status().problem
        second.close()
    assert caplog.text.count("another manager of this process") == 1


def until_taken(launch: Launch) -> None:
    """Let time pass until the directory is tried again, and is free."""

    def taken() -> bool:
        launch.time.at += 1.0
        return not launch.snapshotter.status().problem

    until(taken)


def test_a_manager_that_found_the_directory_in_use_keeps_rows_once_it_is_free(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ats_sync.snapshots")
    with launched(tmp_path) as first:
        second = Launch(tmp_path)
        second.start()
        second.list()
        second.fill()
        for _ in range(3):  # it is still in use
            due = second.snapshotter._try_again_at
            second.time.at += TRY_EVERY
            until(lambda due=due: second.snapshotter._try_again_at != due)  # type: ignore[misc]
        assert "another manager" in second.snapshotter.status().problem
        second.snapshotter.load([CANDLES])
        until(lambda: not second.loader.later)  # what is followed meanwhile is not waited for
    assert not list(first.folder.glob("*.rows"))
    until_taken(second)

    def written() -> bool:
        second.time.at += 10.0
        return (second.folder / file_name(CANDLES)).exists()

    until(written)
    second.close()
    assert [record.getMessage().partition(" in ")[0] for record in caplog.records] == [
        "keeping no rows",
        "keeping rows",
    ]
    with launched(tmp_path, second.clock.exchange_ms()) as third:
        third.list()
        until(lambda: third.loaded() == len(KEYS))


def test_it_keeps_rows_once_the_process_that_did_was_killed(tmp_path: Path) -> None:
    with another_process(tmp_path / folder_of(Config())) as (process, _):
        successor = Launch(tmp_path)
        assert "another process" in successor.snapshotter.status().problem
        successor.start()
        successor.list()
        successor.fill()
        process.kill()
        process.wait()
        until_taken(successor)
    successor.close()
    assert len(list(successor.folder.glob("*.rows"))) == len(KEYS) + 1


def test_a_directory_that_is_free_but_of_no_use_is_given_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with launched(tmp_path) as first:
        second = Launch(tmp_path)
        second.start()
    shutil.rmtree(first.folder)
    first.folder.write_bytes(b"a file is in the way")

    def given_up() -> bool:
        second.time.at += 1.0
        return "exists" in second.snapshotter.status().problem

    until(given_up)
    second.close()
    assert len(caplog.records) == 2


@pytest.mark.parametrize("what", ["folder", "lock"])
def test_a_directory_that_cannot_be_used_causes_one_warning(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / folder_of(Config())
    if what == "folder":
        folder.write_bytes(b"a file is in the way")
    else:
        (folder / "lock").mkdir(parents=True)
    launch = Launch(tmp_path)
    launch.start()
    launch.list()
    launch.fill()
    launch.close()
    assert launch.cold() is False
    assert launch.snapshotter.status().problem
    assert len(caplog.records) == 1
    assert launch.snapshotter._thread is None
