from __future__ import annotations

import pytest

from ats_sync.feeds import FEEDS, Kind
from ats_sync.store.assess import CONFIRMED_WITHIN, assess
from ats_sync.store.pending import OPEN, Candle

from ..venue.samples import MIDNIGHT, MINUTE

PATIENCE = FEEDS[Kind.KLINES].final_within


def judged(now: int, chain: list[Candle], *, closed: int = 3, stray: bool = False) -> tuple[int, str]:
    return assess("1m", MIDNIGHT + now, closed, chain, stray, MIDNIGHT, PATIENCE)


def candle(minute: int, trades: int, *, streamed: bool = True) -> Candle:
    return Candle(MIDNIGHT + minute * MINUTE, OPEN, trades, 0, b"", streamed)


def test_nothing_is_known_before_the_first_answer() -> None:
    assert assess("1m", MIDNIGHT, 0, [], False, 0, PATIENCE) == (0, "nothing is known yet")
    assert judged(5_000, [], closed=0) == (0, "nothing is known yet")


def test_an_open_candle_is_one_row_and_one_whose_time_has_come_another() -> None:
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
def test_what_can_not_be_the_whole_truth_is_doubted(now: int, chain: list[Candle], stray: bool, word: str) -> None:
    assert word in judged(now, chain, stray=stray)[1]


def test_an_answer_may_tell_of_the_next_candle_before_the_final_event_comes() -> None:
    assert judged(MINUTE + PATIENCE - 1, [candle(0, 2), candle(1, 1, streamed=False)]) == (5, "")


def test_until_then_it_is_not() -> None:
    assert judged(MINUTE + PATIENCE - 1, [candle(0, 2)])[1] == ""
    assert judged(MINUTE + CONFIRMED_WITHIN - 1, [candle(0, 0)])[1] == ""
