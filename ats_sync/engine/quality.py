"""How good a symbol's data was over the last minutes, from what was really counted."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..store.market import MarketStore
from ..store.series import Counts
from .moment import Moment

WINDOW = 300.0
SAMPLE_EVERY = 10.0
DRIFT = 1.5
"""Events that are older than this (seconds) when they are the newest of their connection have drifted."""
WEIGHTS = {"missing": 0.35, "out_of_order": 0.15, "drift": 0.20, "mismatch": 0.30}
PUBLISH, DEGRADE = 0.90, 0.85


@dataclass(frozen=True, slots=True)
class Quality:
    """``score`` = 1 − (0.35·missing + 0.15·out_of_order + 0.20·drift + 0.30·mismatch), each part from 0 to 1.

    ``missing``: events lost, or the share of time in which a series was not live, whichever is larger.
    ``out_of_order``: events that came after later ones. ``drift``: the share of time in which the newest events were
    late or the clock was in doubt. ``mismatch``: closed candles and full books that an audit by REST had to correct.
    ``seconds``: the time it was measured over, at most 300.
    """

    score: float
    missing: float
    out_of_order: float
    drift: float
    mismatch: float
    seconds: float

    @property
    def verdict(self) -> str:
        """ "publish" from 0.90 on, "degrade" from 0.85 on, "stop" below."""
        if self.score >= PUBLISH:
            return "publish"
        return "degrade" if self.score >= DEGRADE else "stop"


class Sample(NamedTuple):
    """Totals of one symbol at a moment; ``live`` and ``drifted`` hold for the moment itself."""

    at: float
    counts: Counts
    live: bool
    drifted: bool


def judged(samples: Sequence[Sample]) -> Quality:
    """Return the quality of a symbol between the first and the last of its samples."""
    times, counts, live, drifted = zip(*samples, strict=True)
    begun, ended = counts[0], counts[-1]
    received = ended.received - begun.received
    lost = ended.lost - begun.lost
    audited = ended.audited - begun.audited
    down = live.count(False) / len(live)
    missing = min(1.0, max(lost / (received + lost), down)) if lost else down
    out_of_order = min(1.0, (ended.out_of_order - begun.out_of_order) / received) if received else 0.0
    drift = drifted.count(True) / len(drifted)
    mismatch = min(1.0, (ended.mismatches - begun.mismatches) / audited) if audited else 0.0
    badness = (
        WEIGHTS["missing"] * missing
        + WEIGHTS["out_of_order"] * out_of_order
        + WEIGHTS["drift"] * drift
        + WEIGHTS["mismatch"] * mismatch
    )
    return Quality(1.0 - badness, missing, out_of_order, drift, mismatch, seconds=times[-1] - times[0])


class QualityMeter:
    """Samples every followed symbol and judges the difference between the first and the last sample."""

    def __init__(self, store: MarketStore) -> None:
        self._store = store
        self._samples: dict[str, deque[Sample]] = {}
        self._due = 0.0

    def due(self) -> float:
        return self._due

    def sample(self, at: Moment) -> None:
        """Take a sample of every symbol, if it is time."""
        if at.steady < self._due:
            return
        self._due = at.steady + SAMPLE_EVERY
        for gone in self._samples.keys() - self._store.symbols:
            del self._samples[gone]
        taken = self._take(at)
        for symbol, sample in taken.items():
            samples = self._samples.setdefault(symbol, deque(maxlen=int(WINDOW / SAMPLE_EVERY) + 1))
            samples.append(sample)

    def forget(self, symbols: Iterable[str]) -> None:
        """Count these symbols from zero."""
        for symbol in symbols:
            self._samples.pop(symbol, None)

    def judge(self, symbol: str, at: Moment) -> Quality:
        """Return the quality of a followed symbol up to now (KeyError for others)."""
        now = self._take(at, only=symbol)[symbol]
        return judged([*self._samples.get(symbol, ()), now])

    def samples(self) -> dict[str, tuple[Sample, ...]]:
        """Return the samples of every followed symbol, oldest first; :func:`judged` says what they are worth."""
        return {symbol: tuple(samples) for symbol, samples in self._samples.items() if samples}

    def _take(self, at: Moment, only: str | None = None) -> dict[str, Sample]:
        store, exchange = self._store, at.exchange / 1000.0
        symbols = store.symbols if only is None else store.symbols & {only}
        totals = {symbol: [0] * len(Counts._fields) for symbol in symbols}
        down: set[str] = set()
        drifted: set[str] = set()
        for key, series in store.series.items():
            total = totals.get(key.symbol)
            if total is None or series.feed.spot:
                continue
            for index, count in enumerate(series.counts()):
                total[index] += count
            if series.feed.own_stream and series.is_down(exchange):
                down.add(key.symbol)
            if series.link is not None and series.link.age(exchange) > DRIFT:
                drifted.add(key.symbol)
        return {
            symbol: Sample(
                at.steady, Counts(*total), live=symbol not in down, drifted=not at.proven or symbol in drifted
            )
            for symbol, total in totals.items()
        }
