from __future__ import annotations

from ats_sync.store.depth_sequencer import MOST_AHEAD, MOST_UNAPPLIED, RECENT, DepthSequencer, Diff
from ats_sync.store.link import Link
from ats_sync.store.order import REORDERED_WITHIN
from ats_sync.venue.books import scan_diff_time

from ..venue.samples import frame
from .depth_market import diff_data


def link(number: int = 1) -> Link:
    return Link(number, "public", 0.0)


def diff(last: int, previous: int | None = None) -> Diff:
    return Diff(last - 1 if previous is None else previous, last, last, b"%d" % last)


def lasts(diffs: list[Diff] | None) -> list[int] | None:
    return None if diffs is None else [each.last for each in diffs]


def chain_of(first: int, stop: int, source: Link) -> DepthSequencer:
    chain = DepthSequencer()
    for last in range(first, stop):
        chain.add(diff(last), source)
    return chain


def test_what_continues_a_snapshot() -> None:
    chain = chain_of(10, 15, link())
    assert lasts(chain.after(8)) is None
    assert lasts(chain.after(9)) == [10, 11, 12, 13, 14]
    assert lasts(chain.after(12)) == [13, 14]
    assert lasts(chain.after(14)) == []
    assert lasts(chain.after(20)) == []
    assert lasts(DepthSequencer().after(5)) == []


def test_nothing_is_applied_twice_or_left_out() -> None:
    source = link()
    chain = chain_of(10, 15, source)
    chain.rebase(11, 0)
    assert lasts(chain.take(2)) == [12, 13]
    chain.add(diff(15), source)
    assert chain.pending == 2
    assert lasts(chain.take()) == [14, 15]
    assert lasts(chain.take()) == []
    assert lasts(chain.after(12)) == [13, 14, 15], "a snapshot may be older than what was applied"
    chain.rebase(13, 0)
    assert lasts(chain.take()) == [14, 15]


def test_a_snapshot_that_is_older_than_the_one_before() -> None:
    source = link()
    chain = chain_of(10, 12, source)
    chain.rebase(20, 0)
    assert chain.after(15) is None
    chain.add(diff(25, 11), source)
    assert lasts(chain.take()) == [25]
    assert lasts(chain.after(15)) == [25]
    assert chain.after(10) is None


def test_what_is_kept_is_bounded() -> None:
    source = link()
    chain = chain_of(1, 5 * MOST_UNAPPLIED, source)
    assert MOST_UNAPPLIED <= chain.pending <= MOST_UNAPPLIED + RECENT
    chain.take()
    assert len(chain._events) == RECENT
    other = link(2)
    for last in range(10_000, 10_000 + 3 * MOST_AHEAD):
        assert chain.add(diff(last), other)
    assert len(chain._ahead) == MOST_AHEAD


def test_the_connection_that_ends_has_not_reported_what_the_other_began_with() -> None:
    old, new = link(), link(2)
    chain = chain_of(10, 12, old)
    assert chain.add(diff(20), new)
    assert chain.add(diff(21), new)
    old.up = False
    assert not chain.add(diff(22), new)
    assert lasts(chain.after(19)) == [20, 21, 22]
    assert chain.source is new
    assert chain.holes == 0


def test_ids_that_begin_again_leave_nothing_out() -> None:
    """Four new counts within five minutes once suspended the book."""
    source = link()
    chain = chain_of(10, 12, source)
    assert not chain.add(Diff(1, 2, 12, b"2"), source)
    assert chain.holes == 0
    assert lasts(chain.after(1)) == [2]
    assert not chain.add(Diff(7, 8, 13, b"8"), source)
    assert chain.holes == 1


def test_what_came_ahead_with_a_hole_in_it() -> None:
    old, new = link(), link(2)
    chain = chain_of(10, 12, old)
    assert chain.add(diff(20), new)
    assert chain.add(diff(22), new)
    for last in range(12, 21):
        assert chain.add(diff(last), old)
    assert chain.source is old
    assert chain.add(diff(21), old)
    assert chain.source is new
    assert chain.last_update_id == 22


def test_what_came_ahead_on_a_connection_that_has_died_since_goes_on_with_the_one_that_lags() -> None:
    lagging, dead = link(1), link(2)
    chain = chain_of(10, 15, lagging)
    assert chain.add(diff(16), dead)
    dead.up = False
    assert chain.add(diff(15), lagging)
    assert (chain.source, chain.last_update_id) == (lagging, 16)
    assert chain.add(diff(16), lagging)
    assert chain.add(diff(17), lagging)
    assert (chain.source, chain.last_update_id, chain.holes) == (lagging, 17, 0)


def test_a_snapshot_leads_up_to_what_came_ahead() -> None:
    old, new = link(), link(2)
    chain = chain_of(10, 12, old)
    assert chain.add(diff(20), new)
    assert chain.add(diff(21), new)
    chain.rebase(19, 0)
    assert chain.last_update_id == 21
    assert chain.source is new
    assert lasts(chain.take()) == [20, 21]


def test_after_forgetting_nothing_is_known() -> None:
    source = link()
    chain = chain_of(10, 15, source)
    chain.forget()
    assert (chain.last_update_id, chain.pending, chain.source) == (-1, 0, None)
    assert lasts(chain.after(3)) == []
    assert not chain.add(diff(30), source)
    assert lasts(chain.after(29)) == [30]


def at(previous: int, last: int, event: int) -> Diff:
    """Return an event of this time, also by the matching engine's clock."""
    return Diff(previous, last, event, frame("btcusdt@depth@100ms", diff_data(last, last, previous, [], [], event)))


def test_nothing_waits_to_be_applied_at_first() -> None:
    chain = DepthSequencer()
    assert (chain.pending, chain.take()) == (0, [])


def test_repeats_change_nothing_and_those_of_older_events_are_counted() -> None:
    source = link()
    chain = chain_of(10, 13, source)
    assert chain.add(diff(12), source)
    assert chain.repeats == 0
    assert chain.add(diff(11), source)
    assert chain.repeats == 1
    assert chain.holes == 0
    assert lasts(chain.take()) == [10, 11, 12]


def test_what_another_connection_repeats_changes_nothing() -> None:
    source = link()
    chain = chain_of(10, 13, source)
    assert chain.add(diff(11), link(2))
    assert chain.add(diff(12), link(2))
    assert chain.source is source
    assert lasts(chain.take()) == [10, 11, 12]


def test_a_later_event_without_a_higher_id_leaves_nothing_out_and_begins_again() -> None:
    source = link()
    chain = chain_of(10, 13, source)
    assert not chain.add(Diff(11, 12, 50, b"again"), source)
    assert chain.holes == 0
    assert [each.frame for each in chain.take()] == [b"again"]


def test_what_a_connection_left_out_is_not_missing_once_a_snapshot_has_shown_it() -> None:
    source = link()
    chain = chain_of(10, 12, source)
    chain.rebase(15, 0)
    assert chain.add(diff(16), source)
    assert chain.holes == 1
    assert lasts(chain.take()) == [16]


def test_an_event_that_a_snapshot_has_already_shown_is_not_a_hole() -> None:
    source = link()
    chain = chain_of(10, 12, source)
    chain.rebase(13, 0)
    assert [chain.add(diff(last), source) for last in (12, 13, 14)] == [True] * 3
    assert chain.holes == 0
    assert lasts(chain.take()) == [14]


def test_lower_ids_of_a_later_time_on_another_connection_begin_a_new_count() -> None:
    chain = chain_of(10, 13, link())
    assert chain.add(Diff(2, 3, 12 + REORDERED_WITHIN, b"old"), link(2))
    assert chain.last_update_id == 12
    assert not chain.add(Diff(2, 3, 13 + REORDERED_WITHIN, b"new"), link(2))
    assert chain.last_update_id == 3
    assert lasts(chain.take()) == [3]


def test_the_older_connection_may_skip_to_within_what_the_newer_one_delivered() -> None:
    old, new = link(), link(2)
    chain = chain_of(10, 12, old)
    assert chain.add(diff(20), new)
    assert chain.add(diff(21), new)
    assert chain.add(diff(20, 11), old)
    assert chain.last_update_id == 21
    assert chain.source is new
    assert lasts(chain.take()) == [10, 11, 20, 21]


# --- which connection is expected to deliver -------------------------------------------------------


def test_a_hand_over_without_anything_missing() -> None:
    old, new = link(), link(2)
    chain = chain_of(10, 13, old)
    assert chain.hand_over(old, new)
    assert chain.source is new
    assert chain.add(diff(13), old), "what the predecessor still delivers is welcome"
    assert chain.source is new
    assert chain.add(diff(14), new)
    assert chain.holes == 0
    assert lasts(chain.take()) == [10, 11, 12, 13, 14]


def test_a_hand_over_before_the_older_connection_has_delivered_what_lies_between() -> None:
    old, new = link(), link(2)
    chain = chain_of(10, 13, old)
    assert chain.add(diff(20), new)
    assert not chain.hand_over(old, new)
    assert lasts(chain.take()) == [20]
    assert chain.source is new


def test_a_hand_over_between_other_connections_changes_nothing() -> None:
    source = link()
    chain = chain_of(10, 13, source)
    assert chain.hand_over(link(2), link(3))
    assert chain.source is source
    assert DepthSequencer().hand_over(None, source), "nothing has come yet"


def test_a_connection_replaces_none_or_one_that_has_ended_but_not_a_live_one() -> None:
    first, second = link(), link(2)
    chain = DepthSequencer()
    chain.attach(first)
    assert chain.source is first
    chain.attach(second)
    assert chain.source is first
    first.up = False
    chain.attach(second)
    assert chain.source is second


def test_the_first_event_of_a_connection_that_is_expected_to_go_on_shows_what_was_missed() -> None:
    source, later = link(), link(2)
    chain = chain_of(10, 13, source)
    chain.detach()
    chain.attach(later)
    assert not chain.add(diff(20), later)
    assert lasts(chain.take()) == [20]


# --- snapshots -------------------------------------------------------------------------------------


def test_the_newest_time_is_that_of_the_snapshot_unless_an_event_is_later() -> None:
    for event, newest in ((5, 12), (50, 50)):
        chain = chain_of(10, 13, link())
        chain.rebase(20, event)
        assert chain.event == newest


def test_a_snapshot_with_an_older_id_that_shows_all_leaves_only_what_is_later_by_its_time() -> None:
    source = link()
    chain = DepthSequencer()
    for each in (at(99, 100, 1_000), at(100, 101, 2_000), at(101, 102, 3_000)):
        chain.add(each, source)
    chain.take()
    chain.confirm(5, 2_000, 2_000)
    assert lasts(chain.take()) == [102]
    assert chain.event == 3_000


def test_after_a_rest_under_a_new_count_events_that_continue_the_snapshot_are_applied() -> None:
    for first, goes_on in ((at(5, 6, 2_100), True), (at(4, 5, 2_100), True), (at(6, 7, 2_100), False)):
        ended, source = link(), link(2)
        chain = DepthSequencer()
        chain.add(at(99, 100, 1_000), ended)
        ended.up = False
        chain.attach(source)
        chain.confirm(5, 2_000, 2_000)
        assert (chain.rests_at(5), chain.rests_at(6), chain.event, chain.take()) == (True, False, 2_000, [])
        assert chain.add(at(98, 99, 900), ended), "what comes late does not end it"
        assert chain.rests_at(5)
        assert chain.add(first, source) is goes_on
        assert not chain.rests_at(5)
        assert lasts(chain.take()) == [first.last]
        assert chain.last_update_id == first.last


def test_a_snapshot_that_shows_a_rest_drops_events_without_a_time_or_of_its_own_time() -> None:
    chain = chain_of(10, 13, link())
    chain.confirm(5, 2_000, 2_000)
    assert chain.take() == [], "what has no time is of no use"
    chain = DepthSequencer()
    newest = at(99, 100, 2_000)
    chain.add(newest, link())
    chain.confirm(5, 2_000, scan_diff_time(newest.frame))
    assert chain.take() == []


def test_an_unusable_event_is_cut_off_with_everything_before_it() -> None:
    chain = chain_of(10, 15, link())
    chain.take(1)
    chain.cut_after(diff(12))
    assert chain.pending == 2
    assert lasts(chain.take()) == [13, 14]
    chain.cut_after(diff(14))
    assert (chain.pending, chain.take()) == (0, [])
    assert chain.after(13) is None


def test_what_came_ahead_is_forgotten_with_the_rest() -> None:
    old, new = link(), link(2)
    chain = chain_of(10, 13, old)
    chain.add(diff(20), new)
    chain.forget()
    assert chain.event == 0
    assert not chain.add(diff(21), new)
    assert lasts(chain.take()) == [21]


def test_a_time_to_come_counts_as_when_the_book_changed_and_at_most_as_now() -> None:
    """The book changes 4 ms before its event is sent."""
    for now, event in ((2_998, 2_996), (2_500, 2_500)):
        chain = DepthSequencer()
        for each in (at(98, 99, 1_000), at(99, 100, 3_000)):
            chain.add(each, link())
        chain.date_back(now)
        assert chain.event == event


def test_the_time_to_come_of_a_snapshot_or_of_an_unusable_event_counts_as_now() -> None:
    chain = DepthSequencer()
    chain.add(at(99, 100, 1_000), link())
    chain.rebase(100, 3_000)
    chain.date_back(2_500)
    assert chain.event == 2_500
    chain.add(Diff(100, 101, 3_000, b"?"), link())
    chain.date_back(2_600)
    assert chain.event == 2_600
    chain.forget()
    chain.date_back(2_700)
    assert chain.event == 0


def test_ids_that_were_ahead_belong_to_the_count_before_once_they_have_begun_again() -> None:
    old, new = link(), link(2)
    chain = DepthSequencer()
    chain.add(at(99, 100, 1_000), old)
    assert chain.add(at(119, 120, 1_100), new)
    later = 1_100 + 2 * REORDERED_WITHIN
    assert not chain.add(at(4, 5, later), old)
    assert chain.add(at(5, 130, later + 100), old)
    assert lasts(chain.take()) == [5, 130]


def test_the_times_around_a_snapshot_say_whether_its_ids_are_of_the_same_count() -> None:
    chain, source = DepthSequencer(), link()
    events = [at(99, 100, 5_000), at(100, 101, 1_000), at(101, 102, 3_000)]
    for each in events:
        chain._append(each, source)
    contained, after = (scan_diff_time(each.frame) for each in events[1:])
    for time, count in ((contained - 1, -1), (contained, 0), (after, 0), (after + 1, 1)):
        assert chain.compare(101, time) == count
    assert chain.compare(102, after - 1) == -1
    assert chain.compare(102, after + 1) == 0, "nothing comes after it"


def test_a_new_snapshot_ends_a_rest_and_so_does_forgetting() -> None:
    for end in (lambda chain: chain.rebase(6, 2_500), DepthSequencer.forget):
        chain = DepthSequencer()
        chain.confirm(5, 2_000, 2_000)
        assert chain.rests_at(5)
        end(chain)
        assert not chain.rests_at(5)


def test_the_first_event_after_forgetting_may_have_any_time() -> None:
    chain, source = DepthSequencer(), link()
    chain.add(at(99, 100, 3_000), source)
    chain.forget()
    assert chain.event == 0
    assert not chain.add(at(4, 5, 1_000), source)
    assert (chain.event, chain.holes, chain.repeats) == (1_000, 0, 0)
