"""Which contracts there are, as REST lists them and as ``!contractInfo`` reports changes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import orjson

from ..errors import MalformedAnswer
from ..feeds import Cause, Key, Kind
from ..venue import endpoints
from ..venue.endpoints import Request
from ..venue.listings import (
    ContractEvent,
    ExchangeInfo,
    Phase,
    exchange_info,
    info_of,
    info_text,
    listing_text,
    phase_of,
    stream_contract,
)
from . import dump
from .link import Link
from .order import is_to_come
from .series import Board, Copied, Origin, Restored, SeriesState
from .values import AnswerCache, Dated, retention

MOST_PENDING = 1024
MOST_SYMBOLS = 4096


class ListingBoard(Board):
    """The newest answer of exchangeInfo, forgotten a while after it came.

    What was loaded is no answer, and nothing is decided by it alone: it shows which contracts there were.
    """

    def __init__(self, *, now: Callable[[], float]) -> None:
        super().__init__(Key(Kind.LISTINGS))
        self._answers: AnswerCache[ExchangeInfo] = AnswerCache(retention(self.key), now=now, most=1)
        self._loaded: Dated[ExchangeInfo] | None = None
        self._text: tuple[object, bytes] = None, b""  # of which answer, and it written down
        self.at_first: frozenset[str] = frozenset()
        """The contracts that the first answer showed as served; none before it, nor by one of a maintenance."""

    def replace(self, answer: ExchangeInfo, origin: Origin) -> None:
        """Take an answer; one that is older than the newest changes nothing."""
        if not self.at_first and not answer.is_mostly_gone():
            self.at_first = answer.trading
        self._answers.put(self.key, answer, origin.requested_at)

    def get(self) -> Dated[ExchangeInfo] | None:
        """Return the newest answer and when it was requested, None where there is none."""
        return self._answers.get(self.key)

    def known(self) -> Dated[ExchangeInfo] | None:
        """Return the newest answer, or what was loaded as long as there is none."""
        return self.get() or self._loaded

    def take_loaded(self) -> ExchangeInfo | None:
        """Return what was loaded, once."""
        loaded, self._loaded = self._loaded, None
        return loaded.value if loaded is not None else None

    def dump(self) -> Iterable[bytes]:
        known = self.known()
        return dump.write(self.key, [listing_text(known.value)], as_of=known.as_of) if known is not None else ()

    def dump_mark(self) -> object:
        known = self.known()
        return known.as_of if known is not None else 0

    def prepare(self, parts: Iterable[bytes]) -> Restored | None:
        written = dump.read(self.key, parts)
        if written is None:
            return None
        try:
            info = exchange_info(written.body())
        except MalformedAnswer as error:
            raise dump.as_decode_error(error) from None
        as_of = written.whole("as_of")
        return Restored(as_of, lambda: self._begin_restored(Dated(info, as_of)))

    def _begin_restored(self, loaded: Dated[ExchangeInfo]) -> None:
        if self.known() is None:
            self._loaded = loaded

    def copied(self, mark: object = None) -> Copied | None:
        known = self.get()
        if known is None:
            return None
        if self._text[0] is not known:
            self._text = known, info_text(known.value)
        return Copied(None, "", [known.as_of], [], [self._text[1]])

    def take_copy(self, copied: Copied) -> bool:
        if copied.body is not None:
            self.replace(info_of(copied.body[0]), Origin(copied.facts[0]))
        known = self.get()
        return known is not None and known.as_of == copied.facts[0]

    def request(self, now: int, cause: Cause, link: Link | None) -> Request[ExchangeInfo]:
        return endpoints.exchange_info()

    def state(self, now: int) -> SeriesState:
        newest, known = self.get(), self.known()
        return SeriesState(
            event=known.as_of if known is not None else 0, answered=newest.as_of if newest is not None else 0
        )


class ContractBoard(Board):
    """The newest ``!contractInfo`` event of each symbol. Events are few: each is decoded as it comes."""

    def __init__(self) -> None:
        super().__init__(Key(Kind.CONTRACTS))
        self._lock = threading.Lock()  # guards everything below
        self._newest: dict[str, ContractEvent] = {}
        self._unseen: deque[ContractEvent] = deque(maxlen=MOST_PENDING)
        self._undated: set[str] = set()  # of which there were events while the time was not sure
        self._text: tuple[object, bytes] = None, b""  # how far the events had come, and all of them written down

    def apply(self, frame: bytes, link: Link) -> None:
        """Take one ``!contractInfo`` frame."""
        event = stream_contract(frame)
        if event is None:
            return
        with self._lock:
            self.received += 1
            self.event = max(self.event, event.time)
            known = self._newest.get(event.symbol)
            if known is None and len(self._newest) >= MOST_SYMBOLS:
                return
            if known is None or event.time >= known.time:
                self._newest[event.symbol] = event
                self._unseen.append(event)

    def get(self, symbol: str) -> ContractEvent | None:
        """Return the newest event of a symbol."""
        return self._newest.get(symbol)

    def entries(self) -> Mapping[str, ContractEvent]:
        with self._lock:
            return self._newest.copy()

    def copied_entry(self, symbol: str, entry: ContractEvent) -> Copied:
        return Copied(None, "", [entry.status, entry.time, entry.onboarded], [])

    def take_entry(self, symbol: str, copied: Copied) -> None:
        status, time, onboarded = copied.facts
        with self._lock:
            self._newest[symbol] = ContractEvent(symbol, status, time, onboarded)

    def copied(self, mark: object = None) -> Copied:
        """All events in one text, for those who follow what becomes of every contract."""
        with self._lock:
            version = self.received, self.answers
            if self._text[0] != version:
                newest = self._newest.values()
                rows = [(event.symbol, event.status, event.time, event.onboarded) for event in newest]
                self._text = version, orjson.dumps(rows)
            return Copied(None, "", [self.event], [], [self._text[1]])

    def take_copy(self, copied: Copied) -> bool:
        """Nothing older wins: another process may have missed the newest event."""
        if copied.body is not None:
            with self._lock:
                for symbol, status, time, onboarded in orjson.loads(copied.body[0]):
                    known = self._newest.get(symbol)
                    if known is None or known.status == status or known.time <= time:
                        self._newest[symbol] = ContractEvent(symbol, status, time, onboarded)
                self.received += 1
        return super().take_copy(copied)

    def symbols(self) -> list[str]:
        """Return the symbols of which there was an event."""
        with self._lock:
            return list(self._newest)

    def take(self, now: int | None) -> list[ContractEvent]:
        """Return the events since the last call, in order of arrival.

        One that bears a time to come at ``now`` (exchange ms) counts as of now: what follows is later. What came while
        the time was not sure (None) is returned again where that proves true of it.
        """
        with self._lock:
            events = list(self._unseen)
            self._unseen.clear()
            self._undated.update(event.symbol for event in events)
            if now is None:
                return events
            for symbol in self._undated:
                event = self._newest.get(symbol)
                if event is not None and is_to_come(event.time, now):
                    self._newest[symbol] = replace(event, time=now)
                    self.answers += 1
                    if event not in events:
                        events.append(event)
            self._undated.clear()
        return events


def status_of(symbol: str, info: Dated[ExchangeInfo] | None, event: ContractEvent | None) -> tuple[Phase | None, str]:
    """Return the phase of a contract and the exchange's own word for it, by the newer of both sources; None and ""
    where neither has been heard."""
    if event is not None and (info is None or event.time > info.as_of):
        return phase_of(event.status), event.status
    if info is None:
        return None, ""
    return info.value.phase(symbol), info.value.statuses.get(symbol, "")
