from __future__ import annotations

import itertools
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.feeds import Key, Kind
from ats_sync.store.depth import APPLIED_AT_ONCE, MOST_QUEUED, REMEMBERED, DepthSeries
from ats_sync.store.depth_sequencer import RECENT
from ats_sync.store.link import Link
from ats_sync.store.order import LAGS_AT_MOST
from ats_sync.store.series import Change, Origin, StoreEvent
from ats_sync.venue.books import Book, book_snapshot
from ats_sync.venue.payload import DecodeError

from ..venue.recording import answers, of_stream
from .depth_market import BEGAN, Levels, Market, diff, snapshot

GAP = StoreEvent(Change.GAP, Key(Kind.DEPTH, "BTCUSDT"))
BIDS: Levels = [("99.9", "1"), ("99.8", "2"), ("9.9", "3")]
ASKS: Levels = [("100.1", "1"), ("100.2", "2"), ("1000", "3")]


def link(number: int = 1) -> Link:
    return Link(number, "public", 0.0)


def begun(update_id: int = 100, *, limit: int = 500, on: Link | None = None) -> tuple[DepthSeries, Link]:
    """Return a live book as of ``update_id``."""
    book, source = DepthSeries("BTCUSDT"), on or link()
    book.note_read(100, 0.0)
    book.replace(snapshot(update_id, BIDS, ASKS), Origin(BEGAN, limit, link=source))
    book.go_live(source)
    assert book.live()
    return book, source


def shown(book: DepthSeries, limit: int = 20) -> Book:
    found = book.read(limit)
    assert found is not None
    return found


class TestTheRules:
    def test_events_on_a_snapshot(self) -> None:
        book, source = begun(100)
        assert book.apply(diff(110, 95, bids=[("99.9", "7"), ("99.8", "0")]), source) is None
        assert book.apply(diff(115, 110, asks=[("100.15", "4")], event=BEGAN + 900), source) is None
        found = shown(book)
        assert found.bids == [("99.9", "7"), ("9.9", "3")]
        assert found.asks == [("100.1", "1"), ("100.15", "4"), ("100.2", "2"), ("1000", "3")]
        assert (found.update_id, found.time, found.transaction_time) == (115, BEGAN + 900, BEGAN + 896)
        assert book.update_id() == 115

    def test_events_before_the_snapshot_are_kept_and_those_it_contains_dropped(self) -> None:
        book, source = DepthSeries("BTCUSDT"), link()
        for last, previous in ((90, 80), (95, 90), (110, 95)):
            book.apply(diff(last, previous, bids=[("99.9", str(last))]), source)
        assert book.read(20) is None
        assert book.state(0).doubt
        book.replace(snapshot(97, BIDS, ASKS), Origin(BEGAN, 500))
        assert shown(book).bids[0] == ("99.9", "110")
        assert book.live()

    def test_a_snapshot_with_exactly_the_id_of_an_event(self) -> None:
        book, source = DepthSeries("BTCUSDT"), link()
        book.apply(diff(100, 90, bids=[("99.9", "55")]), source)
        book.replace(snapshot(100, BIDS, ASKS), Origin(BEGAN, 500))
        assert shown(book).bids[0] == ("99.9", "1")
        assert book.apply(diff(105, 100, bids=[("99.9", "56")]), source) is None
        assert shown(book).bids[0] == ("99.9", "56")

    def test_a_snapshot_is_continued_where_nothing_has_changed_since_the_event_before_it(self) -> None:
        # Ids belong to all books, so the first event may begin beyond the snapshot and still be the next one.
        book, source = begun(100)
        frame = diff(120, 98, bids=[("99.9", "5")]).replace(b'"U":99', b'"U":117')
        assert book.apply(frame, source) is None
        assert shown(book).bids[0] == ("99.9", "5")

    def test_a_snapshot_older_than_the_first_event_is_left_out(self) -> None:
        book, source = DepthSeries("BTCUSDT"), link()
        book.apply(diff(110, 105), source)
        book.replace(snapshot(100, BIDS, ASKS), Origin(BEGAN, 500, link=source))
        book.go_live(source)
        assert book.read(20) is None
        assert not book.live()
        book.replace(snapshot(105, BIDS, ASKS), Origin(BEGAN, 500, link=source))
        assert shown(book).update_id == 110

    def test_a_hole(self) -> None:
        book, source = begun(100)
        assert book.apply(diff(110, 100), source) is None
        assert book.apply(diff(130, 120), source) == GAP
        assert book.read(20) is None
        assert book.holes == 1
        assert book.apply(diff(140, 130, bids=[("99.9", "9")]), source) is None
        book.replace(snapshot(115, BIDS, ASKS), Origin(BEGAN, 500))
        assert book.read(20) is None, "the snapshot is from before the hole"
        book.replace(snapshot(125, BIDS, ASKS), Origin(BEGAN, 500))
        assert (shown(book).update_id, shown(book).bids[0]) == (140, ("99.9", "9"))
        assert book.live()

    def test_the_first_event_is_beyond_the_snapshot(self) -> None:
        book, source = begun(100)
        assert book.apply(diff(120, 110), source) == GAP
        assert book.read(20) is None
        assert book.holes == 0, "nothing says that the stream left something out"

    def test_events_twice_and_late(self) -> None:
        book, source = begun(100)
        for last, previous in ((110, 100), (110, 100), (120, 110), (110, 100)):
            assert book.apply(diff(last, previous, bids=[("99.9", str(last))]), source) is None
        assert shown(book).bids[0] == ("99.9", "120")
        assert (book.counts().out_of_order, book.holes) == (1, 0)

    def test_what_was_left_out_is_shown_by_a_snapshot(self) -> None:
        book, source = begun(100)
        book.apply(diff(110, 100), source)
        book.replace(snapshot(125, BIDS, ASKS), Origin(BEGAN, 500))
        assert book.apply(diff(130, 120, bids=[("99.9", "3")]), source) is None
        assert shown(book).bids[0] == ("99.9", "3")
        assert book.holes == 1

    def test_ids_that_go_back(self) -> None:
        book, source = begun(100)
        book.apply(diff(110, 100), source)
        assert book.apply(diff(20, 10, event=BEGAN + 9_000), source) == GAP
        book.replace(snapshot(15, BIDS, ASKS, event=BEGAN + 8_999), Origin(BEGAN + 9_001, 500))
        assert shown(book).update_id == 20

    def test_ids_that_go_back_on_another_connection(self) -> None:
        book, source = begun(100)
        source.up = False
        assert book.apply(diff(20, 10, event=BEGAN + 60_000), link(2)) == GAP
        book.replace(snapshot(15, BIDS, ASKS, event=BEGAN + 59_999), Origin(BEGAN + 60_001, 500))
        assert shown(book).update_id == 20

    def test_a_snapshot_of_an_old_count_sets_nothing_back(self) -> None:
        """A replica lags behind ids that have begun again, lower."""
        book, source = begun(1_000)
        assert book.apply(diff(20, 10, bids=[("99.9", "7")], event=BEGAN + 9_000), source) == GAP
        old = snapshot(1_010, BIDS, ASKS, event=BEGAN + 8_000)
        book.replace(old, Origin(BEGAN + 9_100, 500, link=source))
        assert book.read(20) is None, "what has come is later than all that it shows"
        book.replace(snapshot(20, BIDS, ASKS, event=BEGAN + 9_000), Origin(BEGAN + 9_100, 500, link=source))
        book.go_live(source)
        book.replace(old, Origin(BEGAN + 9_200, 500, link=source))
        assert shown(book).update_id == 20
        assert book.apply(diff(30, 20, bids=[("99.9", "7")], event=BEGAN + 9_100), source) is None
        book.replace(old, Origin(BEGAN + 9_200, 500, link=source))
        assert shown(book).update_id == 30
        assert book.live()

    def test_a_snapshot_is_not_continued_by_events_of_another_count_though_the_ids_fit(self) -> None:
        for sent, update_id in ((BEGAN + 8_000, 120), (BEGAN + 9_100, 110)):
            book, source = begun(100)
            for last in (105, 115, 125):
                book.apply(diff(last, last - 10 if last > 105 else 100, event=BEGAN + 9_000), source)
            before = shown(book).update_id
            book.replace(snapshot(update_id, BIDS[1:], ASKS, event=sent), Origin(BEGAN + 9_200, 500, link=source))
            newer = sent > BEGAN + 9_000
            assert shown(book).update_id == (update_id if newer else before)
            assert (shown(book).bids == [*map(tuple, BIDS[1:])]) is newer

    def test_prices_are_numbers(self) -> None:
        book, source = begun(100)
        book.apply(diff(110, 100, bids=[("99.90", "0"), ("9.90", "4")], asks=[("100.10", "8"), ("999.9", "5")]), source)
        found = shown(book)
        assert found.bids == [("99.8", "2"), ("9.90", "4")]
        assert found.asks == [("100.10", "8"), ("100.2", "2"), ("999.9", "5"), ("1000", "3")]

    def test_the_order_of_snapshot_and_events_does_not_matter(self) -> None:
        events = [diff(110, 95, bids=[("99.9", "7")]), diff(120, 110, asks=[("100.1", "0")]), diff(130, 120)]
        results = []
        for at in range(len(events) + 1):
            book, source = DepthSeries("BTCUSDT"), link()
            for event in events[:at]:
                book.apply(event, source)
            book.replace(snapshot(100, BIDS, ASKS), Origin(BEGAN, 500, link=source))
            book.go_live(source)
            book.replace(snapshot(100, BIDS, ASKS), Origin(BEGAN, 500, link=source))
            for event in events[at:]:
                book.apply(event, source)
            results.append(shown(book))
        assert results == [results[0]] * len(results)
        assert results[0].bids[0] == ("99.9", "7")


class TestAtRest:
    """A market that rests: no event comes, and the ids of snapshots are what they are."""

    def lost(self) -> tuple[DepthSeries, Link]:
        """Return a book that lacks something: its newest event ends at 120 and continues nothing."""
        book, source = begun(100)
        assert book.apply(diff(120, 115, bids=[("99.9", "7")]), source) == GAP
        assert not book.live()
        return book, source

    @staticmethod
    def resting(update_id: int, event: int) -> Book:
        """Return what REST shows at ``event`` of a book that last changed before all of this."""
        return replace(snapshot(update_id, BIDS, ASKS, event=event), transaction_time=BEGAN + 90)

    def test_a_snapshot_that_stays_older_than_the_newest_event_is_the_book_at_rest(self) -> None:
        book, source = self.lost()
        for seconds in (1, 3, 6, 11, 12):
            now = BEGAN + seconds * 1000
            book.replace(self.resting(110, now), Origin(now, 500, link=source))
            book.go_live(source)
            assert book.live() is (seconds == 12)
        found = shown(book)
        assert found.bids == [("99.9", "7"), *map(tuple, BIDS[1:])]
        assert book.apply(diff(130, 120, bids=[("99.8", "9")], event=BEGAN + 20_000), source) is None
        assert shown(book).update_id == 130
        assert book.live()

    def test_a_book_that_counts_again_while_it_rests_is_known_again_after_its_connection_was_lost(self) -> None:
        book, source = begun(100)
        assert book.apply(diff(120, 100, event=BEGAN + 95), source) is None
        source.up = False
        again = link(2)
        for seconds in (1, 3, 6, 11, 12):
            now = BEGAN + seconds * 1000
            book.replace(self.resting(5, now), Origin(now, 500, link=again))
            book.go_live(again)
            assert book.live() is (seconds == 12)
        assert shown(book).bids == [*map(tuple, BIDS)]

    def test_a_snapshot_of_the_new_count_is_not_overwritten_by_events_of_the_old_one(self) -> None:
        book, source = begun(100)
        assert book.apply(diff(120, 100, bids=[("99.9", "7")], event=BEGAN + 80), source) is None
        source.up = False
        again = link(2)
        for seconds in (1, 12):
            now = BEGAN + seconds * 1000
            book.replace(self.resting(5, now), Origin(now, 500, link=again))
        book.go_live(again)
        assert book.live()
        found = shown(book)
        assert (found.update_id, found.bids) == (5, [*map(tuple, BIDS)])

    def test_each_snapshot_after_that_shows_that_it_still_rests(self) -> None:
        """Each one had to be seen twice, ten seconds apart, and the book was not live for half a minute."""
        book, source = begun(100)
        assert book.apply(diff(120, 100, event=BEGAN + 95), source) is None
        source.up = False
        for seconds in (1, 12, 15):
            now = BEGAN + seconds * 1000
            book.replace(self.resting(5, now), Origin(now, 500, link=link(2)))
        assert book.has_shown(BEGAN + 15_000 - LAGS_AT_MOST)

    @pytest.mark.parametrize(("previous", "goes_on"), [(5, True), (8, False)])
    def test_the_event_that_ends_the_rest_is_applied_at_once_though_ids_have_begun_again(
        self, previous: int, goes_on: bool
    ) -> None:
        book, source = begun(100)
        assert book.apply(diff(120, 100, event=BEGAN + 95), source) is None
        source.up = False
        again = link(2)
        for seconds in (1, 12, 23):
            now = BEGAN + seconds * 1000
            book.replace(self.resting(5, now), Origin(now, 500, link=again))
            book.go_live(again)
        assert book.live()
        assert book.apply(diff(110, 100, event=BEGAN + 94), source) is None, "late, of the old count"
        assert book.live()
        found = book.apply(diff(9, previous, bids=[("99.9", "7")], event=BEGAN + 23_500), again)
        assert (found is None, book.live()) == (goes_on, goes_on)
        if goes_on:
            assert (shown(book).update_id, shown(book).bids[0]) == (9, ("99.9", "7"))
            assert book.apply(diff(12, 9, event=BEGAN + 23_600), again) is None
            assert shown(book).update_id == 12

    def test_answers_of_a_replica_that_lags_or_moves_on_do_not_show_a_rest(self) -> None:
        book, source = self.lost()
        for step in range(40):
            now = BEGAN + 1000 * step
            book.replace(self.resting(80 + step // 2, now), Origin(now, 500, link=source))
        assert not book.live()

    def test_a_book_is_not_at_rest_after_an_event(self) -> None:
        book, source = self.lost()
        for step in range(1, 40):
            now = BEGAN + 1000 * step
            book.replace(self.resting(110, now), Origin(now, 500, link=source))
            book.apply(diff(120 + step, 119 + step, event=now + 500), source)
        assert not book.live()

    def test_an_answer_shows_up_to_when_nothing_is_newer(self) -> None:
        book, source = DepthSeries("BTCUSDT"), link()
        asked = BEGAN + 60_000
        book.replace(self.resting(110, BEGAN + 94), Origin(asked, 500, link=source))
        assert book.shown_until(link(9)) == asked - LAGS_AT_MOST
        book.replace(snapshot(110, BIDS, ASKS, event=asked + 30), Origin(asked, 500, link=source))
        assert book.shown_until(link(9)) == asked + 30
        book.replace(self.resting(110, BEGAN + 94), Origin(asked + 1_000, 500, link=source))
        assert book.shown_until(link(9)) == asked + 30


class TestRange:
    def test_levels_beyond_a_full_snapshot_are_not_known(self) -> None:
        book, source = begun(100, limit=3)
        book.apply(diff(110, 100, bids=[("5.0", "9"), ("50.0", "4")], asks=[("2000", "9"), ("500", "4")]), source)
        assert shown(book, 4).bids == [("99.9", "1"), ("99.8", "2"), ("50.0", "4"), ("9.9", "3")]
        assert shown(book, 4).asks[-1] == ("1000", "3")
        assert book.covers(4)
        assert not book.covers(5)
        assert book.read(5) is None

    def test_levels_that_go_are_not_replaced(self) -> None:
        book, source = begun(100, limit=3)
        book.apply(diff(110, 100, bids=[("99.9", "0")]), source)
        assert book.read(3) is None
        assert shown(book, 2).bids == [("99.8", "2"), ("9.9", "3")]

    def test_a_snapshot_that_was_not_full_shows_the_whole_book(self) -> None:
        book, source = begun(100, limit=500)
        book.apply(diff(110, 100, bids=[("5.0", "9"), ("99.9", "0")]), source)
        assert shown(book, 1000).bids == [("99.8", "2"), ("9.9", "3"), ("5.0", "9")]

    def test_each_side_has_its_own_range(self) -> None:
        book, source = DepthSeries("BTCUSDT"), link()
        book.replace(snapshot(100, BIDS[:2], ASKS), Origin(BEGAN, 3, link=source))
        book.go_live(source)
        book.apply(diff(110, 100, bids=[("1.0", "9")]), source)
        assert shown(book, 3).bids[-1] == ("1.0", "9")
        assert book.read(4) is None

    def test_a_new_snapshot_widens_it(self) -> None:
        book, source = begun(100, limit=3)
        book.apply(diff(110, 100, bids=[("99.9", "0")]), source)
        book.apply(diff(120, 110, asks=[("100.1", "0")]), source)
        assert book.read(3) is None
        book.replace(snapshot(110, [("99.8", "2"), ("9.9", "3"), ("9.8", "4")], ASKS), Origin(BEGAN, 3))
        assert shown(book, 2).update_id == 120
        assert shown(book, 2).asks == ASKS[1:]
        assert book.live()

    def test_a_snapshot_from_before_what_was_read_changes_nothing(self) -> None:
        book, source = begun(100, limit=3)
        for last in range(110, 110 + RECENT):
            book.apply(diff(last, last - 1 if last > 110 else 100, bids=[("99.9", str(last))]), source)
        newest = shown(book, 3)
        wide = [*BIDS, ("9.8", "4")]
        book.replace(snapshot(111, wide, [*ASKS, ("1001", "1")]), Origin(BEGAN, 4))
        assert shown(book, 4).bids == [*newest.bids, ("9.8", "4")]
        assert shown(book, 4).update_id == newest.update_id
        assert (book.counts().audited, book.counts().mismatches) == (1, 0)

    def test_what_is_requested_decides_how_large_the_snapshot_is(self) -> None:
        book = DepthSeries("BTCUSDT")
        sizes = []
        for limit, now in ((50, 0.0), (100, 1.0), (101, 2.0), (100, REMEMBERED), (100, REMEMBERED + 3), (1000, 400.0)):
            book.note_read(limit, now)
            sizes.append(book.snapshot_limit())
        assert sizes == [500, 500, 1000, 1000, 500, 1000]
        assert book.last_read == 400.0


class TestUnusable:
    @pytest.mark.parametrize(
        "frame",
        [
            diff(110, 100)[:-2],
            diff(110, 100).replace(b'"pu":100,', b""),
            diff(110, 100).replace(b'"u":110', b'"u":"110"'),
            diff(90, 100),
            b'{"stream":"btcusdt@depth@100ms","data":{}}',
        ],
    )
    def test_frames_whose_ids_cannot_be_read_change_nothing(self, frame: bytes) -> None:
        book, source = begun(100)
        with pytest.raises(DecodeError):
            book.apply(frame, source)
        assert shown(book).update_id == 100
        assert book.apply(diff(110, 100), source) is None

    @pytest.mark.parametrize(
        "levels",
        [[("NaN", "1")], [("1", "NaN")], [["1"]], [[1.5, "1"]], ["99.8"], [None], [("98", "-1")], [("-98", "1")],
         [("98", "")], [("150", "1")]],
    )  # fmt: skip
    def test_an_event_that_turns_out_unusable_is_a_hole(self, levels: Any) -> None:
        book, source = begun(100)
        before = shown(book)
        book.apply(diff(110, 100, bids=levels), source)
        with pytest.raises(DecodeError):
            book.read(20)
        assert book.read(20) is None
        assert book.known(20) is before
        assert book.apply(diff(120, 110, bids=[("99.9", "4")]), source) == GAP
        book.replace(snapshot(105, BIDS, ASKS), Origin(BEGAN, 500))
        assert book.read(20) is None, "the unusable event would have to be applied to it"
        book.replace(snapshot(112, BIDS, ASKS), Origin(BEGAN, 500))
        assert shown(book).bids[0] == ("99.9", "4")

    def test_an_unusable_event_is_found_while_nobody_reads(self) -> None:
        book, source = begun(0)
        notices = []
        for last in range(1, MOST_QUEUED + 3):
            levels = [("NaN", "1")] if last == 5 else []
            notices.append(book.apply(diff(last, last - 1, bids=levels), source))
        assert notices.count(GAP) == 1
        assert notices.index(GAP) == MOST_QUEUED
        assert not book.live()

    def test_an_unusable_frame_is_found_while_it_waits_for_its_snapshot(self) -> None:
        book, source = DepthSeries("BTCUSDT"), link()
        book.apply(diff(110, 100, bids=[("x", "1")]), source)
        book.apply(diff(120, 110), source)
        book.replace(snapshot(105, BIDS, ASKS), Origin(BEGAN, 500, link=source))
        assert book.read(20) is None
        book.replace(snapshot(115, BIDS, ASKS), Origin(BEGAN, 500, link=source))
        assert shown(book).update_id == 120


class TestBounds:
    def test_events_are_applied_now_and_then_when_nobody_reads(self) -> None:
        book, source = begun(0)
        for last in range(1, 5 * MOST_QUEUED):
            book.apply(diff(last, last - 1, bids=[("99.9", str(last))]), source)
            assert book._sequencer.pending <= MOST_QUEUED + 1
        assert len(book._sequencer._events) <= MOST_QUEUED + APPLIED_AT_ONCE + RECENT
        assert shown(book).bids[0] == ("99.9", str(5 * MOST_QUEUED - 1))

    def test_what_waits_for_a_snapshot_is_bounded(self) -> None:
        book, source = DepthSeries("BTCUSDT"), link()
        for last in range(1, 3_000):
            book.apply(diff(last, last - 1), source)
        assert len(book._sequencer._events) < 1_200
        book.replace(snapshot(100, BIDS, ASKS), Origin(BEGAN, 500, link=source))
        assert book.read(20) is None, "the events that continue it are gone"
        book.replace(snapshot(2_990, BIDS, ASKS), Origin(BEGAN, 500, link=source))
        assert shown(book).update_id == 2_999

    def test_a_side_does_not_grow_without_bound(self) -> None:
        book, source = begun(0)
        for last in range(1, 60):
            levels = [(f"{last}.{index:04}", "1") for index in range(100)]
            book.apply(diff(last, last - 1, bids=levels), source)
            shown(book)
        found = shown(book, 1000)
        assert len(book._sides[0]) <= 3_000 if book._sides else False
        assert found.bids[1] == ("99.8", "2")
        assert found.bids[2] == ("59.0099", "1")

    def test_a_read_is_remembered(self) -> None:
        book, source = begun(100)
        assert shown(book) is shown(book)
        assert shown(book, 10) is shown(book, 20)
        assert book.floats(shown(book)) == (
            [(99.9, 1.0), (99.8, 2.0), (9.9, 3.0)],
            [(100.1, 1.0), (100.2, 2.0), (1000.0, 3.0)],
        )
        before = shown(book)
        book.apply(diff(110, 100, bids=[("99.9", "8")]), source)
        assert before.bids[0] == ("99.9", "1"), "what was handed out does not change"
        assert shown(book).bids[0] == ("99.9", "8")


class TestConnections:
    def test_a_snapshot_alone_is_live_only_for_its_own_subscription(self) -> None:
        book, source = DepthSeries("BTCUSDT"), link()
        book.replace(snapshot(100, BIDS, ASKS), Origin(BEGAN, 500))
        book.go_live(source)
        assert not book.live()
        book.replace(snapshot(100, BIDS, ASKS), Origin(BEGAN, 500, link=source))
        book.go_live(link(2))
        assert not book.live()
        book.go_live(source)
        assert book.live()

    def test_an_event_that_continues_it_makes_it_live(self) -> None:
        book, source = DepthSeries("BTCUSDT"), link()
        book.replace(snapshot(100, BIDS, ASKS), Origin(BEGAN, 500))
        assert book.apply(diff(110, 100), source) is None
        assert book.live()
        assert book.state(0).link is source

    def test_an_answer_to_a_reader_does_not_end_the_liveness(self) -> None:
        book, source = begun(100)
        book.replace(snapshot(105, BIDS, ASKS), Origin(BEGAN, 500))
        assert book.live()
        assert book.state(0).link is source

    def test_a_reconnect_that_missed_nothing(self) -> None:
        book, source = begun(100)
        book.apply(diff(110, 100), source)
        source.up = False
        assert not book.live()
        again = link(2)
        assert book.apply(diff(120, 110), again) is None
        assert book.live()
        assert shown(book).update_id == 120

    def test_a_reconnect_that_missed_something(self) -> None:
        book, source = begun(100)
        book.apply(diff(110, 100), source)
        source.up = False
        assert book.apply(diff(130, 120), link(2)) == GAP
        assert book.read(20) is None
        assert book.holes == 0, "a connection that was cut is not a stream that leaves things out"

    def test_a_quiet_reconnect_is_confirmed_by_a_snapshot(self) -> None:
        book, source = begun(100)
        source.up = False
        again = link(2)
        book.replace(snapshot(100, BIDS, ASKS), Origin(BEGAN, 500, link=again))
        assert not book.live()
        book.go_live(again)
        assert book.live()

    def test_a_lagging_snapshot_confirms_nothing(self) -> None:
        book, source = begun(100)
        book.apply(diff(110, 100), source)
        source.up = False
        again = link(2)
        book.replace(snapshot(105, BIDS, ASKS), Origin(BEGAN, 500, link=again))
        book.go_live(again)
        assert not book.live()

    def test_two_connections_overlap(self) -> None:
        book, old = begun(100)
        new = link(2)
        for last in range(101, 120):
            for source in (old, new) if last % 2 else (new, old):
                assert book.apply(diff(last, last - 1, bids=[("99.9", str(last))]), source) is None
        book.hand_over(old, new)
        old.up = False
        assert book.live()
        assert book.state(0).link is new
        assert shown(book).update_id == 119
        assert (book.holes, book.counts().out_of_order) == (0, 0)

    def test_the_older_of_two_connections_lags(self) -> None:
        book, old = begun(100)
        new = link(2)
        for last in range(105, 110):
            assert book.apply(diff(last, last - 1), new) is None
        assert shown(book).update_id == 100
        for last in range(101, 105):
            assert book.apply(diff(last, last - 1), old) is None
        assert shown(book).update_id == 109
        assert book.state(0).link is new

    def test_a_hand_over_that_lost_something(self) -> None:
        book, old = begun(100)
        new = link(2)
        book.apply(diff(106, 105), new)
        assert not book.hand_over(old, new), "where the market rests, nothing else would let it be requested"
        old.up = False
        assert book.read(20) is None
        assert book.apply(diff(107, 106), new) == GAP

    def test_what_the_old_connection_still_delivers_after_a_hand_over(self) -> None:
        book, old = begun(100)
        new = link(2)
        book.apply(diff(105, 100), old)
        book.hand_over(old, new)
        assert book.apply(diff(110, 105), old) is None
        old.up = False
        assert book.live()
        assert book.state(0).link is new
        assert book.apply(diff(110, 105), new) is None
        assert book.apply(diff(115, 110), new) is None
        assert book.apply(diff(125, 120), new) == GAP
        assert book.holes == 1

    def test_a_hand_over_of_a_quiet_book(self) -> None:
        book, old = begun(100)
        new = link(2)
        assert book.hand_over(old, new)
        old.up = False
        assert book.live()
        assert book.apply(diff(101, 100), new) is None
        assert shown(book).update_id == 101

    def test_suspicion(self) -> None:
        book, source = begun(100)
        book.suspect("its stream is silent")
        assert book.state(0).suspected == "its stream is silent"
        assert not book.live()
        book.replace(snapshot(120, BIDS, ASKS), Origin(BEGAN, 500))
        assert not book.live()
        book.apply(diff(130, 110), source)
        assert book.live()
        assert shown(book).update_id == 130

    def test_a_snapshot_requested_before_the_suspicion_does_not_end_it(self) -> None:
        book, source = begun(100)
        book.replace(snapshot(105, BIDS, ASKS), Origin(BEGAN, 500, link=source))
        book.suspect("its stream is silent")
        book.go_live(source)
        assert not book.live()

    def test_suspension(self) -> None:
        book, source = begun(100)
        book.suspend("too many holes")
        assert book.state(0).suspected == "too many holes"
        assert book.apply(diff(110, 100), source) is None
        book.replace(snapshot(105, BIDS, ASKS), Origin(BEGAN, 500, link=source))
        book.go_live(source)
        assert book.read(20) is None
        book.unsuspend()
        book.apply(diff(130, 120), source)
        book.replace(snapshot(125, BIDS, ASKS), Origin(BEGAN, 500))
        assert book.live()
        assert shown(book).update_id == 130

    def test_it_resumes_on_the_only_connection_that_keeps_it_up_to_date(self) -> None:
        book, old = begun()
        new = link(2)
        book.subscribed_on(new)
        assert book.resume(old, 0)
        assert not book.resume(new, 0), "the old one is about to be closed, and no change has come on the new one"


class TestAudit:
    def test_a_book_that_is_wrong_is_found_and_corrected(self) -> None:
        book, source = begun(100)
        book.apply(diff(110, 100, bids=[("99.9", "7")]), source)
        shown(book)
        book.replace(snapshot(110, [("99.9", "7"), ("99.8", "2.5")], ASKS), Origin(BEGAN, 500, link=source))
        assert (book.counts().audited, book.counts().mismatches) == (1, 1)
        assert shown(book).bids == [("99.9", "7"), ("99.8", "2.5")]

    def test_only_what_both_know_is_compared(self) -> None:
        book, _ = begun(100, limit=3)
        book.replace(snapshot(100, [*BIDS, ("9.8", "1")], [*ASKS, ("1001", "1")]), Origin(BEGAN, 4))
        assert (book.counts().audited, book.counts().mismatches) == (1, 0)

    def test_books_of_different_ids_are_not_compared(self) -> None:
        book, _ = begun(100)
        book.replace(snapshot(105, BIDS[1:], ASKS), Origin(BEGAN, 500))
        assert (book.counts().audited, book.counts().mismatches) == (0, 0)


def same(found: Book, truth: tuple[Levels, Levels], limit: int) -> bool:
    return (found.bids[:limit], found.asks[:limit]) == (truth[0][:limit], truth[1][:limit])


OPERATIONS = st.lists(
    st.sampled_from(
        ["event", "event", "event", "event", "lost", "twice", "rest", "rest then event", "late rest", "cut", "read",
         "suspect"]
    ),
    max_size=60,
)  # fmt: skip


class TestAgainstANaiveModel:
    @settings(max_examples=300, deadline=None)
    @given(
        seed=st.integers(0, 2**32),
        levels=st.sampled_from((3, 12, 30)),
        size=st.sampled_from((5, 10, 40)),
        operations=OPERATIONS,
    )
    def test_whatever_is_shown_was_true(self, seed: int, levels: int, size: int, operations: list[str]) -> None:
        market = Market(seed, levels)
        book, source, told = DepthSeries("BTCUSDT"), link(), -1
        numbers = itertools.count(2)
        kept: Book | None = None

        def take_event(*, twice: bool = False) -> None:
            nonlocal told
            market.change(market.random.randint(1, 6))
            told, frame = market.event()
            book.apply(frame, source)
            if twice:
                book.apply(frame, source)

        def take_rest(answer: Book) -> None:
            book.replace(answer, Origin(BEGAN, size, link=source))
            book.go_live(source)

        for operation in [*operations, "rest", "event", "read"]:
            if operation in ("event", "twice"):
                take_event(twice=operation == "twice")
            elif operation == "lost":
                market.change(3)
                market.event()
            elif operation == "rest":
                market.change(market.random.randint(0, 3))
                take_rest(market.rest(size))
            elif operation == "rest then event":
                answer = market.rest(size)
                take_event()
                take_rest(answer)
            elif operation == "late rest":
                if kept is not None:
                    book.replace(kept, Origin(BEGAN, size))
                kept = market.rest(size)
            elif operation == "cut":
                source.up = False
                source = link(next(numbers))
            elif operation == "suspect":
                book.suspect("it was silent")
            for limit in (1, 4, size, 100) if operation == "read" else (3,):
                found = book.read(limit)
                if found is None:
                    continue
                assert same(found, market.history[found.update_id], limit)
                assert found.update_id >= told, "an event was left out"
        # Undisturbed for one snapshot and one event, it is live again and up to date.
        assert book.live()
        assert book.update_id() == market.update_id

    @settings(max_examples=60, deadline=None)
    @given(seed=st.integers(0, 2**32), skipped=st.integers(1, 3))
    def test_every_lost_event_is_noticed(self, seed: int, skipped: int) -> None:
        market, source = Market(seed, 10), link()
        book = DepthSeries("BTCUSDT")
        book.replace(market.rest(40), Origin(BEGAN, 40, link=source))
        book.go_live(source)
        market.change(2)
        assert book.apply(market.event()[1], source) is None
        for _ in range(skipped):
            market.change(2)
            market.event()
        market.change(2)
        assert book.apply(market.event()[1], source) == GAP
        book.replace(market.rest(40), Origin(BEGAN, 40, link=source))
        assert same(shown(book, 20), market.history[market.update_id], 20)


class TestThreads:
    def test_readers_see_whole_states_while_events_come(self) -> None:
        market, source = Market(7, 40), link()
        book = DepthSeries("BTCUSDT")
        frames, ids = [], [market.update_id]
        answer = market.rest(60)
        for _ in range(400):
            market.change(4)
            last, frame = market.event()
            frames.append(frame)
            ids.append(last)
        book.replace(answer, Origin(BEGAN, 60, link=source))
        book.go_live(source)
        wrong: list[int] = []
        done = threading.Event()

        def read() -> None:
            while not done.is_set():
                found = book.read(10)
                if found is None or not same(found, market.history[found.update_id], 10):
                    wrong.append(-1 if found is None else found.update_id)

        threads = [threading.Thread(target=read, daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        for frame in frames:
            book.apply(frame, source)
        done.set()
        for thread in threads:
            thread.join(10)
        assert wrong == []
        assert shown(book, 10).update_id == ids[-1]


@pytest.fixture(scope="module")
def snapshots(recording: Path) -> dict[str, Book]:
    """Return the recorded REST snapshots by symbol."""
    return {
        url.split("symbol=")[1].split("&")[0]: book_snapshot(body)
        for url, body in answers(recording)
        if "/depth?" in url
    }


class TestTheRealRecording:
    """Four symbols for half a minute; the snapshots were taken while the stream ran."""

    @pytest.mark.parametrize("symbol", ["SUSHIUSDT", "AKROUSDT", "KEEPUSDT", "CTKUSDT"])
    @pytest.mark.parametrize("after", [0, 6, 40])
    def test_books_chain_and_their_best_prices_are_those_of_the_ticker(
        self, recording: Path, snapshots: dict[str, Book], symbol: str, after: int
    ) -> None:
        """The snapshot may come before every event, or after some."""
        tickers: dict[int, list[dict[str, Any]]] = {}
        for _, data in of_stream(recording, f"{symbol.lower()}@bookTicker"):
            tickers.setdefault(data["u"], []).append(data)
        book, source = DepthSeries(symbol), link()
        compared = chained = 0
        for count, (frame, data) in enumerate(of_stream(recording, f"{symbol.lower()}@depth")):
            if count == after:
                book.replace(snapshots[symbol], Origin(BEGAN, 1000, link=source))
                book.go_live(source)
            assert book.apply(frame, source) is None
            if count < after:
                continue
            found = shown(book, 100)
            assert float(found.bids[0][0]) < float(found.asks[0][0])
            chained += data["u"] > snapshots[symbol].update_id
            if found.update_id != data["u"]:
                assert data["u"] < snapshots[symbol].update_id, "an event was left out"
                continue
            for ticker in tickers.get(data["u"], ()):
                compared += 1
                assert found.bids[0] == (ticker["b"], ticker["B"])
                assert found.asks[0] == (ticker["a"], ticker["A"])
        assert book.live()
        assert (book.holes, book.counts().out_of_order) == (0, 0)
        assert chained > 90
        assert compared >= 5

    def test_thin_books_are_known_completely(self, recording: Path, snapshots: dict[str, Book]) -> None:
        book, source = DepthSeries("KEEPUSDT"), link()
        for frame, _ in of_stream(recording, "keepusdt@depth"):
            book.apply(frame, source)
        book.replace(snapshots["KEEPUSDT"], Origin(BEGAN, 1000))
        found = shown(book, 1000)
        truth: tuple[dict[float, tuple[str, ...]], dict[float, tuple[str, ...]]] = ({}, {})
        for levels, side in zip((snapshots["KEEPUSDT"].bids, snapshots["KEEPUSDT"].asks), truth, strict=True):
            side.update((float(level[0]), level) for level in levels)
        for frame, data in of_stream(recording, "keepusdt@depth"):
            assert json.loads(frame)["data"] == data
            if data["u"] > snapshots["KEEPUSDT"].update_id:
                for levels, side in zip((data["b"], data["a"]), truth, strict=True):
                    for level in levels:
                        side[float(level[0])] = tuple(level)
                        if float(level[1]) == 0:
                            del side[float(level[0])]
        assert found.bids == [truth[0][price] for price in sorted(truth[0], reverse=True)]
        assert found.asks == [truth[1][price] for price in sorted(truth[1])]
        assert 300 < len(found.bids) < 1000
