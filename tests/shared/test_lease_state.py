from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ats_sync.shared.lease_state import ASK_EVERY, RENEW_EVERY, TTL, LeaseState, Role


def test_it_stands_by_and_requests_the_lease_often() -> None:
    lease = LeaseState()
    assert (lease.look(0.0), lease.due()) == (Role.STANDBY, 0.0)
    lease.refused(7, 10.0)
    assert (lease.role, lease.epoch, lease.due()) == (Role.STANDBY, 7, 10.0 + ASK_EVERY)
    lease.unanswered(11.0)
    assert (lease.role, lease.due()) == (Role.STANDBY, 11.0 + ASK_EVERY)


def test_it_leads_from_the_time_of_its_request_and_no_longer_than_the_lease() -> None:
    lease = LeaseState()
    lease.acquired(5, sent=10.0)
    assert (lease.look(10.3), lease.epoch, lease.due()) == (Role.LEADER, 5, 10.0 + RENEW_EVERY)
    lease.renewed(sent=10.5)
    assert lease.look(10.5 + TTL - 0.01) is Role.LEADER
    assert lease.look(10.5 + TTL) is Role.LOST
    lease.renewed(sent=12.4)  # an answer that came too late
    assert lease.look(12.5) is Role.LOST


def test_a_leader_without_answers_leads_until_its_lease_ends() -> None:
    lease = LeaseState()
    lease.acquired(5, sent=0.0)
    now = RENEW_EVERY
    while now < TTL:
        lease.unanswered(now)
        assert lease.role is Role.LEADER
        assert lease.due() <= TTL
        now += 0.3
    lease.unanswered(TTL)
    assert lease.role is Role.LOST
    lease.acquired(6, sent=TTL + 1)
    assert lease.role is Role.LEADER


def test_a_lease_that_is_denied_is_requested_again_at_once() -> None:
    lease = LeaseState()
    lease.acquired(5, sent=0.0)
    lease.denied(1.0)
    assert (lease.role, lease.epoch, lease.due()) == (Role.LOST, 5, 1.0)
    lease.refused(9, 1.1)
    assert (lease.role, lease.epoch) == (Role.STANDBY, 9)


def test_a_process_that_hands_the_lease_over_leaves_time_for_others() -> None:
    lease = LeaseState()
    lease.acquired(5, sent=0.0)
    lease.released(1.0, 1.0)
    assert (lease.role, lease.due()) == (Role.STANDBY, 2.0)


@pytest.mark.parametrize("wrong", [{"ttl": 0.5}, {"ask_every": 0.0}, {"ask_every": 0.6}, {"renew_every": 2.0}])
def test_times_that_cannot_work_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="lease"):
        LeaseState(**wrong)


lags = st.floats(0.0, 3.0)


@given(st.lists(st.tuples(st.integers(0, 2), lags, lags, st.booleans()), max_size=60))
def test_no_two_lead_at_once_however_slow_the_store(steps: list[tuple[int, float, float, bool]]) -> None:
    """Three processes and one store; requests and answers take any time, and some answers are lost."""
    processes = [LeaseState() for _ in range(3)]
    holder, ends, epoch, now = -1, 0.0, 0, 0.0
    epochs: list[int] = []
    for number, there, back, lost in steps:
        me, sent = processes[number], max(now, processes[number].due())
        leads = me.look(sent) is Role.LEADER
        now = sent + there
        mine = holder == number and ends > now and me.epoch == epoch
        if leads and mine:
            ends = now + TTL
        elif not leads and (ends <= now or holder == number):
            epoch = max(epoch, me.epoch) + 1
            holder, ends, mine = number, now + TTL, True
            epochs.append(epoch)
        now += back
        if lost:
            me.unanswered(now)
        elif leads:
            me.renewed(sent) if mine else me.denied(now)
        elif mine:
            me.acquired(epoch, sent)
        else:
            me.refused(epoch, now)
        leaders = [each for each in processes if each.look(now) is Role.LEADER]
        assert len(leaders) <= 1
        for leader in leaders:
            assert (leader.epoch, leader is processes[holder]) == (epoch, True)
            assert ends > now
    assert epochs == sorted(set(epochs))
