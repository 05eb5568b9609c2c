"""Which followed contracts have left the exchange, and which are back.

No single answer delists anything. A contract that is said to be gone is delisted when a second source agrees (an
event of ``!contractInfo``, a refused request, a later answer of exchangeInfo) and nothing shows that it lives: a trade,
a changed quote, a candle's event, a mark that moves. Where both are said at once,
the listings are requested again soon.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from ..store.klines import KlineSeries
from ..store.market import MarketStore
from ..store.values import Dated
from ..venue.envelope import scan_event_time
from ..venue.listings import ContractEvent, ExchangeInfo, Phase, phase_of
from ..venue.payload import DecodeError
from .moment import Moment

LOOK_EVERY = 0.5
CONFIRM_AFTER = 4.0
"""How long (seconds) after the first answer without a contract the listings are requested again before it counts as
gone."""
CONFIRM_MASS_AFTER = 120.0
"""The same where most of the market seems to have gone at once: a maintenance, more likely than the end."""
MARKS_WITHIN = 2000
"""Marks come every second; the newest may be so old (ms)."""
MASS_LEAST = 5
AT_ONCE = 1.0
"""Least pause (seconds) between two questions where an event says that something has changed."""
DOUBTED_FIRST, DOUBTED_MOST = 5.0, 60.0
"""Pauses (seconds) between questions while what is answered contradicts what streams, each twice the one before."""
DELISTED_FIRST, DELISTED_MOST = 10.0, 3000.0
"""The same after a delisting, which may have been a mistake."""
SAME_INSTANT = 1000
"""What happened within so many ms of a question may have come before its answer."""
REFUSAL_COUNTS_FOR = 60.0
"""How long (seconds) a refused request counts as a sign that its symbol is gone."""
UNLISTED_FOR = 86_400_000
"""Nothing is known for so long (ms) before exchangeInfo was answered for the first time."""
STRANGER_AGAIN_AFTER = 600.0
"""How long (seconds) a symbol of the tickers that exchangeInfo does not list is no reason to ask again."""


class _Suspect(NamedTuple):
    since: int
    """Exchange time (ms) of the first answer that said it is gone; minutes too early where the time was not known."""
    answered: float
    """When (steady) that answer came."""
    mark: str
    """Its mark price then, "" where it had none."""
    watched: bool
    """Whether marks came in then: only what comes after one of them shows whether it moves."""


@dataclass(slots=True)
class Findings:
    """What is to be done. ``ask``: the pause (seconds) after which the listings are requested again, None for never."""

    gone: set[str] = field(default_factory=set)
    back: set[str] = field(default_factory=set)
    renewed: set[str] = field(default_factory=set)
    """Those whose name belongs to another contract than before: nothing that is known of them counts any longer."""
    woken: set[str] = field(default_factory=set)
    """Those that were pending and now trade."""
    trading: dict[str, int] = field(default_factory=dict)
    """Those that are said to trade, and since when (exchange ms) at least."""
    paused: dict[str, int] = field(default_factory=dict)
    """Those that are said not to trade for a while, and since when (exchange ms) at most."""
    ask: float | None = None

    def ask_in(self, pause: float) -> None:
        """Ask again after ``pause`` seconds at the latest."""
        self.ask = pause if self.ask is None else min(self.ask, pause)


class Listings:
    """Weighs the answers against the events. Not thread-safe: the caller holds the engine's lock."""

    def __init__(self, store: MarketStore) -> None:
        self._store = store
        self._suspects: dict[str, _Suspect] = {}
        self._refused: dict[str, float] = {}
        self._strangers: dict[str, float] = {}
        self._due = 0.0
        self._doubted = DOUBTED_FIRST
        self._after_delisting = DELISTED_FIRST
        self._most_served = 0
        self._onboarded: dict[str, int] = {}
        self._ended: set[str] = set()  # followed contracts of which the newest event says that they have left
        self.pending: frozenset[str] = frozenset()
        """Followed contracts that are announced and have not traded yet."""

    def due(self) -> float:
        """Return when (steady) :meth:`look` has something to do next."""
        return self._due

    def onboarded(self, symbol: str) -> int:
        """Return when (exchange ms) the contract was listed that is followed under this name, 0 where that is not
        known."""
        known = self._onboarded.get(symbol, 0)
        info = self._store.listings.get()
        return known or (info.value.onboarded.get(symbol, 0) if info is not None else 0)

    def refused(self, symbol: str, at: Moment) -> None:
        """The exchange has just refused a request because it does not know this symbol."""
        self._refused[symbol] = at.steady

    # --- answers -----------------------------------------------------------------------------------

    def answered(self, at: Moment) -> Findings:
        """Assess the newest answer of exchangeInfo."""
        found = Findings()
        store = self._store
        info = store.listings.get()
        if info is None:
            return found
        followed = store.symbols
        phases = {symbol: store.phase(symbol) for symbol in followed | store.delisted.keys()}
        found.back = {symbol for symbol in store.delisted if phases[symbol] is not Phase.GONE}
        loaded = store.listings.take_loaded()
        if loaded is not None:
            # What was loaded of a symbol may be of a contract that had the name before.
            self._onboarded = {symbol: began for symbol, began in loaded.onboarded.items() if symbol in followed} | (
                self._onboarded
            )
        for symbol in followed:
            self._note_onboarded(symbol, info.value.onboarded.get(symbol, 0), info.as_of, found)
        pending = frozenset(symbol for symbol in followed if phases[symbol] is Phase.PENDING)
        found.woken = {symbol for symbol in self.pending - pending if phases.get(symbol) is not Phase.GONE}
        self.pending = pending
        found.trading = {symbol: info.as_of for symbol in followed if phases[symbol] is Phase.TRADING}
        found.paused = {symbol: info.as_of for symbol in followed if phases[symbol] is Phase.PAUSED}
        said_gone = {symbol for symbol in followed if phases[symbol] is Phase.GONE} - store.delisted.keys()
        for cleared in self._suspects.keys() - said_gone:
            del self._suspects[cleared]
        for cleared in [symbol for symbol in self._refused if symbol not in said_gone]:
            del self._refused[cleared]
        confirm_after = CONFIRM_MASS_AFTER if self._is_mass(info, said_gone) else CONFIRM_AFTER
        contradicted = False
        for symbol in said_gone:
            suspect = self._suspects.get(symbol)
            if suspect is None or self._sees_more_than(suspect, symbol, info.as_of):
                suspect = self._suspect(symbol, info.as_of, at)
            if self._lives(symbol, suspect):
                self._suspects[symbol] = self._suspect(symbol, info.as_of, at)
                contradicted = True
            elif self._agreed(symbol, at) or self._silent_for(suspect, info.as_of, confirm_after, at):
                self._suspects.pop(symbol, None)
                found.gone.add(symbol)
            else:
                self._suspects[symbol] = suspect
                found.ask_in(CONFIRM_AFTER)
        self._schedule(found, contradicted)
        return found

    def _schedule(self, found: Findings, contradicted: bool) -> None:
        if contradicted:
            found.ask_in(self._doubted)
            self._doubted = min(self._doubted * 2, DOUBTED_MOST)
        else:
            self._doubted = DOUBTED_FIRST
        if found.gone:
            self._after_delisting = DELISTED_FIRST
        if (found.gone or self._store.delisted) and self._after_delisting < DELISTED_MOST:
            found.ask_in(self._after_delisting)
            self._after_delisting = min(self._after_delisting * 2, DELISTED_MOST)

    def _is_mass(self, info: Dated[ExchangeInfo], said_gone: set[str]) -> bool:
        """Return whether most of the market seems to have gone, however little of it is followed."""
        served = len(info.value.trading)
        self._most_served = max(self._most_served, served)
        most = max(self._most_served, len(info.value.listed))
        return bool(said_gone) and most - served >= MASS_LEAST and served * 2 < most

    def _suspect(self, symbol: str, since: int, at: Moment) -> _Suspect:
        mark = self._store.marks.get(symbol)
        return _Suspect(since, at.steady, mark.mark_price if mark is not None else "", self._marks_come_in(since))

    def _sees_more_than(self, suspect: _Suspect, symbol: str, as_of: int) -> bool:
        """Return whether marks come in that did not when it was first said to be gone, as at the start: its silence
        counts from now on."""
        if not suspect.watched and self._marks_come_in(as_of):
            return True
        return suspect.mark == "" and self._store.marks.get(symbol) is not None

    def _marks_come_in(self, at: int) -> bool:
        return self._store.marks.event >= at - MARKS_WITHIN

    def _silent_for(self, suspect: _Suspect, as_of: int, confirm_after: float, at: Moment) -> bool:
        """Return whether it has been silent for long enough: where no marks came in, silence says little."""
        enough = 0.9 * confirm_after
        if not self._marks_come_in(suspect.since + int(enough * 1000)):
            enough = 0.9 * CONFIRM_MASS_AFTER
        return as_of >= suspect.since + int(enough * 1000) and at.steady - suspect.answered >= enough

    def _agreed(self, symbol: str, at: Moment) -> bool:
        """Return whether a second source says too that it is gone."""
        event = self._store.contracts.get(symbol)
        info = self._store.listings.get()
        if event is not None and info is not None and info.value.phase(symbol) is Phase.GONE:
            return self._store.event_phase(symbol) is Phase.GONE
        return at.steady - self._refused.get(symbol, -REFUSAL_COUNTS_FOR) < REFUSAL_COUNTS_FOR

    def _lives(self, symbol: str, suspect: _Suspect) -> bool:
        """Return whether something has happened to it since it was first said to be gone."""
        store = self._store
        after = suspect.since + SAME_INSTANT
        if store.tickers.traded.get(symbol, 0) > after:
            return True
        ring = store.trades(symbol)
        if ring is not None and ring.last_heard()[1] > after:
            return True
        if any(series.last_heard()[1] > after for series in store.of_symbol(symbol, KlineSeries)):
            return True
        quote = store.quotes.get(symbol)
        if quote is not None and _time_of(quote[1]) > after:
            return True
        mark = store.marks.get(symbol)
        return mark is not None and mark.time > after and suspect.mark not in ("", mark.mark_price)

    # --- events ------------------------------------------------------------------------------------

    def look(self, at: Moment) -> Findings | None:
        """Assess what the streams have brought since the last look, if it is time."""
        if at.steady < self._due:
            return None
        self._due = at.steady + LOOK_EVERY
        found = Findings()
        store = self._store
        events = store.contracts.take(at.exchange if at.proven else None)
        for event in events:
            if event.symbol not in store.symbols and event.symbol not in store.delisted:
                continue
            self._note_life(event, found)
            # A contract may trade for a moment between two halts: either event counts, the newest of its kind.
            known = {Phase.TRADING: found.trading, Phase.PAUSED: found.paused}.get(phase_of(event.status))
            if known is not None:
                known[event.symbol] = max(event.time, known.get(event.symbol, 0))
            newest = store.event_phase(event.symbol)
            if newest in (Phase.TRADING, Phase.PAUSED) and event.symbol in store.delisted:
                found.back.add(event.symbol)
        if events:
            found.ask_in(AT_ONCE)
        self._look_at_tickers(found, at)
        self.pending -= found.woken
        return found

    def _note_life(self, event: ContractEvent, found: Findings) -> None:
        """Tell one contract from the next of its name: the one ends before the other is listed."""
        if phase_of(event.status) is Phase.GONE:
            self._ended.add(event.symbol)
        elif event.symbol in self._ended:
            self._ended.discard(event.symbol)
            found.renewed.add(event.symbol)
        self._note_onboarded(event.symbol, event.onboarded, event.time, found)

    def _note_onboarded(self, symbol: str, onboarded: int, now: int, found: Findings) -> None:
        known = self._onboarded.get(symbol, 0)
        if onboarded > known:
            self._onboarded[symbol] = onboarded
            if known or self._was_known_before(symbol, onboarded, now):
                found.renewed.add(symbol)

    def _was_known_before(self, symbol: str, onboarded: int, now: int) -> bool:
        """Return whether something is known of a symbol that is older than the contract: of one that had the name."""
        if onboarded < now - UNLISTED_FOR:
            return False
        of_it = [each for each in self._store.series.values() if each.key.symbol == symbol and not each.feed.spot]
        states = [series.state(now) for series in of_it]
        return any(state.rows and 0 < (state.answered or state.event) < onboarded for state in states)

    def _look_at_tickers(self, found: Findings, at: Moment) -> None:
        store = self._store
        info = store.listings.get()
        if info is None:
            return
        traded = store.tickers.traded
        for symbol in store.delisted:
            if traded.get(symbol, 0) > info.as_of + SAME_INSTANT:
                found.back.add(symbol)
                found.ask_in(AT_ONCE)
        for symbol in self.pending:
            if store.tickers.seen.get(symbol, 0) > info.as_of or store.phase(symbol) is not Phase.PENDING:
                found.woken.add(symbol)
                found.ask_in(AT_ONCE)
        for symbol in store.tickers.seen.keys() - info.value.listed:
            if at.steady - self._strangers.get(symbol, -STRANGER_AGAIN_AFTER) >= STRANGER_AGAIN_AFTER:
                self._strangers[symbol] = at.steady
                found.ask_in(AT_ONCE)

    def forget(self, symbols: Iterable[str]) -> None:
        """These symbols are followed no longer."""
        for symbol in symbols:
            self._suspects.pop(symbol, None)
            self._refused.pop(symbol, None)
            self._onboarded.pop(symbol, None)
            self._ended.discard(symbol)


def _time_of(frame: bytes) -> int:
    try:
        return scan_event_time(frame)
    except DecodeError:
        return 0
