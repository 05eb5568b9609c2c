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
    look, has_changed = SilentStreamDetector.look, SilentStreamDetector._has_changed
    left_out: list[Any] = []
    count = 0

    def note(known: Any, seen: Any) -> bool:
        changed = has_changed(known, seen)
        if not changed:
            left_out.append(known)
        return changed

    def checked(self: SilentStreamDetector, at: Moment) -> Iterator[Any]:
        nonlocal count
        yield from look(self, at)
        for symbol, known in self._symbols.items():
            if known in left_out:
                before = everything(self, known)
                assert list(self._look_at(symbol, known, self._by_symbol[symbol], at)) == []
                assert everything(self, known) == before
                assert not known.is_open()
                count += 1
        left_out.clear()

    monkeypatch.setattr(SilentStreamDetector, "_has_changed", staticmethod(note))
    monkeypatch.setattr(SilentStreamDetector, "look", checked)
    run(fixed("liveness", number, (*FAULT_KINDS, *MARKET_KINDS)))
    assert count > 10
