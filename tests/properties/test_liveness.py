"""Symbols of which nothing has changed are not looked at, and nothing could be found there."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from ats_sync.engine.liveness import SilentStreamDetector
from ats_sync.engine.moment import Moment

from ..virtual.schedules import FAULT_KINDS, MARKET_KINDS, fixed
from ..virtual.world import run


def everything(detector: SilentStreamDetector, known: Any) -> list[Any]:
    left_to_look = ("trades_due", "open", "books_due", "_ripening")
    fields = [getattr(known, name) for name in known.__slots__ if name not in left_to_look]
    return [*fields, list(known._ripening), *map(list, (detector.unsure, detector.lacking, detector.counting_again))]


@pytest.mark.parametrize("number", range(4))
def test_symbols_that_are_left_out_have_nothing_new(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    look = SilentStreamDetector.look
    parts = {name: getattr(SilentStreamDetector, name) for name in ("_look_at_trades", "_look_at_books")}
    looked_at: set[tuple[str, str]] = set()
    left_out = dict.fromkeys(parts, 0)

    def noting(part: str) -> Any:
        def note(self: SilentStreamDetector, symbol: str, *rest: Any) -> Iterator[Any]:
            looked_at.add((part, symbol))
            yield from parts[part](self, symbol, *rest)

        return note

    def checked(self: SilentStreamDetector, at: Moment) -> Iterator[Any]:
        looks = at.steady >= self.due() and at.proven
        looked_at.clear()
        yield from look(self, at)
        for (part, look_at), symbol in product(parts.items(), self._symbols if looks else ()):
            if (part, symbol) not in looked_at:
                known = self._symbols[symbol]
                before = everything(self, known)
                assert list(look_at(self, symbol, known, self._by_symbol[symbol], at)) == []
                assert everything(self, known) == before
                left_out[part] += 1

    for part in parts:
        monkeypatch.setattr(SilentStreamDetector, part, noting(part))
    monkeypatch.setattr(SilentStreamDetector, "look", checked)
    run(fixed("liveness", number, (*FAULT_KINDS, *MARKET_KINDS)))
    assert min(left_out.values()) > 10
