"""How good a symbol's data was over the last minutes, from what was really counted."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..feeds import Key
from ..store.book import DOWN_AFTER
from ..store.market import MarketStore
from ..store.series import Counts, Series
from .marks import Marks
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


class Round(NamedTuple):
    """One sample of every symbol."""

    at: float
    counts: Mapping[str, Counts]
    """Of every symbol."""
    down: Container[str]
    """Symbols of which something was not live."""
    drifted: Container[str]
    """Symbols of which something was late."""
    proven: bool
    """Whether the exchange's time was not in doubt."""

    def of(self, symbol: str) -> Sample:
        """Return the sample of one symbol."""
        drifted = not self.proven or symbol in self.drifted
        return Sample(self.at, self.counts[symbol], live=symbol not in self.down, drifted=drifted)


class Rounds(tuple[Round, ...]):
    """What was sampled, oldest first. It never changes."""

    __slots__ = ()

    def symbols(self) -> Iterable[str]:
        """Return the symbols that were followed at the last sample."""
        return self[-1].counts if self else ()

    def of(self, symbol: str) -> list[Sample]:
        """Return the samples of one symbol, oldest first; :func:`judged` says what they are worth."""
        return [each.of(symbol) for each in self if symbol in each.counts]


class QualityMeter:
    """Samples every followed symbol and judges the difference between the first and the last sample.

    Of what rests and lives nothing is computed: its counts are those of the sample before.
    """

    def __init__(self, store: MarketStore) -> None:
        self._store = store
        self._rounds: deque[Round] = deque(maxlen=int(WINDOW / SAMPLE_EVERY) + 1)
        self._due = 0.0
        self._series: Mapping[Key, Series] | None = None  # those of the store, of which the next are
        self._by_symbol: dict[str, list[Series]] = {}
        self._flat: list[Series] = []
        self._marks = Marks()
        self._counts: dict[str, Counts] = {}

    def due(self) -> float:
        return self._due

    def sample(self, at: Moment) -> None:
        """Take a sample of every symbol, if it is time."""
        if at.steady < self._due:
            return
        self._due = at.steady + SAMPLE_EVERY
        self._watch()
        if self._rounds:
            self.forget(self._rounds[-1].counts.keys() - self._by_symbol.keys())
        for symbol in self._marks.changed():
            self._counts[symbol] = _total(self._by_symbol[symbol])
        self._rounds.append(_round(self._flat, self._counts.copy(), at))

    def forget(self, symbols: Collection[str]) -> None:
        """Count these symbols from zero."""
        if symbols:
            gone = set(symbols)
            for index, each in enumerate(self._rounds):
                left = {symbol: counts for symbol, counts in each.counts.items() if symbol not in gone}
                self._rounds[index] = each._replace(counts=left)

    def judge(self, symbol: str, at: Moment) -> Quality:
        """Return the quality of a followed symbol up to now (KeyError for others)."""
        self._watch()
        every = self._by_symbol[symbol]
        return judged([*self.rounds().of(symbol), _round(every, {symbol: _total(every)}, at).of(symbol)])

    def rounds(self) -> Rounds:
        """Return what was sampled so far."""
        return Rounds(self._rounds)

    def _watch(self) -> None:
        """Begin with other series where those of the store were exchanged."""
        if self._series is self._store.series:
            return
        self._series = self._store.series
        by_symbol: dict[str, list[Series]] = {}
        for key, series in self._series.items():
            if key.symbol and not series.feed.spot:
                by_symbol.setdefault(key.symbol, []).append(series)
        self._by_symbol = by_symbol
        self._flat = [each for every in by_symbol.values() for each in every]
        self._marks = Marks(self._flat)
        self._counts = {}  # a first look at marks finds all of them changed


def _round(every: Collection[Series], counts: Mapping[str, Counts], at: Moment) -> Round:
    """Return how these series are at this moment."""
    exchange = at.exchange / 1000.0
    links = {each.link for each in every}
    sound = frozenset(link for link in links if link is not None and link.alive(exchange, DOWN_AFTER))
    late = frozenset(link for link in links if link is not None and link.age(exchange) > DRIFT)
    doubtful = [each for each in every if each.suspected or each.link not in sound or each.dies_alone]
    down = {each.key.symbol for each in doubtful if each.feed.own_stream and each.is_down(exchange)}
    drifted = {each.key.symbol for each in every if each.link in late} if late else ()
    return Round(at.steady, counts, down, drifted, at.proven)


def _total(every: Iterable[Series]) -> Counts:
    return Counts(*map(sum, zip(*(each.counts() for each in every), strict=True)))
