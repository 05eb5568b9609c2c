from __future__ import annotations

from pathlib import Path

from ats_sync.feeds import Cause
from ats_sync.store.derived import DerivedKlines
from ats_sync.store.kline_sequencer import FINAL_IN_REST_AFTER
from ats_sync.store.klines import KlineSeries
from ats_sync.store.link import Link
from ats_sync.store.series import FIRST_FRAME_WITHIN as WAIT
from ats_sync.store.series import Origin
from ats_sync.venue.klines import flat_text, text_open_time

from ..venue import recording as real
from ..venue import samples
from ..venue.samples import MIDNIGHT, MINUTE
from .candles import LINK, Truth, asked, series_of, warmed

# --- a new subscription ---------------------------------------------------------------------------


def test_it_is_contiguous_where_all_candles_before_the_first_one_of_a_link_are_closed() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6])
    other = Link(2, "market", 0.0)
    series = warmed(truth, 1)
    series.subscribed_on(other)
    series.apply(truth.frame(1, 1), LINK)
    assert (series.patience(live_once=False), series.is_contiguous()) == (WAIT, False)
    series.apply(truth.frame(1, 2), other)
    assert (series.patience(live_once=False), series.is_contiguous()) == (0.0, True)
    series.subscribed_on(other)
    series.apply(truth.frame(1, 1), other)
    assert series.patience(live_once=False) == WAIT, "what comes late proves nothing"
    series.apply(truth.frame(2, 1), other)
    assert (series.patience(live_once=False), series.is_contiguous()) == (0.0, False), "the one before may have gone on"
    series.apply(truth.frame(1, final=True), other)
    assert series.is_contiguous()


def test_an_answer_from_just_after_a_close_is_no_reason_to_request_all_rows_again() -> None:
    """Its last closed row was not final yet, so it brought one row fewer than requested."""
    truth = Truth("1m", MIDNIGHT - 300 * MINUTE, [1] * 330)
    series = series_of(truth, depth=100)
    asked_at = truth.opens[200] + FINAL_IN_REST_AFTER - 1
    series.replace(truth.texts(asked_at, 100), Origin(asked_at, 100))
    assert series.following() == truth.opens[199]
    later = asked(truth, 205)
    assert series.request(later, Cause.REPAIR, None) == series.newest_rows(8)
    few = series_of(truth, depth=100)
    few.replace(truth.texts(asked(truth, 200), 50), Origin(asked(truth, 200), 50))
    assert few.request(later, Cause.REPAIR, None) == few.newest_rows(100)


def test_nothing_is_known_at_first() -> None:
    series = KlineSeries("BTCUSDT", "1m", 500)
    standing = series.state(MIDNIGHT)
    assert (standing.rows, standing.link, standing.complete, standing.event) == (0, None, False, 0)
    assert standing.doubt
    assert series.rows(5, MIDNIGHT, exact=True) == []
    assert (series.following(), series.closed_after(0), len(series)) == (0, None, 0)


# --- halts ----------------------------------------------------------------------------------------


def flat(opened: int, truth: Truth) -> bytes:
    return flat_text(opened, opened + MINUTE - 1, truth.texts(truth.end)[-1])


def test_while_the_exchange_has_no_candles_memory_serves_what_it_has() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 11, first_trade=1)
    series = warmed(truth, 10)
    series.apply(truth.frame(10, 1), LINK)
    series.apply(truth.frame(10, 1, final=True), LINK)
    halted = truth.texts(truth.end)
    now = truth.end + 2 * MINUTE
    assert [row[0] for row in series.rows(3, now, exact=True)][-1] > truth.opens[-1], "a flat row stands in"
    series.replace(halted[-2:], Origin(truth.end + MINUTE + 5_050, 2))
    for later in (now, now + 3_600_000, now + 10 * 3_600_000):
        standing, cut = series.look(11, later, later, True)
        assert (standing.doubt, standing.rows) == ("", 11)
        assert cut.rows() == truth.rest(truth.end)
    after = Truth("1m", now, [3], first_trade=12)
    assert series.apply(after.frame(0, 1), LINK) is not None, "it trades again: what came before is requested"
    assert series.state(now + 1_000).doubt


def test_what_rest_showed_of_a_halt_is_in_doubt_as_soon_as_the_contract_is_said_to_trade() -> None:
    """A quiet contract may have no trade for hours, while REST shows flat candles again."""
    truth = Truth("1m", MIDNIGHT, [1] * 11, first_trade=1)
    series = warmed(truth, 10)
    assert not series.note_trading(MIDNIGHT), "it had not stopped"
    series.apply(truth.frame(10, 1, final=True), LINK)
    asked = truth.end + MINUTE + 5_050
    series.replace(truth.texts(truth.end)[-2:], Origin(asked, 2))
    assert not series.note_trading(asked - 1), "REST has shown since that it stands still"
    assert not series.state(asked + 10).doubt
    assert series.note_trading(asked + 20)
    assert series.state(asked + 30).doubt
    series.replace(truth.texts(truth.end)[-2:], Origin(asked + 10, 2))  # it was under way
    assert series.state(asked + 30).doubt
    series.replace([*truth.texts(truth.end)[-1:], flat(truth.end + MINUTE, truth)], Origin(asked + 40, 2))
    assert not series.state(asked + 50).doubt
    assert series.rows(1, asked + 50, exact=True)[0][0] == truth.end + MINUTE


def test_an_answer_that_lags_does_not_show_a_halt() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 11, first_trade=1)
    series = warmed(truth, 10)
    series.apply(truth.frame(10, 1, final=True), LINK)
    series.replace(truth.texts(truth.end)[-2:], Origin(truth.end + 9_000, 2))
    assert not series.stopped()
    assert series.rows(1, truth.end + 10_000, exact=True)[0][0] == truth.end


# --- the real exchange ----------------------------------------------------------------------------


def test_the_real_final_candles_are_final(recording: Path) -> None:
    for symbol in ("SUSHIUSDT", "AKROUSDT", "KEEPUSDT", "CTKUSDT"):
        series = KlineSeries(symbol, "1m", 500)
        seen = list(real.of_stream(recording, f"{symbol.lower()}@kline_1m"))
        finals = [data["k"] for _, data in seen if data["k"]["x"]]
        first = min(data["k"]["t"] for _, data in seen)
        before = [samples.row(first - MINUTE), samples.row(first, trades=0)]
        series.replace([samples.row_text(row) for row in before], Origin(first + 10_000, 2))
        for frame, _ in seen:
            series.apply(frame, LINK)
        (final,) = finals
        last = seen[-1][1]
        (closed, newest) = series.rows(2, last["E"], exact=True)
        assert closed[0] == final["t"]
        assert (closed[4], closed[5], closed[8]) == (final["c"], final["v"], final["n"])
        assert text_open_time(series.closed_rows()[-1]) == final["t"]
        if last["k"]["t"] > final["t"]:
            assert (newest[0], newest[4], newest[8]) == (last["k"]["t"], last["k"]["c"], last["k"]["n"])
        assert not series.state(last["E"]).doubt


# --- for what is derived from it -------------------------------------------------------------------


def test_everything_but_the_passing_of_time_changes_what_derived_candles_depend_on() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6])
    series = warmed(truth, 1)
    derived = DerivedKlines(series, "3m", 100)
    seen = [(series.changes(), derived.changes())]

    def differs() -> bool:
        now = series.changes(), derived.changes()
        seen.append(now)
        return now[0] != seen[-2][0] and now[1] != seen[-2][1]

    assert (series.changes(), derived.changes()) == seen[0]
    series.apply(truth.frame(1, 1), LINK)
    assert differs(), "a frame"
    series.apply(truth.frame(1, final=True), LINK)
    assert differs(), "a close"
    series.go_live(LINK)
    assert differs(), "a connection"
    series.suspect("silent")
    assert differs(), "a suspicion"
    series.note_trading(MIDNIGHT)
    assert differs(), "the end of a halt"
    series.answers += 1
    assert differs(), "an answer"
    derived.separate()
    assert derived.changes() != seen[-1][1], "it is on its own from now on"
    assert len(derived.changes()) == len(series.changes())


def test_it_is_known_how_long_nothing_changes_by_itself_where_only_the_open_candle_follows() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6])
    assert series_of(truth).since(0, truth.opens[1], -1).unchanged_until == 0, "nothing is known"
    series = warmed(truth, 1)
    assert series.since(0, truth.opens[1], -1).unchanged_until == truth.opens[2], "the answer has shown the open one"
    series.apply(truth.frame(1, 1), LINK)
    assert series.since(0, truth.opens[1], -1).unchanged_until == truth.opens[2]
    assert series.since(0, truth.opens[2], -1).unchanged_until == 0, "it is over"
    series.apply(truth.frame(2, 1), LINK)
    assert series.since(0, truth.opens[2], -1).unchanged_until == 0, "the one before is not final"
    series.apply(truth.frame(1, final=True), LINK)
    assert series.since(0, truth.opens[2], -1).unchanged_until == truth.opens[3]
