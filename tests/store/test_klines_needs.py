"""What candles request, what is saved of them, and what consumers are shown."""

from __future__ import annotations

import pytest

from ats_sync.errors import MalformedAnswer
from ats_sync.feeds import Cause, Kind
from ats_sync.store.closed import Source
from ats_sync.store.kline_sequencer import FINAL_IN_REST_AFTER
from ats_sync.store.klines import AUDIT_ROWS, KlineSeries
from ats_sync.store.link import Link
from ats_sync.store.order import LAGS_AT_MOST, REORDERED_WITHIN
from ats_sync.store.pending import ANSWERED_WITHIN
from ats_sync.store.series import FIRST_FRAME_WITHIN, Change, Counts, Origin
from ats_sync.venue.klines import text_open_time, text_trades
from ats_sync.venue.payload import DecodeError

from ..venue import samples
from ..venue.samples import MIDNIGHT, MINUTE
from .candles import LINK, Truth, asked, series_of, warmed

OTHER = Link(2, "market", 0.0)
LONG = Truth("1m", MIDNIGHT - 300 * MINUTE, [1] * 330)


def answered(series: KlineSeries, truth: Truth, upto: int, limit: int) -> None:
    at = asked(truth, upto)
    series.replace(truth.texts(at, limit), Origin(at, limit))


def spoilt(frame: bytes) -> bytes:
    return frame.replace(b'"v":"', b'"v":"x', 1)


# --- merging ----------------------------------------------------------------------------------------


def test_it_counts_what_it_has_merged() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6])
    series = warmed(truth, 1)
    assert (series.depth, series.complete) == (500, True)
    series.apply(truth.frame(1, 1), LINK)
    series.apply(truth.frame(1, final=True), LINK)
    series.apply(truth.frame(0, 1), LINK)
    assert series.counts() == Counts(received=3, out_of_order=1)
    series.replace(truth.texts(asked(truth, 2)), Origin(asked(truth, 2), 499))
    assert series.counts().audited == 2
    assert series.counts().mismatches == 0


def test_each_frame_of_an_open_candle_is_counted() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 9])
    series = warmed(truth, 1)
    for trades in (1, 2, 3, 3):
        series.apply(truth.frame(1, trades), LINK)
    assert series.counts().received == 4


def test_it_keeps_as_many_rows_as_were_read() -> None:
    series = series_of(LONG, depth=50)
    series.deepen(20)
    assert series.depth == 50
    series.deepen(80)
    assert series.depth == 80
    answered(series, LONG, 200, 120)
    assert len(series.closed_rows()) == 80


def test_a_later_event_with_fewer_trades_than_the_frame_before_is_a_contradiction() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 9])
    series = warmed(truth, 1)
    series.apply(truth.frame(1, 5), LINK)
    row = truth.row(1, 2)
    fewer = samples.kline_frame(row, event=truth.told_at(1, 5) + REORDERED_WITHIN + 1)
    notice = series.apply(fewer, LINK)
    assert notice is not None
    assert notice.change is Change.GAP
    assert series.rows(1, None, exact=True)[0][8] == 2


def test_rows_that_are_not_in_order_are_refused() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4])
    series = series_of(truth)
    with pytest.raises(DecodeError, match="not in order"):
        series.replace(truth.texts(truth.end)[::-1], Origin(truth.end, 10))
    assert series.following() == 0


def test_a_contract_that_has_not_traded_has_no_candle_until_its_first() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4])
    series = series_of(truth)
    series.replace([], Origin(MIDNIGHT - 1_000, 499))
    state = series.state(MIDNIGHT)
    assert (state.doubt, state.rows, state.complete, state.answered) == ("", 0, True, MIDNIGHT - 1_000)
    notice = series.apply(truth.frame(0, 1), LINK)
    assert notice is not None
    assert notice.change is Change.GAP
    spot = KlineSeries("BTCUSDT", "1m", 500, kind=Kind.SPOT_KLINES)
    spot.replace([], Origin(MIDNIGHT - 1_000, 499))
    assert spot.state(MIDNIGHT).doubt, "nothing else shows whether a pair has traded"


def test_an_answer_without_rows_counts_only_where_there_may_be_none() -> None:
    truth, origin = Truth("1m", MIDNIGHT, [3, 4]), Origin(MIDNIGHT, 499)
    spot = KlineSeries("BTCUSDT", "1m", 500, kind=Kind.SPOT_KLINES)
    series_of(truth).check_empty(origin, lambda: True, lambda: True)
    spot.check_empty(origin, lambda: False, lambda: True)
    for series, new in ((series_of(truth), False), (warmed(truth, 1), True)):
        with pytest.raises(MalformedAnswer, match="no rows"):
            series.check_empty(origin, lambda new=new: new, lambda: True)  # type: ignore[misc]


# --- what it requests ---------------------------------------------------------------------------------


def test_it_requests_what_is_not_closed_and_more_only_for_a_reason() -> None:
    series = warmed(LONG, 200, limit=150)
    later = LONG.opens[205]
    assert series_of(LONG).request(later, Cause.WARM_UP, None) == series.newest_rows(499)
    series.begin_with(100)
    assert series.request(later, Cause.REPAIR, LINK) == series.newest_rows(7)
    assert series.request(later, Cause.AUDIT, LINK) == series.newest_rows(AUDIT_ROWS)
    series.begin_with(300)
    assert series.request(later, Cause.REPAIR, LINK) == series.newest_rows(300), "an early read had begun the history"
    assert series.reach_back(400), "something derived needs still more"
    assert series.request(later, Cause.REPAIR, LINK) == series.newest_rows(400)
    small = warmed(LONG, 200, depth=50, limit=50)
    assert small.request(LONG.opens[320], Cause.REPAIR, LINK) == small.newest_rows(50), "none of the others is kept"


def test_rows_that_an_early_read_brought_before_the_time_was_known_do_not_count_twice() -> None:
    """They wait to become final, and the request that continues the closed ones brings them again."""
    series = KlineSeries("BTCUSDT", "1m", 500, warm_up=120)
    at = asked(LONG, 200)
    series.replace(LONG.texts(at, 110), Origin(at - 15 * MINUTE, 110))
    assert len(series) == 110
    assert series.request(at + MINUTE, Cause.REPAIR, LINK) == series.newest_rows(120)


def test_a_series_derived_from_it_never_makes_it_keep_less() -> None:
    series = series_of(LONG, depth=200)
    for rows, depth in ((50, 200), (250, 250)):
        series.reach_back(rows)
        assert series.depth == depth


def test_a_contract_without_trades_has_no_first_frame_to_wait_for() -> None:
    series = series_of(LONG)
    series.replace([], Origin(MIDNIGHT, 499))
    assert series.patience(live_once=False) == 0.0


def test_it_is_known_up_to_its_newest_event_or_answer_whichever_is_later() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 59])
    series, requested = warmed(truth, 1), asked(truth, 1)
    series.apply(truth.frame(1, 5), LINK)
    assert truth.told_at(1, 5) < requested
    assert series.state(requested + 1).event == requested
    series.apply(truth.frame(1, 30), LINK)
    assert series.state(truth.told_at(1, 30)).event == truth.told_at(1, 30)


def test_after_a_halt_of_hours_no_rows_of_hours_are_requested() -> None:
    series = warmed(LONG, 200, limit=200)
    series.begin_with(100)
    halted = LONG.opens[201] + ANSWERED_WITHIN
    series.replace(LONG.texts(LONG.opens[201] - 1, 100), Origin(halted, 100))
    assert series.stopped() == halted
    assert series.request(halted + 300 * MINUTE, Cause.REPAIR, LINK) == series.newest_rows(AUDIT_ROWS)
    assert series.note_trading(halted + 1)
    assert "trade" in series.unsettled(halted + 2)
    known = halted + 1 + LAGS_AT_MOST  # to every replica
    assert [series.answerable_from(known + each) for each in (-3, 3)] == [known, known + 3]


def test_where_trade_ids_have_begun_again_only_the_whole_history_since_then_counts() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6, 7, 8, 9])
    series = warmed(truth, 3)
    series.subscribed_on(OTHER)
    now = asked(truth, 3)
    series.note_recounted(now)
    doubt = "trade ids have begun again: it may be another contract"
    assert series.state(now).doubt == series.unsettled(now) == doubt
    assert series.sound_event(now, {LINK}) == -1
    assert series.look(3, now, now, exact=False)[0].doubt == doubt
    series.apply(truth.frame(3, 2), OTHER)
    assert not series.resume(OTHER, now), "its frames show nothing about the contract that had the name"
    whole = series.request(now, Cause.REPAIR, OTHER)
    assert whole is not None
    assert whole.rows == 499
    series.replace(truth.texts(now, 499), Origin(now, 499))
    assert series.state(now).doubt == doubt, "a replica may lag"
    late = now + LAGS_AT_MOST
    series.replace(truth.texts(late, 2), Origin(late, 2))
    assert series.state(late).doubt == doubt, "this says nothing of what is older"
    series.replace(truth.texts(late, 499), Origin(late, 499))
    assert series.state(late).doubt == ""
    again = series.request(late, Cause.REPAIR, OTHER)
    assert again is not None
    assert again.rows == 2


@pytest.mark.parametrize(("rows", "known"), [(99, False), (100, True)])
def test_as_many_rows_as_are_kept_are_the_history_since_trade_ids_have_begun_again(rows: int, known: bool) -> None:
    series = warmed(LONG, 200, depth=100)
    series.note_recounted(LONG.opens[200])
    answered(series, LONG, 202, rows)
    assert (series.unsettled(asked(LONG, 202)) == "") is known


def test_all_there_are_is_the_history_too_however_few_were_requested() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6, 7, 8, 9])
    series = warmed(truth, 3)
    series.note_recounted(MIDNIGHT)
    answered(series, truth, 4, 50)
    assert series.unsettled(asked(truth, 4)) == ""


def test_an_answer_shows_the_candles_up_to_the_end_of_its_newest_one() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6])
    series = series_of(truth)
    series.replace(truth.texts(truth.opens[3] - 1), Origin(truth.opens[3] + 5_000, 499))
    assert series.state(truth.opens[3] + 5_000).answered == truth.opens[3] - 1


def test_of_two_answers_without_a_candle_the_later_request_counts() -> None:
    series = series_of(LONG)
    for at in (MIDNIGHT, MIDNIGHT - 500):
        series.replace([], Origin(at, 499))
    assert series.state(MIDNIGHT).answered == MIDNIGHT
    assert series.last_heard()[2] == MIDNIGHT


def test_a_repair_and_a_short_history_do_not_wait_for_the_first_frame() -> None:
    series = warmed(LONG, 200)
    assert series.patience(live_once=False) == FIRST_FRAME_WITHIN
    assert series.patience(live_once=True) == 0.0
    short = warmed(LONG, 200, limit=100)
    assert short.patience(live_once=False) == 0.0
    assert short.unsettled(asked(LONG, 200)) == "", "it is short, and no reason to doubt it"
    assert series_of(LONG).patience(live_once=False) == 0.0


def test_candles_count_once_the_listings_show_the_same_contract_though_their_history_is_still_requested() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6, 7, 8, 9])
    series = warmed(truth, 3)
    series.go_live(LINK)
    now = asked(truth, 3)
    series.note_recounted(now)
    series.note_listed()
    assert series.state(now).doubt == ""
    assert series.sound_event(now, {LINK}) > 0
    assert "ids" in series.unsettled(now)
    assert series.answerable_from(now) == now + LAGS_AT_MOST, "earlier a replica may not know it"
    whole = series.request(now, Cause.REPAIR, LINK)
    assert whole is not None
    assert whole.rows == 499
    late = now + LAGS_AT_MOST
    series.replace(truth.texts(late, 499), Origin(late, 499))
    assert series.unsettled(late) == ""


def test_when_ids_began_again_is_dated_back_where_the_time_turns_out_to_be_earlier() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6, 7, 8, 9])
    series = warmed(truth, 3)
    now = asked(truth, 3)
    series.note_recounted(now + 600_000)
    series.last_heard(now)
    assert series.answerable_from(now + 1_000) == now + LAGS_AT_MOST


def test_what_is_doubted_otherwise_need_not_wait_for_the_replicas_of_a_new_count() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6, 7, 8, 9])
    series = warmed(truth, 3)
    now = truth.opens[6]
    series.note_recounted(now)
    series.note_listed()
    assert series.state(now).doubt
    assert series.answerable_from(now) == now


def test_what_no_frame_shows_counts_as_a_change() -> None:
    """Whoever looks at changes sees it by the number of answers."""
    loaded, series = series_of(LONG), warmed(LONG, 200)
    for found, note in (
        (loaded, lambda: loaded.load(series.dump())),
        (series, lambda: series.note_paused(MIDNIGHT)),
        (series, lambda: series.note_trading(MIDNIGHT)),
        (series, lambda: series.note_recounted(MIDNIGHT)),
        (series, series.note_listed),
    ):
        before, changes = found.answers, found.changes()
        note()
        assert found.answers == before + 1
        assert found.changes() != changes


def test_an_event_that_is_dated_back_counts_as_a_change() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6])
    series = warmed(truth, 1)
    series.apply(truth.frame(1, 2), LINK)
    event, before = truth.told_at(1, 2), series.answers
    assert series.last_heard(event) == (1_000 * 2 + 1, event, asked(truth, 1))
    assert series.answers == before
    assert series.last_heard(event - 5_000)[1] == event - 5_000
    assert series.answers == before + 1


def test_candles_of_the_contract_that_had_the_name_are_forgotten_with_its_ids() -> None:
    old, new = Truth("1m", MIDNIGHT, [3, 4, 5, 6]), Truth("1m", MIDNIGHT + 3 * MINUTE, [2])
    series = warmed(old, 3)
    now = asked(old, 3)
    series.note_recounted(now)
    later = now + LAGS_AT_MOST
    series.replace(new.texts(later), Origin(later, 499))
    assert [row[0] for row in series.rows(10, later, exact=False)] == new.opens
    assert series.state(later).doubt == ""


def test_what_was_loaded_is_compared_with_as_many_rows_as_the_same_weight_brings() -> None:
    series = series_of(LONG)
    series.load(warmed(LONG, 200, limit=150).dump())
    assert series.unaudited
    series.begin_with(120)
    assert series.request(LONG.opens[200], Cause.WARM_UP, None) == series.newest_rows(AUDIT_ROWS)
    series.begin_with(60)
    assert series.request(LONG.opens[200], Cause.WARM_UP, None) == series.newest_rows(60)


def test_an_answer_can_close_a_candle_some_seconds_after_its_end() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5])
    series = warmed(truth, 1)
    assert series_of(truth).answerable_from(MIDNIGHT) == MIDNIGHT, "nothing is known: any answer helps"
    assert series.answerable_from(truth.opens[2] - 1) == truth.opens[2] - 1
    final = truth.opens[2] + FINAL_IN_REST_AFTER
    assert final < series.answerable_from(truth.opens[2]) < final + 100
    assert series.answerable_from(final + 1_000) == final + 1_000


def test_it_goes_live_with_its_first_frame_only_where_nothing_is_missing() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6])
    series = warmed(truth, 1)
    series.subscribed_on(LINK)
    assert not series.resume(LINK, truth.opens[1] + 1), "no frame has come"
    series.apply(truth.frame(1, 1), LINK)
    assert series.resume(LINK, truth.told_at(1, 1))
    assert (series.live(), series.resume(LINK, truth.told_at(1, 1))) == (True, False), "it is live"
    short = warmed(LONG, 200, limit=5)
    short.subscribed_on(LINK)
    short.apply(LONG.frame(200, 1), LINK)
    assert not short.resume(LINK, LONG.told_at(200, 1)), "most of its history is missing"


def test_the_time_up_to_which_it_is_known_requires_a_live_connection_without_suspicion() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 9])
    series = warmed(truth, 1)
    series.go_live(LINK)
    series.apply(truth.frame(1, 5), LINK)
    now = truth.told_at(1, 5)
    assert series.sound_event(now, {LINK}) == now
    assert series.sound_event(now, {OTHER}) == -1
    series.suspect("silent")
    assert series.sound_event(now, {LINK, None}) == -1


def test_it_is_known_whether_a_candle_has_been_received_to_its_end() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4])
    series = warmed(truth, 1)
    series.apply(truth.frame(1, 1), LINK)
    assert not series.heard_final()
    series.apply(truth.frame(1, final=True), LINK)
    assert series.heard_final()


# --- for consumers of candles ---------------------------------------------------------------------------


def test_candles_are_given_to_consumers_from_the_first_that_closed_here() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6])
    series = series_of(truth)
    assert (series.first_to_close(), series.closed_from(0)) == (0, (0, None, None))
    answered(series, truth, 1, 499)
    assert series.first_to_close() == truth.opens[1]
    series.apply(truth.frame(1, final=True), LINK)
    assert series.first_to_close() == truth.opens[1]
    begins, text, closing = series.closed_from(truth.opens[1])
    assert (begins, text) == (0, samples.row_text(truth.row(1)))
    assert closing is not None
    assert closing.source is Source.STREAM
    assert series.closing(truth.opens[1]) == closing
    assert series.closed_from(truth.opens[0])[2] is None, "that was before it was followed"
    assert series.closing(truth.opens[0]) is None
    assert series.closed_from(truth.opens[2])[1] is None


def test_while_the_history_is_on_its_way_no_candle_is_given() -> None:
    series = series_of(LONG)
    answered(series, LONG, 200, 5)
    assert series.closed_from(LONG.opens[190]) == (0, None, None)
    begins, text, _ = series.closed_from(LONG.opens[197])
    assert text is not None
    assert begins <= LONG.opens[197] == text_open_time(text)
    loaded = series_of(LONG)
    loaded.load(warmed(LONG, 200).dump())
    assert loaded.first_to_close() == 0, "what has closed since it was saved is on its way"
    early = series_of(LONG)
    answered(early, LONG, 200, 1)
    assert early.first_to_close() == 0, "an early read has brought the open candle alone"


def test_older_candles_count_as_lost_once_the_history_has_come() -> None:
    series = series_of(LONG)
    series.begin_with(100)
    answered(series, LONG, 200, 99)
    assert series.closed_from(LONG.opens[90]) == (0, None, None), "one row is lacking"
    assert series.closed_from(LONG.opens[102])[:2] == (LONG.opens[102], samples.row_text(LONG.row(102)))
    answered(series, LONG, 200, 100)
    assert series.closed_from(LONG.opens[90])[:2] == (LONG.opens[101], samples.row_text(LONG.row(101)))


def test_what_is_known_of_a_candle_that_is_over_is_given_where_the_stream_is_live() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 0, 6])
    series = warmed(truth, 1)
    series.apply(truth.frame(1, 4), LINK)
    assert series.unconfirmed(truth.opens[1]) is None, "nothing keeps it up to date"
    series.go_live(LINK)
    text = series.unconfirmed(truth.opens[1])
    assert text is not None
    assert text_trades(text) == 4
    assert series.unconfirmed(truth.opens[2]) is None, "it is not the first"
    series.apply(truth.frame(1, final=True), LINK)
    flat = series.unconfirmed(truth.opens[2])
    assert flat is not None
    assert (text_open_time(flat), text_trades(flat)) == (truth.opens[2], 0)
    series.apply(spoilt(truth.frame(2, 0)), LINK)
    assert series.unconfirmed(truth.opens[2]) is None, "what came of it is unusable"
    assert series.unconfirmed(truth.opens[2]) is None, "and what it was is not made up"


def test_the_rows_are_looked_at_without_being_read() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6])
    series = warmed(truth, 3)
    rows = [samples.row_text(row) for row in truth.finals(0, 3)]
    assert (series.closed_rows(), series.newest_closed(2), series.newest_closed(9)) == (rows, rows[1:], rows)
    assert series.closed_after(truth.opens[1]) == rows[2]
    assert series.closed_after(truth.opens[2]) is None
    assert series.since(0, truth.opens[3], -1).closed == rows
    known = series.since(0, truth.opens[3], -1).version
    assert series.since(0, truth.opens[3], known).closed is None
    assert series.since(truth.opens[1], truth.opens[3], -1).closed == rows[1:]


def test_numbers_are_remembered_once_they_are_read_again_and_strings_never() -> None:
    series = warmed(LONG, 200)
    before = series.size()
    for _ in range(3):
        series.rows(100, None, exact=True)
    series.rows(100, None, exact=False)
    assert series.size() == before
    series.rows(100, None, exact=False)
    assert series.size() > before


def test_an_open_candle_is_decoded_once_until_a_newer_version_comes() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 9])
    series = warmed(truth, 1)
    series.apply(truth.frame(1, 4), LINK)
    [candle] = series.since(0, truth.told_at(1, 4), -1).chain
    decoded = series.decoded(candle)
    assert series.decoded(candle) is decoded
    series.apply(truth.frame(1, 5), LINK)
    [newer] = series.since(0, truth.told_at(1, 5), -1).chain
    assert series.decoded(newer)[2] == truth.row(1, 5)


@pytest.mark.parametrize("exact", [True, False])
def test_rows_that_are_decoded_after_another_candle_has_closed_do_not_spoil_later_reads(exact: bool) -> None:
    series, fresh = warmed(LONG, 200), warmed(LONG, 200)
    now = LONG.told_at(200, 1)
    _, snapshot = series.look(100, now, now, exact)
    for each in (series, fresh):
        each.apply(LONG.frame(200, final=True), LINK)
    assert len(snapshot.rows()) == 100
    assert series.rows(100, None, exact=exact) == fresh.rows(100, None, exact=exact)


# --- written down ------------------------------------------------------------------------------------------


def test_what_has_closed_is_written_and_loaded_where_nothing_is_known() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6])
    series = warmed(truth, 2)
    mark = series.dump_mark()
    loaded = series_of(truth)
    loaded.load(series.dump())
    assert loaded.closed_rows() == series.closed_rows()
    assert (loaded.complete, loaded.live(), loaded.state(truth.opens[2]).answered) == (True, False, 0)
    series.apply(truth.frame(2, final=True), LINK)
    assert series.dump_mark() != mark
    other = warmed(truth, 1)
    other.load(series.dump())
    assert len(other.closed_rows()) == 1, "it has rows of its own"
    assert tuple(series_of(truth).dump()) == ()
    assert series.prepare(()) is None


def test_where_a_loaded_row_differs_the_others_are_requested_once_more() -> None:
    other = Truth("1m", LONG.opens[0], [1] * 199 + [2] + [1] * 130)
    series = series_of(LONG)
    series.load(warmed(other, 200).dump())
    series.begin_with(150)
    answered(series, LONG, 200, 20)
    assert series.counts().mismatches == 1
    assert (len(series.closed_rows()), series.complete) == (19, False)
    assert "differs" in series.unsettled(asked(LONG, 200))
    answered(series, LONG, 200, 150)
    assert series.unsettled(asked(LONG, 200)) == ""


def test_where_the_loaded_rows_are_as_rest_shows_them_all_are_kept() -> None:
    series = series_of(LONG)
    series.load(warmed(LONG, 200).dump())
    answered(series, LONG, 200, 20)
    assert not series.unaudited
    assert (len(series.closed_rows()), series.complete, series.counts().mismatches) == (200, True, 0)
    assert series.unsettled(asked(LONG, 200)) == ""
