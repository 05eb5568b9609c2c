from __future__ import annotations

import pytest

from ats_sync.errors import DataUnavailableError
from ats_sync.feeds import Key, Kind
from ats_sync.shared.liquidations import LiquidationReplica
from ats_sync.store.values import EVERYBODY


def test_liquidations_that_are_read_are_fetched_first() -> None:
    brought: list[Key] = []
    replica = LiquidationReplica(10, brought.append)
    assert replica.read("BTCUSDT", 5) == replica.read(None, 5) == []
    assert brought == [Key(Kind.LIQUIDATIONS, "BTCUSDT"), Key(Kind.LIQUIDATIONS, EVERYBODY)]


@pytest.mark.parametrize("why", ["nobody leads", ""], ids=["", "another thread has just found a leader"])
def test_liquidations_that_cannot_be_fetched_are_not_passed_off_as_complete(why: str) -> None:
    with pytest.raises(DataUnavailableError, match=f"alone, and {why}"):
        LiquidationReplica(10, lambda key: why).read(None, 5)
