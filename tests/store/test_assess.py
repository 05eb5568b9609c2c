from __future__ import annotations

import pytest

from ats_sync.feeds import FEEDS, Kind
from ats_sync.store.assess import CONFIRMED_WITHIN, Evidence, assess
from ats_sync.store.pending import OPEN, Candle
from ats_sync.store.series import SeriesState

from ..venue.samples import MIDNIGHT, MINUTE
from .candles import LINK

PATIENCE = FEEDS[Kind.KLINES].final_within


NOTHING = Evidence(
    "1m",
    PATIENCE,
    LINK,
    "",
    event=0,
    answered=0,
    complete=False,
    closed=0,
    following=0,
    chain=[],
    stray=False,
    spoilt=False,
    doubted_from=0,
    may_be_other=False,
    untraded=False,
    stopped=False,
    resumed=False,
)
OPEN_LATER = NOTHING._replace(closed=3, following=MIDNIGHT)
"""Three closed candles, and none open yet."""


def judged(now: int, chain: list[Candle], *, closed: int = 3, stray: bool = False) -> tuple[int, str]:
    state = assess(OPEN_LATER._replace(closed=closed, chain=chain, stray=stray), MIDNIGHT + now)
    return state.rows, state.doubt


def candle(minute: int, trades: int, *, streamed: bool = True) -> Candle:
    return Candle(MIDNIGHT + minute * MINUTE, OPEN, trades, 0, b"", streamed)


def test_nothing_is_known_before_the_first_answer() -> None:
    assert assess(NOTHING, MIDNIGHT) == SeriesState(LINK, doubt="nothing is known yet")
    assert judged(5_000, [], closed=0) == (0, "nothing is known yet")


def test_an_open_candle_is_one_row_and_one_that_has_just_begun_another() -> None:
    assert judged(5_000, [candle(0, 2)]) == (4, "")
    assert judged(5_000, []) == (4, "")
    assert judged(MINUTE, [candle(0, 2)]) == (5, "")


@pytest.mark.parametrize(
    ("now", "chain", "stray", "word"),
    [
        (5_000, [candle(0, 2)], True, "missing"),
        (MINUTE + 100, [candle(0, 2), candle(1, 1)], False, "lost"),
        (MINUTE + 100, [candle(0, 2), candle(1, 1), candle(2, 1, streamed=False)], False, "lost"),
        (MINUTE + PATIENCE, [candle(0, 2)], False, "overdue"),
        (MINUTE + PATIENCE, [candle(0, 2), candle(1, 1, streamed=False)], False, "overdue"),
        (2 * MINUTE + PATIENCE, [candle(0, 0), candle(1, 1), candle(2, 1, streamed=False)], False, "overdue"),
        (MINUTE + CONFIRMED_WITHIN, [candle(0, 0)], False, "confirmed"),
        (3 * MINUTE, [], False, "confirmed"),
    ],
)
def test_what_cannot_be_the_whole_truth_is_in_doubt(now: int, chain: list[Candle], stray: bool, word: str) -> None:
    assert word in judged(now, chain, stray=stray)[1]


def test_an_answer_may_show_the_next_candle_before_the_final_event_comes() -> None:
    assert judged(MINUTE + PATIENCE - 1, [candle(0, 2), candle(1, 1, streamed=False)]) == (5, "")


def test_a_candle_that_is_over_is_not_in_doubt_before_its_patience_ends() -> None:
    assert judged(MINUTE + PATIENCE - 1, [candle(0, 2)])[1] == ""
    assert judged(MINUTE + CONFIRMED_WITHIN - 1, [candle(0, 0)])[1] == ""


def test_what_is_known_beside_the_candles_is_passed_on() -> None:
    known = OPEN_LATER._replace(suspected="it is silent", event=7, answered=5, complete=True)
    assert assess(known, MIDNIGHT) == SeriesState(LINK, "it is silent", 7, 5, 4, True)


def test_a_contract_that_has_not_traded_yet_has_no_rows_and_lacks_none() -> None:
    assert assess(NOTHING._replace(untraded=True, answered=5), MIDNIGHT) == SeriesState(LINK, "", 0, 5, 0, True)


def test_while_the_exchange_has_no_candles_nothing_is_overdue() -> None:
    halted = OPEN_LATER._replace(stopped=True)
    later = MIDNIGHT + 9 * MINUTE
    assert assess(halted, later) == SeriesState(LINK, rows=3)
    assert "missing" in assess(halted._replace(stray=True), later).doubt
    assert "halt" in assess(halted._replace(resumed=True), later).doubt


def test_an_unusable_or_contradicted_candle_is_in_doubt() -> None:
    assert "unusable" in assess(OPEN_LATER._replace(spoilt=True), MIDNIGHT).doubt
    contradicted = OPEN_LATER._replace(doubted_from=MIDNIGHT + 5)
    assert not assess(contradicted, MIDNIGHT + 4).doubt
    assert "fewer trades" in assess(contradicted, MIDNIGHT + 5).doubt
