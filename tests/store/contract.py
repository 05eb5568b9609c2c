"""What holds for every kind of data: run for each class of series in ``test_contract.py``.

Each kind brings an :class:`Exchange`: a small truth with the frames and the answers that the real one would send of it.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ats_sync.errors import MalformedAnswer
from ats_sync.feeds import Cause
from ats_sync.store.link import Link
from ats_sync.store.series import Origin, Series
from ats_sync.venue.endpoints import Request
from ats_sync.venue.payload import DecodeError

from ..venue.samples import compact

LINK, OTHER, THIRD = (Link(number, "market", 0.0) for number in (1, 2, 3))
ROUNDS = 12
"""Requests within which anything is closed."""
# The same properties run for every class; new examples at every run.
few = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.differing_executors, HealthCheck.too_slow, HealthCheck.data_too_large],
)


class Frame(NamedTuple):
    """A frame that arrives on a connection."""

    text: bytes
    event: int
    link: Link = LINK


class Answer(NamedTuple):
    """An answer that arrives; it was requested at exchange time ``at`` (ms)."""

    request: Request[Any]
    at: int
    body: bytes
    link: Link | None = None


Delivery = Frame | Answer


class Exchange(ABC):
    """What the exchange knows of one series until ``now`` (exchange ms), and what it would send of it."""

    now: int
    frames: Sequence[Frame] = ()
    """All that its stream has sent by then, in order."""
    in_order = False
    """Whether the frames of one connection must come in order, and an answer last, for the state to be decided."""
    most = 14
    """The most deliveries in one example."""

    @abstractmethod
    def series(self) -> Series:
        """Return a series that knows nothing."""

    @abstractmethod
    def shown(self, series: Any) -> object:
        """Return everything that readers can see of it at ``now``. Raises :class:`DecodeError` where they find it
        unusable."""

    def check(self, series: Any) -> None:
        """Assert what readers may rely on at any instant: nothing untrue is shown."""
        self.shown(series)

    def answer(self, request: Request[Any], at: int) -> bytes:
        """Return what REST says at exchange time ``at`` (ms)."""
        raise NotImplementedError

    def requests(self) -> Sequence[Request[Any]]:
        """Return what may be requested."""
        request = self.series().request(self.now, Cause.WARM_UP, LINK)
        return [request] if request is not None else []

    def ask(self, request: Request[Any], at: int, link: Link | None = None) -> Answer:
        return Answer(request, at, self.answer(request, at), link)

    def times(self) -> tuple[int, int]:
        """Return the exchange time (ms) of the first answer there is, and ``now``."""
        return self.now - 1_000, self.now


def deliver(series: Series, delivery: Delivery) -> None:
    """Merge a frame, or an answer as the store does. Raises :class:`DecodeError` or :class:`MalformedAnswer`."""
    if isinstance(delivery, Frame):
        series.apply(delivery.text, delivery.link)
        return
    request, at, body, link = delivery
    answer = request.decode(body)
    asked = Origin(at, request.rows, request.from_id, link)
    if not answer:
        series.check_empty(asked, lambda: False, lambda: False)
    series.replace(answer, asked)


def time_of(delivery: Delivery) -> int:
    return delivery.event if isinstance(delivery, Frame) else delivery.at


def deliveries(draw: Callable[..., Any], exchange: Exchange) -> list[Delivery]:
    """Return frames lost, doubled and late, and answers of any time, in an order that may happen."""
    links = (LINK, OTHER)
    picked: list[Delivery] = []
    if exchange.frames:
        indices = draw(st.lists(st.integers(0, len(exchange.frames) - 1), max_size=exchange.most))
        chosen = [(i, draw(st.sampled_from(links))) for i in (sorted(indices) if exchange.in_order else indices)]
        picked = [exchange.frames[i]._replace(link=link) for i, link in chosen]
    first, last = exchange.times()
    for request in exchange.requests():
        for _ in range(draw(st.integers(0, 2))):
            answer = exchange.ask(request, draw(st.integers(first, last)))
            picked.insert(draw(st.integers(0, len(picked))), answer)
    return picked[: exchange.most]


def shuffled(draw: Callable[..., Any], exchange: Exchange, events: list[Delivery]) -> list[Delivery]:
    """Return the same deliveries in another order, some of them twice."""
    again = [draw(st.sampled_from(events)) for _ in range(draw(st.integers(0, 4)))] if events else []
    if not exchange.in_order:
        return list(draw(st.permutations(events + again)))
    # Connections overtake each other, and a frame may be repeated at once; within a connection nothing overtakes.
    queues = [[event for event in events if isinstance(event, Frame) and event.link is link] for link in (LINK, OTHER)]
    queues.append([event for event in events if isinstance(event, Answer)])
    order: list[Delivery] = []
    while any(queues):
        queue = draw(st.sampled_from([queue for queue in queues if queue]))
        order += [queue[0]] * (1 + queue.pop(0).__class__.__name__.count("Frame") * draw(st.integers(0, 1)))
    return order


def latest(exchange: Exchange) -> list[Answer]:
    """Return what REST says about everything at ``now``."""
    return [exchange.ask(request, exchange.now) for request in exchange.requests()]


def settle(exchange: Exchange, series: Series) -> None:
    """Request what is missing until nothing is."""
    for _ in range(ROUNDS):
        read(exchange, series)  # which may find out that a frame is unusable
        at = series.answerable_from(exchange.now)
        request = series.request(at, Cause.REPAIR, LINK)
        if request is not None:
            deliver(series, exchange.ask(request, at, LINK))
            series.go_live(LINK)
        if read(exchange, series) and not series.unsettled(at):
            return
    raise AssertionError(f"not settled: {series.unsettled(at)!r}, {series.state(at)}")


def check_sound(series: Series, now: int) -> None:
    """Assert that the quick look says what the state says."""
    state = series.state(now)
    for alive in ([], [LINK], [OTHER, THIRD]):
        if (event := series.sound_event(now, alive)) >= 0:
            assert (event, state.suspected, state.doubt) == (state.event, "", "")
            assert state.link in alive
            assert not series.lacks_older()
    for since in (1, state.answered, state.answered + 1):
        if (event := series.polled_event(since)) >= 0:
            assert event == state.event
            assert 0 < since <= state.answered


def read(exchange: Exchange, series: Series) -> bool:
    """Read everything; return whether all of it is usable."""
    try:
        exchange.shown(series)
    except DecodeError:
        return False
    return True


# --- malformed ------------------------------------------------------------------------------------

WRONG: tuple[Any, ...] = (None, [], {}, "", "x", 1.5, True)


def malformed(draw: Callable[..., Any], text: bytes) -> bytes:
    """Return the payload cut, emptied, or with values that belong elsewhere or nowhere."""
    how = draw(st.sampled_from(("cut", "emptied", "swapped", "wrong", "missing")))
    if how == "cut":
        return text[: draw(st.integers(0, len(text) - 1))]
    value = json.loads(text)
    if how == "emptied":
        nothing = draw(st.sampled_from((None, {}, "", [], [[]], [None], [{}])))
        return compact(value | {"data": nothing} if isinstance(value, dict) and "stream" in value else nothing)
    places = _places(value, ())
    if not places:
        return text[:-1]
    path = draw(st.sampled_from([place for place in places if place[0] != "stream"] or places))
    at = _within(value, path[:-1])
    if how == "missing" and isinstance(at, dict):
        del at[path[-1]]
    elif how == "swapped":
        others = [place for place in places if type(_within(value, place)) is not type(at[path[-1]])]
        if others:
            other = draw(st.sampled_from(others))
            there = _within(value, other[:-1])
            at[path[-1]], there[other[-1]] = there[other[-1]], at[path[-1]]
    else:
        at[path[-1]] = draw(st.sampled_from([wrong for wrong in WRONG if type(wrong) is not type(at[path[-1]])]))
    return compact(value)


def _places(value: Any, path: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    """Return the path to every value that is neither an object nor an array."""
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return [place for name, each in items for place in _places(each, (*path, name))]
    return [path]


def _within(value: Any, path: tuple[Any, ...]) -> Any:
    for name in path:
        value = value[name]
    return value


# --- the contract ---------------------------------------------------------------------------------


class SeriesContract:
    """The properties. Subclasses name their exchange."""

    exchange: ClassVar[Callable[[Callable[..., Any]], Exchange]]
    """Draws one."""
    rows = False
    """Whether it keeps rows that are written down."""

    def drawn(self, data: st.DataObject) -> Exchange:
        return type(self).exchange(data.draw)

    # --- merging -------------------------------------------------------------------------------

    @few
    @given(data=st.data())
    def test_order_and_repetition_do_not_matter_nor_how_frames_and_answers_mix(self, data: st.DataObject) -> None:
        exchange = self.drawn(data)
        events = deliveries(data.draw, exchange)
        final: list[Delivery] = list(latest(exchange))
        one, other = exchange.series(), exchange.series()
        if exchange.in_order:
            orders = events + final, shuffled(data.draw, exchange, events) + final
        else:
            orders = events + final, shuffled(data.draw, exchange, events + final)
        for series, order in zip((one, other), orders, strict=True):
            for event in order:
                deliver(series, event)
                exchange.check(series)
        assert exchange.shown(one) == exchange.shown(other)
        settled = exchange.shown(one)
        for event in final if exchange.in_order else orders[1]:
            deliver(one, event)
        assert exchange.shown(one) == settled

    @few
    @given(data=st.data())
    def test_its_state_is_honest(self, data: st.DataObject) -> None:
        exchange = self.drawn(data)
        series = exchange.series()
        newest = 0
        assert series.state(exchange.now).event == series.state(exchange.now).answered == 0
        for event in deliveries(data.draw, exchange):
            deliver(series, event)
            newest = max(newest, time_of(event))
            state = series.state(exchange.now)
            assert state.event <= newest, "no later than what was merged"
            assert state.answered <= newest
            assert state.link is None or state.link.up
            exchange.check(series)
            check_sound(series, exchange.now)

    @few
    @given(data=st.data())
    def test_nothing_malformed_harms(self, data: st.DataObject) -> None:
        exchange = self.drawn(data)
        series = exchange.series()
        events = deliveries(data.draw, exchange) + list(latest(exchange))
        for event in events:
            deliver(series, event)
        victim = data.draw(st.sampled_from(events)) if events else None
        if victim is None:
            return
        before = exchange.shown(series)
        if isinstance(victim, Frame):
            victim = victim._replace(text=malformed(data.draw, victim.text))
        else:
            victim = victim._replace(body=malformed(data.draw, victim.body))
        try:
            deliver(series, victim)
        except (DecodeError, MalformedAnswer):
            assert exchange.shown(series) == before
        # What could not be seen at once is found by a reader, and repaired by the next answer.
        settle(exchange, series)
        for event in latest(exchange):
            deliver(series, event)
        assert read(exchange, series)
        exchange.check(series)

    # --- what it needs ---------------------------------------------------------------------------

    @few
    @given(data=st.data())
    def test_its_request_closes_what_is_missing(self, data: st.DataObject) -> None:
        exchange = self.drawn(data)
        series = exchange.series()
        for event in deliveries(data.draw, exchange):
            deliver(series, event)
        settle(exchange, series)
        assert series.unsettled(exchange.now) == ""
        assert not series.state(exchange.now).doubt
        assert not series.lacks_older()
        exchange.check(series)

    # --- liveness --------------------------------------------------------------------------------

    @few
    @given(data=st.data())
    def test_it_is_live_from_an_answer_until_it_is_suspected(self, data: st.DataObject) -> None:
        exchange = self.drawn(data)
        series = exchange.series()
        if not series.feed.own_stream:
            return
        now = exchange.now
        assert (series.live(), series.state(now).link) == (False, None)
        series.subscribed_on(LINK)
        assert not series.resume(LINK, now), "nothing has come on it"
        for event in deliveries(data.draw, exchange):
            deliver(series, event._replace(link=LINK))
            check_sound(series, now)
        settle(exchange, series)
        check_sound(series, now)
        state = series.state(now)
        assert (series.live(), state.link, state.suspected) == (True, LINK, "")
        assert series.hand_over(LINK, OTHER)
        assert series.state(now).link is OTHER
        series.hand_over(LINK, THIRD)
        assert series.state(now).link is OTHER, "it was not live on what was replaced"
        rows = exchange.shown(series)
        series.suspect("its stream is silent")
        state = series.state(now)
        assert (series.live(), state.link, state.suspected) == (False, None, "its stream is silent")
        check_sound(series, now)
        series.subscribed_on(THIRD)
        assert not series.resume(THIRD, now)
        settle(exchange, series)
        state = series.state(now)
        assert (series.live(), state.link, state.suspected) == (True, LINK, "")
        assert exchange.shown(series) == rows, "suspicion takes nothing away"

    # --- written down ----------------------------------------------------------------------------

    @few
    @given(data=st.data())
    def test_what_is_loaded_is_what_was_written(self, data: st.DataObject) -> None:
        exchange = self.drawn(data)
        series, other = exchange.series(), exchange.series()
        for event in deliveries(data.draw, exchange) + list(latest(exchange)):
            deliver(series, event)
        parts = list(series.dump())
        other.load(parts)
        if not self.rows:
            assert parts == []
            return
        assert parts
        assert list(other.dump()) == parts
        state = other.state(exchange.now)
        assert (other.live(), state.link, state.answered) == (False, None, 0)
        assert 0 < state.event <= exchange.now
        exchange.check(other)
        settle(exchange, other)
        settle(exchange, series)
        assert exchange.shown(other) == exchange.shown(series)
        other.load(parts)
        assert exchange.shown(other) == exchange.shown(series), "what is known stays"

    @few
    @given(data=st.data())
    def test_an_incomplete_dump_changes_nothing(self, data: st.DataObject) -> None:
        exchange = self.drawn(data)
        series, other = exchange.series(), exchange.series()
        for event in deliveries(data.draw, exchange) + list(latest(exchange)):
            deliver(series, event)
        before = exchange.shown(other), other.state(exchange.now)
        for parts in self.spoilt(data.draw, list(series.dump())):
            with pytest.raises(DecodeError):
                other.load(parts)
            assert (exchange.shown(other), other.state(exchange.now)) == before

    def spoilt(self, draw: Callable[..., Any], parts: list[bytes]) -> list[list[bytes]]:
        if not parts:
            return [[b""], [b"{}"], [b"null", b"[]"]]
        header, *rows = parts
        number = draw(st.integers(0, len(parts) - 1))
        cut, flipped = parts[:], parts[:]
        cut[number] = parts[number][: draw(st.integers(0, len(parts[number]) - 1))]
        at = draw(st.integers(0, len(parts[number]) - 1))
        flipped[number] = parts[number][:at] + bytes([parts[number][at] ^ 1]) + parts[number][at + 1 :]
        return [cut, flipped, rows, [header], [header, *rows, *rows], [b"", *rows]]
