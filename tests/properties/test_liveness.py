"""Symbols of which nothing has changed are not looked at, and there is nothing to be found there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ats_sync.engine.liveness import SilentStreamDetector
from ats_sync.engine.moment import Moment

from ..virtual.schedules import FAULT_KINDS, MARKET_KINDS, fixed
from ..virtual.world import run


def everything(detector: SilentStreamDetector, known: Any) -> list[Any]:
    fields = [getattr(known, name) for name in known.__slots__ if name not in ("seen", "_ripening")]
    return [*fields, list(known._ripening), *map(list, (detector.unsure, detector.lacking, detector.counting_again))]


@pytest.mark.parametrize("number", range(4))
def test_what_is_left_out_has_nothing_to_say(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    look, look_at = SilentStreamDetector.look, SilentStreamDetector._look_at
    looked_at: set[str] = set()
    count = 0

    def note(self: SilentStreamDetector, symbol: str, *rest: Any) -> Iterator[Any]:
        looked_at.add(symbol)
        return look_at(self, symbol, *rest)

    def checked(self: SilentStreamDetector, at: Moment) -> Iterator[Any]:
        nonlocal count
        looks = at.steady >= self.due() and at.proven
        looked_at.clear()
        yield from look(self, at)
        for symbol in self._symbols.keys() - looked_at if looks else ():
            known = self._symbols[symbol]
            before = everything(self, known)
            assert list(look_at(self, symbol, known, self._by_symbol[symbol], at)) == []
            assert everything(self, known) == before
            assert not known.is_open()
            count += 1

    monkeypatch.setattr(SilentStreamDetector, "_look_at", note)
    monkeypatch.setattr(SilentStreamDetector, "look", checked)
    run(fixed("liveness", number, (*FAULT_KINDS, *MARKET_KINDS)))
    assert count > 10
