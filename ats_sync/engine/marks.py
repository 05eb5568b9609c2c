"""Which of many series have changed since the last look, at next to no cost for those that have not."""

from __future__ import annotations

from collections.abc import Iterable

from ..store.series import Series


class Marks:
    """Compares what grows with each frame and answer of every series. No call is made for any of them: a look at five
    thousand that rest takes a fraction of a millisecond."""

    def __init__(self, series: Iterable[Series] = ()) -> None:
        self._series = list(series)
        self._symbols = [each.key.symbol for each in self._series]
        self._seen: list[int] = [-1] * len(self._series)

    def changed(self) -> set[str]:
        """Return the symbols of those that have changed since the last call; at the first one all."""
        marks = [each.received + each.answers for each in self._series]
        before, self._seen = self._seen, marks
        if marks == before:
            return set()
        together = zip(self._symbols, marks, before, strict=True)
        return {symbol for symbol, mark, seen in together if mark != seen}
