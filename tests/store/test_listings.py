"""What other processes see of the boards of listings and contracts."""

from __future__ import annotations

import pytest

from ats_sync.store.link import Link
from ats_sync.store.listings import ContractBoard
from ats_sync.store.series import Copied

from ..venue import samples
from ..venue.samples import MIDNIGHT

LINK = Link(1, "market", 0.0)


def heard(*events: tuple[str, str, int]) -> ContractBoard:
    board = ContractBoard()
    for symbol, status, at in events:
        board.apply(samples.contract_frame(symbol, status, event=at), LINK)
    return board


def statuses(board: ContractBoard) -> dict[str, tuple[str, int]]:
    return {symbol: (event.status, event.time) for symbol, event in board.entries().items()}


def test_a_copy_has_the_newest_event_of_every_symbol_and_its_text_stays_as_long_as_none_comes() -> None:
    board, copy = heard(("BTCUSDT", "SETTLING", MIDNIGHT), ("ETHUSDT", "TRADING", MIDNIGHT + 5)), ContractBoard()
    copied = board.copied()
    assert copy.take_copy(copied)
    assert statuses(copy) == statuses(board)
    assert copy.received, "whoever looks at changes finds that there are some"
    assert copied.body is not None
    assert board.copied().body[0] is copied.body[0]  # type: ignore[index]
    board.apply(samples.contract_frame("BTCUSDT", "TRADING", event=MIDNIGHT + 9), LINK)
    assert copy.take_copy(board.copied())
    assert statuses(copy) == statuses(board)


def test_what_another_collector_has_missed_is_not_forgotten() -> None:
    copy = ContractBoard()
    copy.take_copy(heard(("BTCUSDT", "SETTLING", MIDNIGHT), ("ETHUSDT", "CLOSE", MIDNIGHT)).copied())
    copy.take_copy(heard(("BTCUSDT", "TRADING", MIDNIGHT - 1)).copied())
    assert statuses(copy) == {"BTCUSDT": ("SETTLING", MIDNIGHT), "ETHUSDT": ("CLOSE", MIDNIGHT)}


def test_an_event_that_is_dated_back_is_dated_back_in_a_copy() -> None:
    board, copy = heard(("BTCUSDT", "SETTLING", MIDNIGHT + 3_600_000)), ContractBoard()
    copy.take_copy(board.copied())
    before = board.answers
    board.take(MIDNIGHT)
    assert board.answers > before, "so the collector looks at it again"
    copy.take_copy(board.copied())
    assert statuses(copy) == {"BTCUSDT": ("SETTLING", MIDNIGHT)}


@pytest.mark.parametrize("wrong", [b"", b"5", b"[[1]]", b"{}x"])
def test_what_is_not_a_copy_is_refused(wrong: bytes) -> None:
    with pytest.raises((ValueError, TypeError)):
        ContractBoard().take_copy(Copied(None, "", [0], [], [wrong]))
