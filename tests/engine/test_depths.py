"""What the engine requests for full order books, on a virtual clock."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import replace

import pytest

from ats_sync.config import Config
from ats_sync.engine.engine import Engine
from ats_sync.engine.jobs import Fetch
from ats_sync.engine.moment import Moment
from ats_sync.engine.quality import QualityMeter
from ats_sync.engine.reconciler import Reconciler
from ats_sync.engine.remedies import GIVEN_UP_FOR, Remedy
from ats_sync.errors import RequestTimeout
from ats_sync.feeds import FEEDS, Cause, Key, Kind
from ats_sync.store.depth import (
    HOLES_MOST,
    HOLES_WITHIN,
    READ_WITHIN,
    SUSPENDED_FOR,
    WIDENED_EVERY,
    WIDENED_IN_NEED,
    DepthSeries,
)
from ats_sync.store.link import Link
from ats_sync.store.market import MarketStore
from ats_sync.store.order import LAGS_AT_MOST
from ats_sync.store.series import Origin
from ats_sync.venue import endpoints
from ats_sync.venue.books import Book

from ..store.depth_market import BEGAN, STREAM, Market
from ..venue.samples import frame

DEPTH_AUDIT_EVERY = 600.0
DEPTH_AGAIN_AFTER = FEEDS[Kind.DEPTH].second_try or 0.0

KEY = Key(Kind.DEPTH, "BTCUSDT")
LIGHT = Key(Kind.BOOK, "BTCUSDT")
STEP = 0.1


class Desk:
    """One full book, its market, and an exchange that answers its requests."""

    def __init__(self, *, asked: int = 100, levels: int = 30, seed: int = 3) -> None:
        self.now = 1_000.0
        self.store = MarketStore(Config(), lambda: self.now)
        self.reconciler = Reconciler(self.store, random.Random(5), streams=True)
        self.store.follow([KEY, LIGHT])
        self.book: DepthSeries = self.store.depth("BTCUSDT")
        self.book.note_read(asked, self.now)
        self.market = Market(seed, levels)
        self.link = Link(1, "public", self.exchange() / 1000)
        self.reconciler.follow([KEY], self.at())
        self.sent: list[tuple[float, Fetch]] = []
        self.latency = 0.05

    def exchange(self) -> int:
        return BEGAN + int(self.now * 1000)

    def at(self) -> Moment:
        return Moment(self.now, self.exchange())

    def acknowledge(self, link: Link | None = None) -> None:
        if link is not None:
            self.link = link
        self.reconciler.acknowledged(KEY, self.link, self.at())
        self.tick()

    def tick(self) -> None:
        self.link.advance(self.exchange() / 1000, self.exchange() / 1000)
        self.reconciler.tick(self.at())
        self.sent += [(self.now, fetch) for fetch in self.reconciler.fetches if fetch.key == KEY]
        self.reconciler.fetches.clear()

    def run(self, seconds: float, each: Callable[[], None] = lambda: None) -> None:
        """Let time pass; requests are answered from the market's state at that moment."""
        end = self.now + seconds
        while self.now < end:
            self.now += STEP
            each()
            self.tick()
            self.answer_all()

    def answer_all(self) -> None:
        for _, fetch in self.sent:
            if fetch is self.reconciler.states[KEY].fetching:
                self.answer(fetch, self.rest(fetch.request.rows))

    def rest(self, limit: int) -> Book:
        return replace(self.market.rest(limit), time=self.exchange())

    def answer(self, fetch: Fetch, book: Book) -> None:
        self.book.replace(book, Origin(self.exchange(), fetch.request.rows, link=fetch.link))
        self.reconciler.fetched(fetch, None, self.at())
        self.tick()

    def event(self, *, lost: bool = False) -> None:
        self.market.change(3)
        _, text = self.market.event()
        if not lost:
            notice = self.book.apply(text, self.link)
            if notice is not None:
                self.reconciler.changed([notice], self.at())

    def hole(self) -> None:
        self.event(lost=True)
        self.event()

    def requests(self) -> list[tuple[Cause, int, int]]:
        """Return cause, levels and weight of what was sent since the last call."""
        found = [(fetch.cause, fetch.request.rows, fetch.request.weight) for _, fetch in self.sent]
        assert all(fetch.request == endpoints.depth("BTCUSDT", fetch.request.rows) for _, fetch in self.sent)
        self.sent.clear()
        return found


def live(desk: Desk) -> Desk:
    desk.acknowledge()
    desk.event()
    desk.run(0.3)
    assert desk.book.live()
    desk.requests()
    return desk


@pytest.mark.parametrize(
    ("asked", "limit", "weight"), [(21, 500, 10), (100, 500, 10), (101, 1000, 20), (1000, 1000, 20)]
)
def test_a_snapshot_of_the_requested_size_follows_the_acknowledgement(asked: int, limit: int, weight: int) -> None:
    desk = Desk(asked=asked)
    desk.run(30)
    assert desk.requests() == [], "without its stream a snapshot is of no use"
    desk.acknowledge()
    assert desk.requests() == [(Cause.WARM_UP, limit, weight)]
    desk.answer(desk.reconciler.states[KEY].fetching or pytest.fail("nothing is asked"), desk.rest(limit))
    assert desk.book.live()
    desk.run(60, desk.event)
    assert desk.requests() == []
    assert desk.reconciler.ready(KEY)


def test_a_snapshot_that_is_older_than_the_first_event_is_followed_by_another() -> None:
    desk = Desk()
    old = desk.market.rest(500)
    desk.event(lost=True)
    desk.acknowledge()
    desk.event()
    (_, fetch), *_ = desk.sent
    desk.answer(fetch, old)
    assert not desk.book.live()
    desk.run(DEPTH_AGAIN_AFTER + 0.2)
    assert desk.requests() == [(Cause.WARM_UP, 500, 10)] * 2
    assert desk.book.live()


def test_a_replica_that_stays_behind_is_requested_less_and_less_often() -> None:
    desk = Desk()
    old = desk.market.rest(500)
    desk.event(lost=True)
    desk.rest = lambda limit: old  # type: ignore[method-assign]
    desk.acknowledge()
    desk.event()
    desk.run(60)
    assert not desk.book.live()
    assert 4 <= len(desk.requests()) <= 9


def test_a_book_at_rest_is_live_once_an_answer_shows_its_state_before_the_subscription() -> None:
    """Answers are older than the subscription, from a replica that lags or because nothing has changed for that
    long."""
    desk = Desk()
    old = desk.rest(500)
    desk.rest = lambda limit: old  # type: ignore[method-assign]
    desk.run(1)
    desk.acknowledge()
    desk.run(LAGS_AT_MOST / 1000 - STEP)
    assert not desk.book.live()
    desk.run(3)
    assert desk.book.live()
    assert desk.requests() == [(Cause.WARM_UP, 500, 10)] * 3


def test_a_hole_is_repaired_at_once() -> None:
    desk = live(Desk())
    desk.hole()
    assert not desk.book.live()
    desk.run(0.3)
    assert desk.requests() == [(Cause.REPAIR, 500, 10)]
    assert desk.book.live()
    assert desk.reconciler.states[KEY].live_once


def test_a_failed_snapshot_is_requested_again() -> None:
    desk = Desk()
    desk.acknowledge()
    (_, fetch), *_ = desk.sent
    desk.reconciler.fetched(fetch, RequestTimeout("no luck"), desk.at())
    desk.run(3)
    assert desk.book.live()


def test_a_reconnect_brings_a_snapshot_unless_the_stream_continues_where_it_ended() -> None:
    desk = live(Desk())
    desk.link.up = False
    desk.reconciler.lost(desk.link, desk.at())
    desk.run(10)
    assert desk.requests() == []
    desk.link = Link(2, "public", desk.exchange() / 1000)
    desk.event()
    desk.acknowledge()
    assert desk.book.live()
    assert desk.requests() == []
    desk.link.up = False
    desk.reconciler.lost(desk.link, desk.at())
    desk.event(lost=True)
    desk.acknowledge(Link(3, "public", desk.exchange() / 1000))
    desk.run(0.2)
    assert desk.requests() == [(Cause.REPAIR, 500, 10)]
    assert desk.book.live()


def test_a_hand_over_requests_nothing() -> None:
    desk = live(Desk())
    old, desk.link = desk.link, Link(2, "public", desk.exchange() / 1000)
    desk.reconciler.moved(KEY, desk.link, desk.at())
    old.up = False
    desk.run(5)
    assert desk.book.live(), "also where nothing has changed since"
    desk.run(5, desk.event)
    assert desk.requests() == []
    assert desk.book.live()


def test_a_book_is_audited_every_ten_minutes() -> None:
    desk = live(Desk())
    began = desk.now
    desk.run(3 * DEPTH_AUDIT_EVERY, lambda: desk.event() if desk.market.random.random() < 0.2 else None)
    moments = [at - began for at, _ in desk.sent]
    assert set(desk.requests()) == {(Cause.AUDIT, 500, 10)}
    assert 3 <= len(moments) <= 5
    assert all(b - a >= 0.65 * DEPTH_AUDIT_EVERY for a, b in itertools.pairwise(moments))
    assert desk.book.counts().mismatches == 0
    assert desk.book.counts().audited >= 3


def test_an_audit_finds_a_wrong_book() -> None:
    desk = live(Desk())
    desk.book.read(1)
    sides = desk.book._sides
    assert sides is not None
    sides[0].apply({1.0: ("1.0", "5")})
    desk.run(DEPTH_AUDIT_EVERY)
    assert desk.book.counts().mismatches == 1
    found = desk.book.read(100)
    assert found is not None
    assert found.bids == desk.market.history[desk.market.update_id][0]


class TestTooManyHoles:
    def holes(self, desk: Desk, count: int, *, every: float) -> None:
        for _ in range(count):
            desk.hole()
            desk.run(every)

    def test_a_book_with_too_many_is_suspended_for_a_while(self) -> None:
        desk = live(Desk())
        self.holes(desk, HOLES_MOST, every=1.0)
        assert desk.book.live()
        assert desk.requests() == [(Cause.REPAIR, 500, 10)] * HOLES_MOST
        desk.hole()
        assert not desk.book.live()
        assert "suspended" in desk.book.state(0).suspected
        desk.run(SUSPENDED_FOR - 5, desk.event)
        assert desk.requests() == []
        assert not desk.book.live()
        desk.run(10, desk.event)
        assert desk.requests() == [(Cause.REPAIR, 500, 10)]
        assert desk.book.live()
        assert desk.book.suspended == ""
        self.holes(desk, HOLES_MOST, every=1.0)
        assert desk.book.live(), "what happened before the pause no longer counts"

    def test_rare_holes_are_repaired_for_ever(self) -> None:
        desk = live(Desk())
        self.holes(desk, 4 * HOLES_MOST, every=HOLES_WITHIN / HOLES_MOST)
        assert desk.book.live()
        assert desk.book.holes == 4 * HOLES_MOST

    def test_reconnects_are_not_holes(self) -> None:
        desk = live(Desk())
        for number in range(2, 12):
            desk.link.up = False
            desk.reconciler.lost(desk.link, desk.at())
            desk.event(lost=True)
            desk.link = Link(number, "public", desk.exchange() / 1000)
            desk.event()
            desk.acknowledge()
            desk.run(1.0)
            assert desk.book.live()
        assert not desk.book.suspended

    def test_a_snapshot_that_was_under_way_changes_nothing(self) -> None:
        desk = live(Desk())
        self.holes(desk, HOLES_MOST, every=1.0)
        desk.event(lost=True)
        desk.event()
        desk.requests()
        assert desk.book.suspended
        assert not desk.book.live()
        desk.run(5)
        assert desk.requests() == []

    def test_a_connection_lost_during_the_suspension_changes_nothing(self) -> None:
        desk = live(Desk())
        self.holes(desk, HOLES_MOST + 1, every=1.0)
        assert desk.book.suspended
        desk.requests()
        desk.link.up = False
        desk.reconciler.lost(desk.link, desk.at())
        desk.acknowledge(Link(2, "public", desk.exchange() / 1000))
        desk.run(SUSPENDED_FOR / 2)
        assert desk.requests() == []
        desk.run(SUSPENDED_FOR / 2 + 5)
        assert desk.book.live()


class TestRoomToMove:
    def falls(self, desk: Desk, ticks: int) -> None:
        """Let the price fall through this many levels of bids."""
        desk.market.history.clear()
        desk.market._move(-ticks)
        desk.market.update_id += 1
        desk.event()

    def read(self, desk: Desk, limit: int) -> bool:
        desk.book.note_read(limit, desk.now)
        return desk.book.read(limit) is not None

    def test_a_book_with_few_levels_left_gets_a_new_snapshot_before_they_run_out(self) -> None:
        desk = live(Desk(levels=800))
        assert desk.book.covers(500 - 10)
        assert not desk.book.covers(600)
        self.falls(desk, 200)
        assert self.read(desk, 100)
        desk.run(3)
        assert desk.requests() == []
        self.falls(desk, 60)
        assert self.read(desk, 100), "a hundred are still there"
        desk.run(3)
        assert desk.requests() == [(Cause.REPAIR, 500, 10)]
        assert desk.book.covers(400)
        assert desk.book.counts().mismatches == 0

    def test_no_snapshot_is_requested_while_nobody_reads(self) -> None:
        desk = live(Desk(levels=800))
        assert self.read(desk, 100)
        desk.run(READ_WITHIN + 1)
        self.falls(desk, 450)
        desk.book.read(1)
        desk.run(20)
        assert desk.requests() == []
        assert not self.read(desk, 100)
        desk.run(3)
        assert desk.requests() == [(Cause.REPAIR, 500, 10)]
        assert self.read(desk, 100)

    def test_a_price_that_runs_away_brings_the_next_one_sooner(self) -> None:
        desk = live(Desk(levels=3_000))
        for _ in range(2):
            self.falls(desk, 370)
            assert self.read(desk, 100)
            desk.run(WIDENED_IN_NEED + 1)
        assert len(desk.requests()) == 2
        assert self.read(desk, 100)

    def test_snapshots_are_no_more_than_one_every_half_minute(self) -> None:
        # A snapshot shows a thousand levels, so every step of the price uses up what was requested.
        desk = live(Desk(asked=1000, levels=1_300))
        for _ in range(4 * int(WIDENED_EVERY)):
            self.falls(desk, 1)
            self.read(desk, 1000)
            desk.run(1.0)
        assert 3 <= len(desk.requests()) <= 5
        assert desk.book.live()


class TestSilentStreams:
    def quote(self, desk: Desk) -> None:
        bids, asks = desk.market.history[desk.market.update_id]
        data = {
            "e": "bookTicker", "u": desk.market.update_id, "s": "BTCUSDT", "b": bids[0][0], "B": bids[0][1],
            "a": asks[0][0], "A": asks[0][1], "T": desk.exchange(), "E": desk.exchange(),
        }  # fmt: skip
        desk.store.quotes.apply(frame("!bookTicker", data), desk.link)

    def light(self, desk: Desk) -> None:
        bids, asks = desk.market.history[desk.market.update_id]
        data = {
            "e": "depthUpdate", "E": desk.exchange(), "T": desk.exchange(), "s": "BTCUSDT", "U": 1,
            "u": desk.market.update_id, "pu": 0, "b": bids[:20], "a": asks[:20],
        }  # fmt: skip
        desk.store.book("BTCUSDT").apply(frame("btcusdt@depth20@100ms", data), desk.link)

    @pytest.mark.parametrize("witness", ["quote", "light"])
    def test_a_silent_stream_is_found_and_subscribed_to_again(self, witness: str) -> None:
        desk = live(Desk())

        def changes() -> None:
            desk.event(lost=True)
            getattr(self, witness)(desk)

        desk.run(0.9, changes)
        assert desk.reconciler.remedies.pending == []
        desk.run(1.0, changes)
        assert desk.reconciler.remedies.pending == [(KEY, Remedy.RESUBSCRIBE)]
        assert not desk.book.live()
        assert desk.book.state(0).suspected
        desk.reconciler.remedies.pending.clear()
        desk.acknowledge()
        desk.run(0.3)
        assert desk.book.live()
        assert desk.requests() == [(Cause.REPAIR, 500, 10)]

    @pytest.mark.parametrize("witness", ["quote", "light"])
    def test_a_stream_that_is_always_a_little_behind_is_not_suspected(self, witness: str) -> None:
        desk = live(Desk())
        late: list[bytes] = []

        def changes() -> None:
            desk.market.change(2)
            late.append(desk.market.event()[1])
            getattr(self, witness)(desk)
            if len(late) > 5:
                assert desk.book.apply(late.pop(0), desk.link) is None

        desk.run(20, changes)
        assert desk.reconciler.remedies.pending == []
        assert desk.book.live()

    def test_a_snapshot_that_is_ahead_of_the_streams_is_not_evidence(self) -> None:
        desk = live(Desk())
        desk.market.change(2)
        desk.store.book("BTCUSDT").replace(desk.market.rest(20), Origin(desk.exchange(), 20))
        desk.run(10)
        assert desk.reconciler.remedies.pending == []

    def test_a_connection_that_lags_is_suspected_as_a_whole(self) -> None:
        desk = live(Desk())
        desk.event(lost=True)
        self.quote(desk)
        desk.link.watermark -= 5.0
        for _ in range(40):
            desk.now += STEP
            desk.reconciler.tick(desk.at())
        assert desk.reconciler.remedies.pending == []

    def test_a_stream_is_given_up_after_two_attempts_and_tried_again_later(self) -> None:
        desk = live(Desk())

        def changes() -> None:
            desk.event(lost=True)
            self.quote(desk)

        taken: list[Remedy] = []
        for _ in range(60):
            desk.run(1.0, changes)
            taken += [remedy for _, remedy in desk.reconciler.remedies.pending]
            if desk.reconciler.remedies.pending:
                desk.reconciler.remedies.pending.clear()
                desk.acknowledge()
        assert taken == [Remedy.RESUBSCRIBE, Remedy.MOVE]
        assert KEY in desk.reconciler.remedies.quarantined
        assert "no remedy" in desk.book.state(0).suspected
        desk.run(GIVEN_UP_FOR)
        assert (KEY, Remedy.RESUBSCRIBE) in desk.reconciler.remedies.pending


class TestQuality:
    def test_holes_and_audits_count(self) -> None:
        desk = live(Desk())
        light = desk.store.book("BTCUSDT")
        light.replace(desk.market.rest(20), Origin(desk.exchange(), 20))
        light.go_live(desk.link)
        meter = QualityMeter(desk.store)
        meter.sample(desk.at())
        assert meter.judge("BTCUSDT", desk.at()).score == 1.0
        for _ in range(97):
            desk.event()
        assert meter.judge("BTCUSDT", desk.at()).score == 1.0
        desk.hole()
        judged = meter.judge("BTCUSDT", desk.at())
        assert judged.missing == 0.5, "it is not live at one of two moments"
        desk.run(0.5)
        assert meter.judge("BTCUSDT", desk.at()).missing == pytest.approx(1 / 99)

    def test_a_book_that_has_only_begun_lowers_nothing(self) -> None:
        desk = Desk()
        desk.store.book("BTCUSDT").go_live(desk.link)
        assert QualityMeter(desk.store).judge("BTCUSDT", desk.at()).score == 1.0


def test_a_full_book_that_nobody_reads_is_dropped_after_half_an_hour() -> None:
    now = 1_000.0
    store = MarketStore(Config(), lambda: now)
    engine = Engine(Config(), store, rng=random.Random(1))
    engine.follow(store.follow([KEY]), Moment(now, BEGAN))
    engine.demand.touch(KEY, now)
    assert STREAM in engine.connections.assigned_to
    for later in range(60, 1_801, 60):
        engine.tick(Moment(now + later, BEGAN + later * 1000))
    assert store.depth("BTCUSDT") is not None
    for later in range(1_860, 2_000, 60):
        engine.tick(Moment(now + later, BEGAN + later * 1000))
    assert store.depth("BTCUSDT") is None
    assert STREAM not in engine.connections.assigned_to
    assert KEY not in engine.reconciler.states
    assert store.ingest([Market(1, 3).event()[1]], Link(1, "public", 0.0))[0] == []
    assert store.dropped() == {"a stream that is not followed": 1}
