"""What trades request and promise, what is saved of them, and what other processes are shown."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ats_sync.errors import MalformedAnswer
from ats_sync.feeds import Cause, Key, Kind
from ats_sync.store import dump
from ats_sync.store.link import Link
from ats_sync.store.segments import MOST_SEGMENTS
from ats_sync.store.series import FIRST_FRAME_WITHIN, Change, Origin, StoreEvent
from ats_sync.store.trades import LEFT_TO_STREAM_FOR, SPARE, TradeSeries
from ats_sync.venue import endpoints
from ats_sync.venue.endpoints import AGG_TRADES_MOST
from ats_sync.venue.payload import DecodeError
from ats_sync.venue.trades import Trade, rest_trades

from ..venue import samples
from ..venue.samples import MIDNIGHT, compact

LINK, OTHER = Link(1, "market", 0.0), Link(2, "market", 0.0)
AT = MIDNIGHT + 1_000_000
SYMBOL = "BTCUSDT"
GAP = StoreEvent(Change.GAP, Key(Kind.TRADES, SYMBOL))
BEGUN = StoreEvent(Change.BEGUN, Key(Kind.TRADES, SYMBOL))


def found(first: int, last: int, at: int | None = None) -> list[Trade]:
    return rest_trades(compact([samples.rest_trade(number, at=at) for number in range(first, last + 1)]))


def ring_with(first: int, last: int, capacity: int = 100) -> TradeSeries:
    ring = TradeSeries(SYMBOL, capacity)
    ring.replace(found(first, last), Origin(AT, last - first + 1))
    return ring


def stream(ring: TradeSeries, *numbers: int, link: Link = LINK) -> list[StoreEvent | None]:
    return [ring.apply(samples.trade_frame(number), link) for number in numbers]


def ids(ring: TradeSeries) -> list[int]:
    return [trade.id for trade in ring.read(1_000)]


# --- what an answer shows --------------------------------------------------------------------------


def test_the_first_trade_of_a_link_may_be_the_first_of_a_new_count() -> None:
    ring = ring_with(5_000, 5_020)
    ring.subscribed_on(LINK)
    assert ring.apply(samples.trade_frame(10, at=AT), OTHER) == GAP
    assert (ids(ring), ring.counted_since, ring.is_contiguous()) == ([10], AT, False), "another connection has shown it"
    ring = ring_with(5_000, 5_020)
    ring.subscribed_on(LINK)
    assert ring.apply(samples.trade_frame(10, at=AT), LINK) == GAP
    assert (ids(ring), ring.counted_since, ring.is_contiguous()) == ([10], AT, True)


def test_a_new_count_is_not_complete_because_the_old_one_was() -> None:
    ring = TradeSeries(SYMBOL, 100)
    ring.replace(found(5_000, 5_020), Origin(AT, 100))
    assert ring.complete
    ring.apply(samples.trade_frame(10, at=AT), LINK)
    assert not ring.complete


def test_an_answer_of_a_new_count_leaves_nothing_of_the_old_one() -> None:
    ring = ring_with(5_000, 5_020)
    ring.replace(found(10, 12, at=AT), Origin(AT + 7, 100, from_id=10))
    assert (ids(ring), ring.counted_since) == ([10, 11, 12], AT + 7)


def test_the_very_first_trade_is_not_a_history_until_rest_has_shown_it() -> None:
    ring = TradeSeries(SYMBOL, 100)
    ring.replace([], Origin(AT, 100))
    assert ring.complete
    assert stream(ring, 3) == [GAP]
    assert not ring.complete
    assert ids(ring) == [3]
    ring.replace(found(3, 3), Origin(AT, 100))
    assert ring.complete


def test_a_page_that_begins_later_than_requested_ends_the_history() -> None:
    for first, complete in ((7, True), (12, False)):
        ring = ring_with(10, 12)
        ring.replace(found(first, 13), Origin(AT, 30, from_id=5))
        assert ids(ring) == list(range(min(first, 10), 14))
        assert ring.complete is complete, "one that lags behind what is known shows nothing"


def test_a_page_that_begins_where_requested_does_not_end_the_history() -> None:
    ring = ring_with(10, 12)
    ring.replace(found(5, 9), Origin(AT, 30, from_id=5))
    assert (ids(ring), ring.complete) == (list(range(5, 13)), False)


def test_a_history_whose_oldest_part_is_dropped_behind_too_many_holes_is_not_complete() -> None:
    ring = TradeSeries(SYMBOL, 100)
    ring.replace(found(0, 2), Origin(AT, 100))
    stream(ring, *range(10, 10 * MOST_SEGMENTS, 10))
    assert ring.complete
    stream(ring, 10 * MOST_SEGMENTS)
    assert not ring.complete


def test_what_lies_beyond_the_end_of_the_history_is_dropped() -> None:
    ring = TradeSeries(SYMBOL, 100)
    stream(ring, 1, 2, 10, 11)
    assert ring.hole() == (3, 9)
    ring.replace(found(6, 11), Origin(AT, 100))
    assert (ids(ring), ring.hole(), ring.complete) == ([6, 7, 8, 9, 10, 11], None, True)


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("new", [False, True])
@pytest.mark.parametrize("untraded", [False, True])
def test_an_answer_without_trades_counts_only_where_there_may_be_none(known: bool, new: bool, untraded: bool) -> None:
    ring = ring_with(5, 6) if known else TradeSeries(SYMBOL, 100)
    ring.check_empty(Origin(AT, 10, from_id=3), lambda: new, lambda: untraded)  # a page may well be empty
    if not known and (new or untraded):
        ring.check_empty(Origin(AT, 10), lambda: new, lambda: untraded)
    else:
        with pytest.raises(MalformedAnswer, match="no rows"):
            ring.check_empty(Origin(AT, 10), lambda: new, lambda: untraded)


# --- what it requests -------------------------------------------------------------------------------


def test_trades_that_are_not_live_request_the_newest() -> None:
    for capacity, limit in ((100, 100), (2 * AGG_TRADES_MOST, AGG_TRADES_MOST)):
        ring = ring_with(5_000, 5_020, capacity)
        newest = endpoints.agg_trades(SYMBOL, limit)
        assert ring.request(AT, Cause.WARM_UP, None) == newest
        assert ring.request(AT, Cause.WARM_UP, LINK) == newest
        ring.go_live(OTHER)
        assert ring.request(AT, Cause.WARM_UP, LINK) == newest


def test_live_trades_request_those_before_their_newest_run() -> None:
    ring = ring_with(5_000, 5_020)
    ring.go_live(LINK)
    request = ring.request(AT, Cause.REPAIR, LINK)
    assert request == endpoints.agg_trades(SYMBOL, AGG_TRADES_MOST, from_id=5_000 - AGG_TRADES_MOST)
    stream(ring, 5_031)
    assert ring.request(AT, Cause.REPAIR, LINK) == endpoints.agg_trades(SYMBOL, 10, from_id=5_021), "the hole alone"
    assert ring.request(AT, Cause.REPAIR, OTHER) == endpoints.agg_trades(SYMBOL, 100), (
        "it is live on another connection"
    )
    one = ring_with(5_000, 5_020)
    one.go_live(LINK)
    stream(one, 5_022)
    assert one.request(AT, Cause.REPAIR, LINK) == endpoints.agg_trades(SYMBOL, 1, from_id=5_021)
    ring.replace([], Origin(AT, 10, from_id=5_021))
    assert ring.request(AT, Cause.REPAIR, LINK) == endpoints.agg_trades(SYMBOL, 100), "perhaps ids have begun again"
    ring.replace(found(4_900, 5_031), Origin(AT, 132))
    assert ring.request(AT, Cause.REPAIR, LINK) is None


def test_no_more_trades_are_requested_than_exist_near_the_first_id() -> None:
    ring = ring_with(7, 9)
    ring.go_live(LINK)
    assert ring.request(AT, Cause.REPAIR, LINK) == endpoints.agg_trades(SYMBOL, 7, from_id=0)


def test_it_is_unsettled_as_long_as_older_trades_are_to_come() -> None:
    ring = ring_with(90, 99)
    assert ring.unsettled(AT) == "the newest 10 are here, older ones are to come"
    assert (ring.lacks_older(), ring.reached()) == (True, 90)
    ring.expecting = True
    assert (ring.lacks_older(), ring.unsettled(AT)) == (False, ""), "they may have been saved"
    ring.end_patience()
    assert ring.lacks_older()
    ring.replace(found(0, 89), Origin(AT, 90, from_id=0))
    assert (ring.lacks_older(), ring.unsettled(AT), ring.reached()) == (False, "", 0)


def test_where_nothing_is_known_an_answer_that_does_not_count_makes_no_progress() -> None:
    assert TradeSeries(SYMBOL, 100).reached() is None


def test_it_lacks_nothing_once_it_has_as_many_as_it_keeps_or_as_one_answer_brings() -> None:
    assert ring_with(1_000, 1_098).lacks_older()
    assert not ring_with(1_000, 1_099).lacks_older()
    assert not ring_with(1_000, 999 + AGG_TRADES_MOST, capacity=3 * AGG_TRADES_MOST).lacks_older()


# --- liveness ---------------------------------------------------------------------------------------


def test_it_goes_live_with_its_first_trade_and_needs_no_answer_where_nothing_is_missing() -> None:
    ring = ring_with(1_000, 1_099)
    ring.subscribed_on(LINK)
    assert not ring.resume(LINK, AT)
    stream(ring, 1_100)
    assert ring.resume(LINK, AT)
    assert ring.link is LINK
    assert ring.resume(LINK, AT), "it was live already"
    few = ring_with(1_000, 1_001)
    few.subscribed_on(LINK)
    stream(few, 1_002)
    assert not few.resume(LINK, AT), "older ones are still to come"
    assert few.link is LINK


def test_the_time_up_to_which_it_is_known_requires_that_it_is_live_and_lacks_nothing() -> None:
    ring = ring_with(1_000, 1_099)
    ring.go_live(LINK)
    event = ring.state(AT).event
    assert (ring.sound_event(AT, {LINK}), ring.sound_event(AT, {OTHER})) == (event, -1)
    ring.suspect("silent")
    assert ring.sound_event(AT, {LINK, None}) == -1
    few = TradeSeries(SYMBOL, 100)
    few.load(ring_with(1_000, 1_001).dump())
    few.go_live(LINK)
    assert few.sound_event(AT, {LINK}) == few.state(AT).event, "its stream brings the others"
    few.end_patience()
    assert few.sound_event(AT, {LINK}) == -1, "older ones are to come"
    few.expecting = True
    assert few.sound_event(AT, {LINK}) == few.state(AT).event, "they may have been saved"


def test_patience_is_long_only_where_the_stream_brings_what_is_missing() -> None:
    ring = TradeSeries(SYMBOL, 100)
    assert ring.patience(live_once=False) == 0.0, "nothing is known"
    ring.leave_to_stream()
    assert LEFT_TO_STREAM_FOR <= ring.patience(live_once=False) <= 2 * LEFT_TO_STREAM_FOR
    others = {TradeSeries(symbol, 100) for symbol in ("ETHUSDT", "SOLUSDT")}
    for other in others:
        other.leave_to_stream()
    assert len({each.patience(live_once=False) for each in (ring, *others)}) == 3, "they do not all come at once"
    ring.end_patience()
    assert ring.patience(live_once=False) == 0.0
    ring.replace(found(5, 6), Origin(AT, 2))
    assert ring.patience(live_once=False) == FIRST_FRAME_WITHIN
    ring.leave_to_stream()
    assert ring.patience(live_once=False) == FIRST_FRAME_WITHIN, "an answer has come already"


def test_an_answer_ends_what_is_left_to_the_stream() -> None:
    ring = TradeSeries(SYMBOL, 100)
    ring.leave_to_stream()
    assert not ring.lacks_older()
    ring.replace(found(5, 6), Origin(AT, 2))
    assert ring.lacks_older()
    assert ring.patience(live_once=False) == FIRST_FRAME_WITHIN


@pytest.mark.parametrize("first", [0, 5])
def test_a_second_subscription_after_a_first_frame_ends_what_is_left_to_the_stream(first: int) -> None:
    ring = TradeSeries(SYMBOL, 100)
    ring.leave_to_stream()
    ring.subscribed_on(LINK)
    assert ring.patience(live_once=False) >= LEFT_TO_STREAM_FOR
    stream(ring, first)
    ring.subscribed_on(OTHER)
    assert ring.patience(live_once=False) == FIRST_FRAME_WITHIN


@pytest.mark.parametrize("first", [0, 5])
def test_the_first_trade_of_a_subscription_ends_the_wait_for_it(first: int) -> None:
    ring = TradeSeries(SYMBOL, 100)
    ring.subscribed_on(LINK)
    stream(ring, first)
    assert ring.patience(live_once=False) == 0.0


def test_the_time_never_shows_that_trades_are_down() -> None:
    assert not TradeSeries(SYMBOL, 100).is_down(AT / 1000.0)


def test_a_trade_that_cannot_be_scanned_is_not_evidence() -> None:
    ring = ring_with(5, 6)
    ring.apply(samples.trade_frame(7).replace(b'"T":', b'"x":'), LINK)
    assert ring.last_id() == 7
    assert ring.last_heard() == (-1, 0)


# --- reading ----------------------------------------------------------------------------------------


def test_columns_of_trades_in_another_form_are_those_of_their_decoded_form() -> None:
    ring = ring_with(5, 6)
    stream(ring, 7)
    ring.apply(samples.trade_frame(8).replace(b'","data":{', b'","data": {').replace(b'"q":"3"', b'"q": "3"'), LINK)
    columns = ring.columns(10)
    assert (columns.first, len(columns), list(columns.quantities)) == (5, 4, [3.0] * 4)
    assert ring.text(10) == compact([samples.rest_trade(number) for number in range(5, 9)])


def test_columns_keep_no_more_than_the_ring() -> None:
    ring = TradeSeries(SYMBOL, 10)
    for number in range(0, 10 * SPARE, 5):
        stream(ring, *range(number, number + 5))
        assert list(ring.columns(10).times) == [trade.time for trade in ring.read(10)]
        assert ring._columns is not None
        assert len(ring._columns) <= 10 + SPARE


def test_a_trade_with_another_id_than_its_frame_seemed_to_have_is_cut_out() -> None:
    ring = ring_with(5, 6)
    ring.apply(samples.trade_frame(7).replace(b'"a":7,', b'"a":7,"a":70,', 1), LINK)
    stream(ring, 8)
    with pytest.raises(DecodeError, match="another id"):
        ring.read(10)
    assert ids(ring) == [8]
    assert ring.hole() == (7, 7)


# --- written down -----------------------------------------------------------------------------------


def restored(ring: TradeSeries, capacity: int = 100) -> TradeSeries:
    other = TradeSeries(SYMBOL, capacity)
    other.load(ring.dump())
    return other


def test_an_empty_ring_is_not_written() -> None:
    assert tuple(TradeSeries(SYMBOL, 100).dump()) == ()
    assert TradeSeries(SYMBOL, 100).prepare(()) is None
    assert len(restored(TradeSeries(SYMBOL, 100))) == 0


def test_what_is_written_is_what_is_served() -> None:
    ring = TradeSeries(SYMBOL, 100)
    ring.replace(found(5, 9), Origin(AT, 100))
    mark = ring.dump_mark()
    assert ids(restored(ring)) == [5, 6, 7, 8, 9]
    assert restored(ring).complete
    stream(ring, 10)
    assert ring.dump_mark() != mark
    stream(ring, 12)
    other = restored(ring)
    assert (ids(other), other.complete) == ([12], False), "what lies beyond a hole is not written"
    ring.apply(samples.trade_frame(13).replace(b'"q":"3"', b'"q": "3"'), LINK)
    assert ids(restored(ring)) == [12, 13], "in whatever form it came"
    ring.apply(samples.trade_frame(14).replace(b'"p":"7.6110"', b'"p":"x"'), LINK)
    assert ids(restored(ring)) == [12, 13], "nor what is unusable"


def test_a_ring_with_less_room_takes_the_newest_of_what_is_written() -> None:
    ring = TradeSeries(SYMBOL, 100)
    ring.replace(found(0, 29), Origin(AT, 100))
    small = restored(ring, capacity=10)
    assert (small.first_id(), small.last_id(), small.complete) == (20, 29, False)
    assert restored(ring, capacity=30).complete


def test_a_dump_that_is_not_of_consecutive_usable_trades_is_refused() -> None:
    def written(body: bytes, *, first: int) -> Sequence[bytes]:
        return tuple(dump.write(Key(Kind.TRADES, SYMBOL), [body], rows=2, first=first, complete=False))

    good = compact([samples.rest_trade(5), samples.rest_trade(6)])
    assert ids(_loaded(written(good, first=5))) == [5, 6]
    hole = compact([samples.rest_trade(5), samples.rest_trade(7)])
    for body, first in ((hole, 5), (good, 4), (b"[]", 5), (good.replace(b'"p":"7.6110"', b'"p":"x"'), 5)):
        with pytest.raises(DecodeError):
            _loaded(written(body, first=first))


def _loaded(parts: Sequence[bytes]) -> TradeSeries:
    ring = TradeSeries(SYMBOL, 100)
    ring.load(parts)
    return ring


def test_what_is_loaded_is_replaced_by_an_answer_and_by_a_new_count() -> None:
    parts = tuple(ring_with(5, 9).dump())
    ring = ring_with(7, 8)
    ring.load(parts)
    assert ids(ring) == [7, 8], "an answer has come already"
    ring = ring_with(10, 12)
    ring.load(parts)
    assert ids(ring) == [10, 11, 12], "even where they would join it"
    for other in ({"price": "7.7000"}, {"at": AT + 60_000}):
        ring = TradeSeries(SYMBOL, 100)
        ring.apply(samples.trade_frame(8, **other), LINK)  # type: ignore[arg-type]
        ring.load(parts)
        assert ids(ring) == [8], "the ids have begun again since"
    ring = TradeSeries(SYMBOL, 100)
    stream(ring, 3, 4)
    ring.load(parts)
    assert ids(ring) == [3, 4], "none of them is among those"
    ring = TradeSeries(SYMBOL, 100)
    stream(ring, 10)
    ring.load(parts)
    assert (ids(ring), ring.state(0).event) == ([5, 6, 7, 8, 9, 10], MIDNIGHT + 13)
    assert ring.patience(live_once=False) >= LEFT_TO_STREAM_FOR


def test_what_is_loaded_is_joined_with_what_has_streamed_meanwhile() -> None:
    parts = tuple(ring_with(5, 9).dump())
    for streamed, expected in (
        ((8,), [5, 6, 7, 8, 9]),
        ((8, 9, 10, 11), [5, 6, 7, 8, 9, 10, 11]),
        ((4, 5), [4, *range(5, 10)]),
    ):
        ring = TradeSeries(SYMBOL, 100)
        stream(ring, *streamed)
        ring.load(parts)
        assert ids(ring) == expected


# --- for other processes ------------------------------------------------------------------------------


def test_a_copy_is_read_as_the_original_and_its_body_is_sent_only_as_it_changes() -> None:
    ring, copy = TradeSeries(SYMBOL, 3_000), TradeSeries(SYMBOL, 3_000)
    mark: object = None
    bodies = 0
    for number in range(0, 2_000, 20):
        stream(ring, *range(number, number + 20))
        copied = ring.copied(mark)
        assert copied is not None
        mark = copied.mark
        bodies += copied.body is not None
        assert copy.take_copy(copied)
        assert copy.text(50) == ring.text(50)
        assert copy.columns(50).times == ring.columns(50).times
        assert copy.state(AT) == ring.state(AT)
    assert 1 < bodies < 50
    assert copy.text(2_000) == ring.text(2_000)


@pytest.mark.parametrize("step", [64, 128, 256])
def test_a_copy_of_a_full_ring_has_what_has_come_and_not_what_was_dropped(step: int) -> None:
    ring, copy = TradeSeries(SYMBOL, 300), TradeSeries(SYMBOL, 300)
    mark: object = None
    for number in range(0, 10 * step, step):
        stream(ring, *range(number, number + step))
        copied = ring.copied(mark)
        assert copied is not None
        mark = copied.mark
        copy.take_copy(copied)
        assert copy.text(300) == ring.text(300)


def test_a_copy_follows_a_restart_of_the_count_and_shows_no_hole() -> None:
    ring, copy = ring_with(5_000, 5_020), TradeSeries(SYMBOL, 100)
    ring.go_live(LINK)

    def copy_again() -> None:
        copied = ring.copied()
        assert copied is not None
        copy.take_copy(copied)

    copy_again()
    assert (copy.link, len(copy.columns(10))) == (LINK, 10)
    assert ring.apply(samples.trade_frame(10, at=AT), LINK) == GAP
    copy_again()
    assert (ids(copy), copy.counted_since, list(copy.columns(10).times)) == ([10], AT, [AT])
    stream(ring, 15)
    ring.suspect("silent")
    copy_again()
    assert (ids(copy), copy.hole(), copy.complete, copy.suspected, copy.link) == ([15], None, False, "silent", None)


def test_a_copy_of_what_lies_beyond_a_hole_is_not_complete() -> None:
    ring, copy = TradeSeries(SYMBOL, 100), TradeSeries(SYMBOL, 100)
    ring.replace(found(0, 5), Origin(AT, 100))
    for number, complete in ((6, True), (9, False)):
        stream(ring, number)
        copied = ring.copied()
        assert copied is not None
        copy.take_copy(copied)
        assert (copy.complete, copy.state(AT)) == (complete, ring.state(AT))


def test_a_copy_of_trades_in_another_form_is_read_as_rest_writes_them_each_time() -> None:
    ring, copy = TradeSeries(SYMBOL, 100), TradeSeries(SYMBOL, 100)
    for number in range(5, 8):
        ring.apply(samples.trade_frame(number).replace(b'"q":"3"', b'"q": "3"'), LINK)
        copied = ring.copied()
        assert copied is not None
        copy.take_copy(copied)
        assert copy.text(10) == compact([samples.rest_trade(each) for each in range(5, number + 1)])


def test_a_copy_of_an_empty_ring_is_empty() -> None:
    copied = TradeSeries(SYMBOL, 100).copied()
    assert copied is not None
    copy = ring_with(5, 6)
    copy.take_copy(copied)
    assert (ids(copy), copy.first_id(), len(copy.columns(5))) == ([], -1, 0)
