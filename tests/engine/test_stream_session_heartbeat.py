from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.engine.stream_session import Heartbeat


def test_no_ping_is_sent_while_frames_come() -> None:
    heartbeat = Heartbeat(1.0, 6.0, now=100.0)
    for tenth in range(1_000, 1_200, 5):
        now = tenth / 10
        heartbeat.heard(now)
        assert not heartbeat.ping_due(now)
        assert not heartbeat.lost(now)
    assert heartbeat.next_check(119.5) == 1.0


def test_silence_is_pinged_once_and_then_given_up() -> None:
    heartbeat = Heartbeat(1.0, 6.0, now=100.0)
    assert not heartbeat.ping_due(100.9)
    assert heartbeat.ping_due(101.0)
    heartbeat.pinged(5_000.0, 101.0)
    assert not heartbeat.ping_due(105.0)
    assert heartbeat.next_check(101.0) == 5.0
    assert not heartbeat.lost(105.9)
    assert heartbeat.lost(106.0)


def test_a_pong_proves_the_moment_its_ping_was_sent() -> None:
    heartbeat = Heartbeat(1.0, 6.0, now=100.0)
    heartbeat.pinged(5_001.0, 101.5)
    assert heartbeat.ponged(103.0) == (5_001.0, 101.5)
    assert heartbeat.ponged(103.1) is None, "a pong without a ping proves nothing"
    assert not heartbeat.lost(108.0)
    assert heartbeat.ping_due(104.1)


def test_a_late_pong_proves_the_old_moment_only() -> None:
    heartbeat = Heartbeat(1.0, 6.0, now=100.0)
    heartbeat.pinged(5_001.0, 101.5)
    heartbeat.heard(103.0)
    assert not heartbeat.ping_due(104.5), "at most one is unanswered at a time"
    assert heartbeat.ponged(105.0) == (5_001.0, 101.5)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 3), st.sampled_from("hpoc")), max_size=40))
def test_nothing_is_due_between_checks(events: list[tuple[float, str]]) -> None:
    now, heartbeat = 100.0, Heartbeat(1.0, 6.0, now=100.0)
    for pause, event in events:
        check = heartbeat.next_check(now)
        assert check >= 0
        just_before = now + max(0.0, check - 1e-6)
        if check > 1e-3:
            assert not heartbeat.ping_due(just_before)
            assert not heartbeat.lost(just_before)
        assert heartbeat.ping_due(now + check + 1e-6) or heartbeat.lost(now + check + 1e-6)
        now += pause
        if event == "h":
            heartbeat.heard(now)
        elif event == "p" and heartbeat.ping_due(now):
            heartbeat.pinged(now, now)
        elif event == "o":
            heartbeat.ponged(now)
