from __future__ import annotations

import pytest

from ats_sync.store.halts import Halt
from ats_sync.store.order import LAGS_AT_MOST
from ats_sync.store.pending import ANSWERED_WITHIN

BEGINS, MINUTE = 1_795_219_200_000, 60_000


def test_an_answer_that_lacks_candles_by_more_than_a_replica_lags_shows_a_halt() -> None:
    halt = Halt()
    halt.note_answer(BEGINS + ANSWERED_WITHIN - 1, BEGINS)
    assert not halt.lasts(0)
    halt.note_answer(BEGINS + ANSWERED_WITHIN, BEGINS)
    assert halt.lasts(0) == BEGINS + ANSWERED_WITHIN
    assert halt.lacks_by == ANSWERED_WITHIN
    halt.note_answer(BEGINS + ANSWERED_WITHIN, BEGINS + MINUTE)
    assert not halt.lasts(0), "the newest answer counts"


def test_a_later_event_ends_what_an_answer_showed() -> None:
    halt = Halt()
    shown = BEGINS + ANSWERED_WITHIN
    halt.note_answer(shown, BEGINS)
    assert halt.lasts(shown - 1)
    assert not halt.lasts(shown)


def test_a_halt_is_over_once_the_contract_is_said_to_trade() -> None:
    halt = Halt()
    shown = BEGINS + ANSWERED_WITHIN
    halt.note_trading(shown)
    assert not halt.is_over(0), "there is none"
    halt.note_answer(shown, BEGINS)
    assert not halt.is_over(0), "REST has shown since that there are no candles"
    halt.note_trading(shown + 1)
    assert halt.is_over(0)
    halt.note_trading(BEGINS)
    assert halt.is_over(0), "what is said late changes nothing"
    assert not halt.is_over(shown + 1), "a candle has begun"


@pytest.mark.parametrize("announced", [False, True])
def test_a_replica_that_lags_shows_a_halt_that_is_over(announced: bool) -> None:
    halt = Halt()
    if announced:
        halt.note_paused(BEGINS)
    else:
        halt.note_answer(BEGINS + ANSWERED_WITHIN, BEGINS)
    resumed = BEGINS + ANSWERED_WITHIN + 1
    halt.note_trading(resumed)
    halt.note_answer(resumed + LAGS_AT_MOST - 1, BEGINS)
    assert halt.is_over(0)
    halt.note_answer(resumed + LAGS_AT_MOST, BEGINS)
    assert not halt.is_over(0), "every replica knows by then"


@pytest.mark.parametrize(
    ("paused", "trading", "closes", "following", "covered"),
    [
        (None, None, MINUTE, 2 * MINUTE, False),
        (30_000, None, MINUTE, 2 * MINUTE, True),
        (2 * MINUTE, None, MINUTE, 2 * MINUTE, False),  # it still traded when the next candle began
        (30_000, MINUTE, MINUTE, 2 * MINUTE, True),
        (30_000, MINUTE - 1, MINUTE, 2 * MINUTE, False),  # it traded before the candle was over
        (30_000, 20_000, MINUTE, 2 * MINUTE, True),  # that was before
    ],
)
def test_candles_may_belong_to_a_pause_that_the_contract_has_announced(
    paused: int | None, trading: int | None, closes: int, following: int, covered: bool
) -> None:
    halt = Halt()
    if paused is not None:
        halt.note_paused(BEGINS + paused)
    if trading is not None:
        halt.note_trading(BEGINS + trading)
    assert halt.may_cover(BEGINS + closes, BEGINS + following) is covered


def test_only_a_later_pause_replaces_an_announced_one() -> None:
    halt = Halt()
    halt.note_paused(BEGINS)
    halt.note_trading(BEGINS + MINUTE)
    halt.note_paused(BEGINS)
    assert not halt.may_cover(BEGINS + 2 * MINUTE, BEGINS + 3 * MINUTE), "it is announced again, and is over"
    halt.note_paused(BEGINS + 90_000)
    assert halt.may_cover(BEGINS + 2 * MINUTE, BEGINS + 3 * MINUTE)
