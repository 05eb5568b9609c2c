from __future__ import annotations

import itertools
import random

import pytest

from ats_sync.engine.jobs import Fetch
from ats_sync.engine.moment import Moment
from ats_sync.engine.polls import (
    CLOCK_AGAIN_AFTER,
    FRESH,
    LEAST_PAUSE,
    SLEPT,
    UNCERTAIN,
    UNCERTAIN_AGAIN_AFTER,
    Polls,
)
from ats_sync.engine.schedule import DueQueue
from ats_sync.engine.state import State
from ats_sync.errors import ExchangeFailure
from ats_sync.feeds import CLOCK, FEEDS, LISTINGS, Cause, Key, Kind
from ats_sync.store.periods import OpenInterestSeries
from ats_sync.store.series import Origin
from ats_sync.venue.endpoints import open_interest_hist

from ..venue.samples import MIDNIGHT
from .bench import Bench, deep, failing

INTEREST = Key(Kind.OPEN_INTEREST, "AUSDT", "1h")
KLINES = Key(Kind.KLINES, "AUSDT", "1m")

# --- in the engine --------------------------------------------------------------------------------


def test_the_clock_is_requested_first_and_alone() -> None:
    bench = Bench({"AUSDT": 12})
    bench.run(0.09)
    assert [fetch.key.kind for _, fetch in bench.asked] == [Kind.CLOCK]
    assert bench.connects == []
    bench.run(0.1)
    assert len(bench.asked) > 4
    assert sorted(route for _, route in bench.connects) == ["market", "public"]


def test_without_the_time_other_requests_follow_after_a_while() -> None:
    bench = Bench({"AUSDT": 12}, follow=False)
    bench.fails = failing(Kind.CLOCK, ExchangeFailure("x"), times=3)
    bench.follow("AUSDT")
    assert bench.run(30, until=bench.all_live)
    assert [fetch.key.kind for _, fetch in bench.asked[:3]] == [Kind.CLOCK] * 3


def test_the_backstop_goes_on_after_a_reconnect() -> None:
    bench = Bench([deep("AUSDT", 10)])
    bench.warm()
    bench.cut_route("market")
    bench.run(300)
    assert len(bench.of(Kind.TICKERS)) >= 3


def test_what_concerns_every_symbol_is_requested_again_once_the_host_answers() -> None:
    bench = Bench([deep("AUSDT", 10)])
    bench.warm()
    broken = True
    bench.fails = lambda fetch: ExchangeFailure("x") if broken else None
    poll(bench, LISTINGS)
    bench.run(40)
    assert bench.run(20, until=lambda: bench.of(Kind.LISTINGS)[-1][0] > bench.seconds - 0.1)
    bench.run(0.3)
    broken = False
    asked = len(bench.of(Kind.LISTINGS))
    poll(bench, CLOCK)
    bench.run(1)
    assert len(bench.of(Kind.LISTINGS)) == asked + 1


def test_one_failure_is_not_an_outage() -> None:
    bench = Bench([deep("AUSDT", 10)])
    bench.warm()
    bench.fails = failing(Kind.LISTINGS, ExchangeFailure("x"), times=1)
    poll(bench, LISTINGS)
    bench.run(0.2)
    asked = len(bench.of(Kind.LISTINGS))
    poll(bench, CLOCK)
    bench.run(0.4)
    assert len(bench.of(Kind.LISTINGS)) == asked
    assert bench.run(2, until=lambda: len(bench.of(Kind.LISTINGS)) == asked + 1)


def poll(bench: Bench, key: Key) -> None:
    bench.engine.reconciler.polls.again(key, bench.at(), 0.0)


def test_polls_never_all_come_at_once() -> None:
    bench = Bench([deep(f"S{i}USDT", 0, minutes=12) for i in range(20)])
    bench.warm()
    bench.run(600)
    times = [when for when, _ in bench.of(Kind.OPEN_INTEREST, cause=Cause.POLL)]
    assert len(times) >= 40
    assert max(sum(start <= when < start + 10.0 for when in times) for start in times) <= 7
    for name in bench.symbols:
        own = [when for when, _ in bench.of(Kind.OPEN_INTEREST, symbol=name)]
        bound = FEEDS[Kind.OPEN_INTEREST].max_age(streams=True)
        assert bound is not None
        assert max(b - a for a, b in itertools.pairwise(own)) < bound
        assert all(fetch.request.rows <= 3 for _, fetch in bench.of(Kind.OPEN_INTEREST, symbol=name, cause=Cause.POLL))


# --- by themselves --------------------------------------------------------------------------------


class Scene:
    """The clock, a polled series and a streamed one, all of which are known."""

    def __init__(self) -> None:
        self.states = {key: State(key, FEEDS[key.kind], known=True) for key in (CLOCK, INTEREST, KLINES)}
        self.queue = DueQueue(self.states, random.Random(1))
        self.polls = Polls(self.states, self.queue, random.Random(2), streams=True)
        self.steady = 1_000.0

    def at(self, later: float = 0.0, *, slept: float = 0.0, proven: bool = True, uncertain: int = 0) -> Moment:
        self.steady += later
        exchange = MIDNIGHT + round((self.steady - 1_000.0 + slept) * 1000)
        return Moment(self.steady, exchange, proven, uncertain)

    def due(self) -> set[Key]:
        """Return what is due by now, each once."""
        found = set()
        while (state := self.queue.pop(self.steady)) is not None:
            state.due = None
            found.add(state.key)
        return found


def test_the_time_is_requested_again_while_it_is_in_doubt_or_not_narrow() -> None:
    scene = Scene()
    scene.polls.check(scene.at())
    assert scene.due() == set()
    scene.polls.check(scene.at(proven=False))
    assert scene.due() == {CLOCK}
    scene.polls.check(scene.at(CLOCK_AGAIN_AFTER - 1, proven=False))
    assert scene.due() == set()
    scene.polls.check(scene.at(1, proven=False))
    assert scene.due() == {CLOCK}
    scene.polls.check(scene.at(UNCERTAIN_AGAIN_AFTER - 1, uncertain=UNCERTAIN + 1))
    assert scene.due() == set()
    scene.polls.check(scene.at(1, uncertain=UNCERTAIN + 1))
    assert scene.due() == {CLOCK}


def test_after_a_sleep_of_the_machine_everything_polled_is_requested_at_once() -> None:
    scene = Scene()
    scene.polls.check(scene.at())
    scene.polls.check(scene.at(1, slept=SLEPT - 1))
    assert scene.due() == set()
    scene.polls.check(scene.at(1, slept=2 * SLEPT))
    assert scene.due() == {CLOCK, INTEREST}
    scene.polls.check(scene.at(1, slept=2 * SLEPT))
    assert scene.due() == set()


def test_what_was_answered_while_the_time_was_in_doubt_is_requested_again_once_it_is_certain() -> None:
    scene = Scene()
    for key in (INTEREST, KLINES):
        scene.polls.answered(scene.states[key], scene.at(proven=False))
    scene.polls.answered(scene.states[CLOCK], scene.at())
    assert scene.due() == {INTEREST}
    scene.polls.answered(scene.states[CLOCK], scene.at())
    assert scene.due() == set()


def test_an_acknowledgement_is_dated_before_the_time_that_is_known_now() -> None:
    scene = Scene()
    state = scene.states[KLINES]
    for noted in (MIDNIGHT - 5, MIDNIGHT + 5):
        state.subscribed = noted
        scene.polls.answered(scene.states[CLOCK], scene.at())
        assert state.subscribed == min(noted, MIDNIGHT)


def test_a_poll_waits_for_the_one_under_way_and_not_for_a_later_one() -> None:
    scene = Scene()
    state = scene.states[INTEREST]
    scene.polls.within(INTEREST, scene.at(), 50.0)
    assert state.due == scene.steady + 50.0
    scene.polls.again(INTEREST, scene.at(), 30.0)
    assert scene.due() == {INTEREST}
    state.fetching = Fetch(INTEREST, open_interest_hist("AUSDT", "1h", 5), Cause.POLL)
    scene.polls.again(INTEREST, scene.at(60.0), 30.0)
    assert scene.due() == set()


@pytest.mark.parametrize("late", [0, 600])
def test_an_answer_that_came_late_is_requested_again_before_it_is_too_old(late: int) -> None:
    scene = Scene()
    state, feed = scene.states[INTEREST], FEEDS[Kind.OPEN_INTEREST]
    series = OpenInterestSeries("AUSDT", "1h", 500)
    series._answered = MIDNIGHT - late * 1000
    request = open_interest_hist("AUSDT", "1h", 5)
    scene.polls.settled(state, series, Fetch(INTEREST, request, Cause.POLL), scene.at())
    assert feed.poll is not None
    assert feed.poll.max_age is not None
    assert state.due is not None
    assert state.due - scene.steady == pytest.approx(min(feed.poll.every, max(1.0, 0.9 * feed.poll.max_age - late)))
    state.due = None
    scene.polls.settled(scene.states[KLINES], series, Fetch(KLINES, request, Cause.REPAIR), scene.at())
    assert scene.states[KLINES].due is None


# --- what another process polls -------------------------------------------------------------------

POLL = FEEDS[Kind.OPEN_INTEREST].poll
assert POLL is not None
assert POLL.max_age is not None
SERVES_FOR = round((FRESH * POLL.max_age - LEAST_PAUSE) * 1000)
"""How old (ms) an answer of another process may be."""


def test_an_answer_of_another_process_serves_until_it_would_be_due_again_at_once() -> None:
    scene = Scene()
    state, at = scene.states[INTEREST], scene.at()
    assert scene.polls.since(state, at) == at.exchange - SERVES_FOR
    assert scene.polls.since(state, scene.at(proven=False)) is None
    state.outdated_until = at.exchange - 5_000
    assert scene.polls.since(state, at) == at.exchange - 5_000
    assert scene.polls.since(scene.states[KLINES], at) is None
    for key in (CLOCK, LISTINGS):
        assert scene.polls.since(State(key, FEEDS[key.kind]), at) is None, "it shares no limit"


class Follower:
    """A process that takes what another one polls, whose answers were requested at ``leader`` (seconds)."""

    def __init__(self, leader: list[float]) -> None:
        self.scene = Scene()
        self.series = OpenInterestSeries("AUSDT", "1h", 500)
        self.requested: list[float] = []
        self.ages: list[float] = []
        self._begun = self.scene.steady
        self._leader = leader

    def run(self, seconds: float) -> None:
        state, cause = self.scene.states[INTEREST], Cause.WARM_UP
        while (passed := self.scene.steady - self._begun) < seconds:
            at = self.scene.at()
            since = self.scene.polls.since(state, at)
            assert since is not None
            taken = max(each for each in self._leader if each + 0.5 <= passed)  # it is written a while later
            requested_at = MIDNIGHT + round(taken * 1000)
            if requested_at < since:
                self.requested.append(passed)
                requested_at = at.exchange
            self.series.replace([], Origin(requested_at, 2))
            state.due = None
            self.scene.polls.settled(state, self.series, Fetch(INTEREST, REQUEST, cause), at)
            cause = Cause.POLL
            assert state.due is not None
            self.scene.steady = state.due
            self.ages.append((self.scene.at().exchange - self.series.state(0).answered) / 1000)


REQUEST = open_interest_hist("AUSDT", "1h", 2)
LATE = 0.3
"""How much later (seconds) than it was due a poll is answered."""


@pytest.mark.parametrize("first", range(-265, 0, 20))
def test_whoever_follows_another_process_needs_no_poll_of_its_own(first: int) -> None:
    assert POLL is not None
    follower = Follower([first + count * (POLL.every + LATE) for count in range(40)])
    follower.run(7_200)
    assert follower.requested == []
    assert len(follower.ages) <= 2 * 7_200 / POLL.every + 2
    assert max(follower.ages) <= SERVES_FOR / 1000 + LEAST_PAUSE


@pytest.mark.parametrize("first", range(-265, 0, 20))
def test_whoever_followed_another_process_polls_itself_before_its_answers_are_too_old(first: int) -> None:
    assert POLL is not None
    assert POLL.max_age is not None
    follower = Follower([first + count * (POLL.every + LATE) for count in range(5)])
    last = first + 4 * (POLL.every + LATE)
    follower.run(7_200)
    assert last < follower.requested[0] <= last + FRESH * POLL.max_age
    assert max(follower.ages) <= FRESH * POLL.max_age
    pauses = [later - sooner for sooner, later in itertools.pairwise(follower.requested)]
    assert pauses == pytest.approx([POLL.every] * len(pauses))
