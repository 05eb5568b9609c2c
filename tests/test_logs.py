from __future__ import annotations

import logging

import pytest

from ats_sync import logs
from ats_sync.logs import EVERY, MOST_KINDS
from ats_sync.logs import RateLimitedLogger as Log


class Hand:
    def __init__(self) -> None:
        self.now = 10_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Hand:
    hand = Hand()
    monkeypatch.setattr(logs, "time", hand)
    return hand


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Log:
    caplog.set_level(logging.INFO, logger="ats_sync.tests")
    return Log(logging.getLogger("ats_sync.tests"))


def test_the_first_of_a_kind_is_logged_at_once(hand: Hand, log: Log, caplog: pytest.LogCaptureFixture) -> None:
    log.warning("a", "lost %s", "one")
    log.info("b", "100 % plain")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "lost one"),
        ("INFO", "100 % plain"),
    ]


def test_repetitions_are_left_out_and_counted(hand: Hand, log: Log, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(50):
        log.warning("a", "lost %s", "one")
        hand.now += 0.1
    assert len(caplog.records) == 1
    hand.now += EVERY
    log.warning("a", "lost %s", "two")
    assert caplog.records[-1].getMessage() == "lost two (and 49 more like it)"
    hand.now += EVERY
    log.warning("a", "lost %s", "three")
    assert caplog.records[-1].getMessage() == "lost three"


def test_kinds_do_not_silence_each_other(hand: Hand, log: Log, caplog: pytest.LogCaptureFixture) -> None:
    for kind in "abcabc":
        log.warning(kind, kind)
    assert [record.getMessage() for record in caplog.records] == ["a", "b", "c"]


def test_an_endless_number_of_kinds_takes_bounded_memory(hand: Hand, log: Log) -> None:
    for number in range(10 * MOST_KINDS):
        log.info(str(number), "x")
    assert len(log._seen) <= MOST_KINDS


def test_an_exception_is_logged_with_its_trace(hand: Hand, log: Log, caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("inside")
    except ValueError:
        log.exception("a", "outside")
    (record,) = caplog.records
    assert record.levelname == "ERROR"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)


def test_the_root_logger_is_left_alone() -> None:
    assert not logging.getLogger("ats_sync").handlers or all(
        isinstance(handler, logging.NullHandler) for handler in logging.getLogger("ats_sync").handlers
    )


def test_a_forked_child_can_log(hand: Hand, log: Log, caplog: pytest.LogCaptureFixture) -> None:
    log._lock.acquire()
    log.after_fork()
    log.warning("a", "still here")
    assert len(caplog.records) == 1
