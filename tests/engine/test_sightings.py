"""What was seen of one symbol, without any stream; times are exchange ms, and seconds of the steady clock."""

from __future__ import annotations

import pytest

from ats_sync.engine.sightings import GRACE, NEVER, TICKER_LATE, Report, Sighting, SymbolSightings
from ats_sync.store.order import LAGS_AT_MOST, REORDERED_WITHIN
from ats_sync.store.pending import ANSWERED_WITHIN

NOON = 1_795_219_200_000
LATER = NOON + 9_000
"""What was seen had happened by then."""


def test_a_trade_counts_once_it_is_old_enough() -> None:
    known = SymbolSightings()
    assert not known.is_open()
    known.learn([Report(7, NOON, LATER), Report(5, NOON + 9, LATER), Report(-1, 0, LATER)], 100.0)
    assert known.is_open()
    assert known.ripe(100.0 + GRACE - 0.01) == NEVER
    assert known.ripe(100.0 + GRACE) == Sighting(7, NOON + 9, 100.0, LATER)
    assert not known.is_open()


def test_while_nothing_changes_a_look_shows_more_once_a_trade_counts_that_some_series_lacks() -> None:
    known = SymbolSightings()
    known.learn([Report(7, NOON, LATER)], 100.0)
    known.furthest_behind = 7
    assert not known.shows_more(100.0 + GRACE), "all have it"
    known.learn([Report(8, NOON, LATER)], 103.0)
    assert not known.shows_more(103.0 + GRACE - 0.01), "it does not count yet"
    assert known.shows_more(103.0 + GRACE)
    known.furthest_behind = 8
    assert not known.shows_more(110.0)
    known.behind = True
    assert known.shows_more(110.0), "until it has come"


def test_what_several_have_reported_had_happened_by_the_earliest_of_their_times() -> None:
    known = SymbolSightings()
    known.learn([Report(7, NOON, NOON + 30), Report(7, NOON, NOON + 20), Report(6, NOON, NOON + 10)], 100.0)
    assert known.ripe(110.0) == Sighting(7, NOON, 100.0, NOON + 20)


def test_later_trades_happened_no_earlier_than_the_one_before_them() -> None:
    known = SymbolSightings()
    known.learn([Report(7, NOON, LATER)], 100.0)
    known.learn([Report(6, NOON + 50, LATER)], 101.0)
    assert known.ripe(110.0) == Sighting(7, NOON + 50, 100.0, LATER)


def test_what_rest_has_refuted_is_not_learned_again_unless_it_happened_later() -> None:
    known = SymbolSightings()
    known.learn([Report(7, NOON, LATER)], 100.0)
    known.refute_trades(NOON + 500)
    assert known.ripe(110.0) == NEVER
    known.learn([Report(7, NOON + 500, LATER), Report(3, NOON, LATER)], 111.0)
    assert known.ripe(120.0) == NEVER
    known.learn([Report(7, NOON + 501, LATER)], 121.0)
    assert known.ripe(130.0).trade == 7
    known.learn([Report(8, 0, LATER)], 131.0)
    assert known.ripe(140.0).trade == 8


@pytest.mark.parametrize("unchanged_until", [0, NOON + 2_500])
def test_a_ticker_dates_its_trade_by_the_one_before(unchanged_until: int) -> None:
    known = SymbolSightings()
    assert not known.note_ticker(NOON, 5, 0, LATER, streamed=True), "it is not known when the first one happened"
    assert not known.note_ticker(NOON + 2_000, 5, 0, LATER, streamed=True)
    assert known.note_ticker(NOON + 3_000, 6, unchanged_until, LATER, streamed=True)
    assert known.ticked == (6, max(NOON + 2_000 - TICKER_LATE, unchanged_until), LATER)


def test_an_answer_may_be_ahead_of_the_frames_that_follow_it() -> None:
    """It is dated by when its replica may have been, and shows more than was streamed by then."""
    known = SymbolSightings()
    known.note_ticker(NOON, 5, 0, LATER, streamed=True)
    assert known.note_ticker(NOON + 1_000, 7, 0, LATER, streamed=False)
    assert known.base == (NOON + 1_000 + LAGS_AT_MOST + ANSWERED_WITHIN, 7)
    known.base = NOON, 5
    assert not known.note_ticker(NOON + 2_000, 6, 0, LATER, streamed=True)
    assert (known.ticker, known.base) == ((NOON + 2_000, 7), (NOON + 2_000, 6))


def test_a_new_count_that_a_ticker_shows_is_acted_on_once_and_outlives_no_old_sighting() -> None:
    known = SymbolSightings()
    known.note_ticker(NOON, 500, 0, LATER, streamed=True)
    known.learn([Report(500, NOON, LATER)], 100.0)
    known.begin_count(Sighting(3, NOON + 2_000, 102.0))
    assert known.counts_again
    assert not known.note_ticker(NOON + 2_000, 3, 0, LATER, streamed=True)
    assert known.ripe(110.0) == NEVER
    assert known.is_open()
    assert known.take_lowered(102.0 + GRACE - 0.01) == NEVER
    assert known.take_lowered(102.0 + GRACE).trade == 3
    assert known.take_lowered(110.0) == NEVER


def test_ids_have_begun_again_where_a_lower_one_is_later_by_more_than_connections_differ() -> None:
    known = SymbolSightings()
    known.note_count([Report(3, NOON + REORDERED_WITHIN, LATER)], (500, NOON), 100.0)
    assert not known.counts_again
    known.note_count([Report(3, NOON + REORDERED_WITHIN + 1, LATER)], (500, NOON), 100.0)
    assert known.counts_again
    assert not known.has_begun_again(100.0 + GRACE - 0.01)
    assert known.has_begun_again(100.0 + GRACE)
    assert known.is_outdated(500, NOON, 110.0)
    assert not known.is_outdated(3, NOON, 110.0)
    of_both = [Report(500, NOON, LATER), Report(3, NOON + 1_001, LATER)]
    assert known.of_new_count(of_both, 110.0) == of_both[1:]
    known.note_count([Report(3, NOON + 2_000, LATER)], (3, NOON + 2_000), 111.0)
    assert not known.has_begun_again(120.0)
