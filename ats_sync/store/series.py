"""The contract between the kinds of data and everything above the store.

The engine, the reads and the status know a series by what stands here, never by its kind.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterable, Mapping
from enum import Enum
from typing import Any, NamedTuple, NoReturn

from ..errors import MalformedAnswer
from ..feeds import FEEDS, Cause, Key
from ..venue.endpoints import Request
from ..venue.payload import DecodeError
from . import dump
from .link import Link

FIRST_FRAME_WITHIN = 1.5
"""A stream that is quiet for so long (seconds) after its acknowledgement is checked by a request."""


class Change(Enum):
    """What has become of a series."""

    CLOSED = "closed"
    """A candle has become final."""
    GAP = "gap"
    """Something may be missing before what just arrived."""
    BEGUN = "begun"
    """The first frame of a new subscription has come."""


class StoreEvent(NamedTuple):
    """What a series reports about a frame it has just merged (rarely anything)."""

    change: Change
    key: Key


class Origin(NamedTuple):
    """Where an answer comes from: the request that it answers."""

    requested_at: int
    """When it was requested (exchange ms), at the earliest."""
    rows: int = 0
    """How many of the newest rows; 0 where a range was requested, or something other than rows."""
    from_id: int | None = None
    """The id of the first trade, None where the newest were requested."""
    link: Link | None = None
    """The living subscription before the request, if any."""


class SeriesState(NamedTuple):
    """How a series is at a moment. Whether that is fresh is judged elsewhere."""

    link: Link | None = None
    """The connection that keeps it up to date."""
    suspected: str = ""
    """Why its stream seems to be dead, "" where it does not."""
    event: int = 0
    """Exchange time (ms) of the newest event or answer, 0 where there is none."""
    answered: int = 0
    """Exchange time (ms) at which the newest answer was requested, 0 where there is none."""
    rows: int = 0
    """Rows that can be served."""
    complete: bool = False
    """Whether there are no older rows to be had."""
    doubt: str = ""
    """Why what is known cannot be the whole truth, "" where nothing says so."""


class Counts(NamedTuple):
    """Totals of one series since it was begun."""

    received: int = 0
    """Frames."""
    lost: int = 0
    """Events that are known to be missing."""
    out_of_order: int = 0
    """Events that came after later ones."""
    audited: int = 0
    """Rows or books that were compared with REST."""
    mismatches: int = 0
    """Of them, those that REST corrected."""


class Copied(NamedTuple):
    """What readers see of a series (or of one symbol of a board) at one moment, for a process that keeps a copy."""

    link: Link | None
    suspected: str
    facts: Any
    """A sequence of JSON values. What is copied may have the text of that instead."""
    texts: list[bytes]
    """Texts that go with the facts, and change as often."""
    body: list[bytes] | None = None
    """Large texts: each stays the same object as long as it does not change. None in a copy whose body has not changed
    since the one before."""
    mark: object = None
    """What differs as soon as the body may have changed."""
    form: object = None
    """Where the one text is the newest frame and says all that may have changed: what :meth:`Series.frame_alone`
    takes. Of that the facts say nothing."""


class Restored(NamedTuple):
    """Rows that were written down and have been checked."""

    until: int
    """Exchange time (ms) that had come when the newest of them was known."""
    begin: Callable[[], None]
    """Lets the series begin with them. Takes next to no time."""


class Series(ABC):
    """One kind of data of one symbol (or of all).

    ``apply`` and ``replace`` are commutative and idempotent: frames and answers may come in any order and more than
    once, nothing older wins, and nothing malformed does harm. Any thread may call any method.

    A streamed series is *live* on a connection once nothing can be missing any more before what that connection
    delivers. ``link`` is that connection.
    """

    source: Series | None = None
    """The series it is derived from, None where it has a stream of its own or is polled."""

    dies_alone = False
    """Whether it may be down although its connection lives and nothing is suspected."""

    def __init__(self, key: Key) -> None:
        self.key = key
        self.feed = FEEDS[key.kind]
        self.link: Link | None = None
        self.suspected = ""
        """Why its stream seems to be dead, "" where it does not."""
        self.received = 0
        """Frames."""
        self.answers = 0
        """Answers of REST, and whatever else was noted that no frame shows: what looks at changes looks at this."""
        self.expecting = False
        """Whether rows that were written down may still come: what it lacks is not requested yet."""
        self.unaudited = False
        """Whether rows that were loaded have not been compared with REST yet."""

    # --- the way in ------------------------------------------------------------------------------

    @abstractmethod
    def apply(self, frame: bytes, link: Link) -> StoreEvent | None:
        """Merge one frame that came on ``link``. Raises :class:`~ats_sync.venue.payload.DecodeError`."""

    @abstractmethod
    def replace(self, answer: Any, origin: Origin) -> None:
        """Merge an answer of REST, as its request decodes it."""

    def check_empty(self, origin: Origin, may_be_new: Callable[[], bool], shows_no_trade: Callable[[], bool]) -> None:
        """Raise :class:`~ats_sync.errors.MalformedAnswer` where an empty answer cannot be true.

        ``may_be_new()`` says whether the contract may never have traded, ``shows_no_trade()`` whether its candles
        allow that.
        """

    def refuse_empty(self) -> NoReturn:
        """Raise it."""
        raise MalformedAnswer(f"the exchange sent no rows for {self.key}, which has some", status=200)

    def decode_ahead(self) -> None:
        """Decode and remember what reads of the usual length take, so that the first is as fast as later ones."""

    # --- written down ----------------------------------------------------------------------------

    def dump(self) -> Iterable[bytes]:
        """Return its rows as :mod:`~ats_sync.store.dump` writes them; nothing where it keeps none."""
        return ()

    def dump_mark(self) -> object:
        """Return what differs whenever :meth:`dump` may return something else than before, None where it keeps no
        rows. It costs next to nothing."""
        return None

    def load(self, parts: Iterable[bytes]) -> None:
        """Begin with the rows that :meth:`dump` wrote.

        They are older than whatever is known already: where rows are, they stay. What was loaded is neither live nor
        answered: its stream or REST must prove it before it counts as fresh. Raises
        :class:`~ats_sync.venue.payload.DecodeError`, and changes nothing, where any part is malformed, or the dump is
        of another key or a newer format.
        """
        if (restored := self.prepare(parts)) is not None:
            restored.begin()
            self.leave_to_stream()

    def prepare(self, parts: Iterable[bytes]) -> Restored | None:
        """Return the checked rows of a dump, ready to begin with; None where there are none. Errors as of
        :meth:`load`."""
        if dump.read(self.key, parts) is not None:
            raise DecodeError("bad dump", f"{self.key} keeps no rows")
        return None

    # --- for other processes ---------------------------------------------------------------------

    def copied(self, mark: object = None) -> Copied | None:
        """Return what another process needs to answer reads as this one does; None where it has nothing to copy.

        ``mark`` is that of the copy before: where the body has not changed since, it may be left out.
        """
        return None

    def frame_alone(self, form: object) -> bytes | None:
        """Return the newest frame, where a copy of now would be the one that had this form, but for the frame; None
        where that is not so. (It costs a fraction of a copy.) Connection and suspicion are not looked at."""
        return None

    def take_copy(self, copied: Copied) -> bool:
        """Become like the series that was copied; return False where what this process has requested itself is newer,
        and stays. Raises :class:`~ats_sync.venue.payload.DecodeError` for a copy of a kind
        that has none; one that was not made by :meth:`copied` raises any error, and leaves the series unusable."""
        raise DecodeError("bad copy", f"{self.key} is not copied")

    @staticmethod
    def event_in(copied: Copied) -> int:
        """Return the exchange time (ms) of the newest event or answer that a copy shows, which need not be whole: of
        its body nothing is needed. Errors as of :meth:`take_copy`."""
        raise DecodeError("bad copy", "nothing of that kind is copied")

    def answer_in(self, copied: Copied, request: Request[Any], listed: int) -> tuple[Any, int] | None:
        """Return what REST answered the process that was copied, as the answer to this request, and when (exchange ms)
        it was requested; None where the copy lacks some of it, or has rows from before the contract was ``listed``
        (exchange ms). A copy that was not made by :meth:`copied` raises any error."""
        return None

    def follow_link(self, link: Link | None) -> None:
        """Go on as copied, with what is known by now of the connection."""
        self.link = link

    # --- what it needs ---------------------------------------------------------------------------

    def request(self, now: int, cause: Cause, link: Link | None) -> Request[Any] | None:
        """Return the smallest request that closes what is missing at exchange time ``now`` (ms), None for none.

        ``link`` is its acknowledged subscription, if any.
        """
        return None

    def unsettled(self, now: int) -> str:
        """Return why another answer is needed after the one just merged, "" where none is."""
        return ""

    def reached(self) -> int | None:
        """Return how far back its rows reach (a number that falls as they grow), None where that does not measure
        progress, or nothing is known."""
        return None

    def doubted_from(self) -> int:
        """Return the exchange time (ms) from which on it is in doubt unless frames agree with what is known, 0 where it
        is not."""
        return 0

    def answerable_from(self, now: int) -> int:
        """Return the exchange time (ms) from which on an answer can close what is missing; ``now`` at the earliest."""
        return now

    def needs_refresh(self, now: float) -> bool:
        """Return whether it needs a new answer by ``now`` (steady) though nothing is missing, where its feed says that
        it may."""
        return False

    def gap_found(self, now: float) -> bool:
        """Note at ``now`` (steady) that something is missing; return whether to request it."""
        return True

    # --- liveness --------------------------------------------------------------------------------

    def subscribed_on(self, link: Link) -> None:
        """Note that its subscription was acknowledged: whatever happens from now on is delivered on ``link``."""

    def patience(self, *, live_once: bool) -> float:
        """Return for how long (seconds) after an acknowledgement a frame is worth waiting for before anything is
        requested."""
        return 0.0

    def leave_to_stream(self) -> None:
        """Request nothing for a while that the stream may bring by itself: a start with what was written down costs
        little."""

    def end_patience(self) -> None:
        """Note that :meth:`patience` is over: what is missing now is requested."""
        self.expecting = False

    def resume(self, link: Link, now: int) -> bool:
        """Go live on ``link`` where its frames have shown that nothing is missing; return whether no answer is
        needed."""
        return False

    def go_live(self, link: Link) -> None:
        """Count as live: an answer that was requested after the subscription on ``link`` was acknowledged is merged."""
        self.suspected = ""
        self.link = link

    def shown_until(self, link: Link) -> int | None:
        """Return the exchange time (ms) by which, as REST has shown, nothing had happened that is missing here; None
        where ``link`` has shown by itself that nothing is."""
        return None

    def hand_over(self, old: Link, new: Link) -> bool:
        """Go on with ``new``, which has taken over from the living ``old`` without a gap; return whether nothing is
        left to be shown."""
        if self.link is old:
            self.go_live(new)
            return True
        self.subscribed_on(new)
        return False

    def suspect(self, reason: str) -> None:
        """Trust nothing in memory until the series is live again: its stream seems to be dead."""
        self.suspected = reason
        self.link = None

    def trade_shown(self, now: int) -> tuple[int, int] | None:
        """Return the id of the newest trade that its stream has shown (-1: none), and up to when (exchange ms) a later
        one may have been left out; 0 where each has its own frame. None where its frames show no trades.

        An event that bears a time to come at ``now`` (exchange ms) counts as of now.
        """
        return None

    def live(self) -> bool:
        """Return whether a connection keeps it up to date."""
        return self.link is not None

    def lacks_older(self) -> bool:
        """Return whether older rows are still to come."""
        return False

    def streaming(self) -> bool:
        """Return whether it is live on a connection that is up."""
        link = self.link
        return link is not None and link.up and not self.suspected

    def is_down(self, exchange: float) -> bool:
        """Return whether what a user was promised of it is not kept at this exchange time (seconds)."""
        return not self.streaming()

    # --- what is known ---------------------------------------------------------------------------

    @property
    def depth(self) -> int:
        """How many rows are kept, 0 where that is fixed."""
        return 0

    @abstractmethod
    def state(self, now: int) -> SeriesState:
        """Return how it is at exchange time ``now`` (ms)."""

    def sound_event(self, now: int, alive: Container[Link | None]) -> int:
        """Return the exchange time (ms) of its newest event or answer where it is plain that nothing is wrong: one of
        the connections ``alive`` keeps it up to date, :meth:`state` at ``now`` would show no doubt, and no older rows
        are to come. -1 where it is not plain, so that all of that must be looked at."""
        return -1

    def polled_event(self, since: int) -> int:
        """Return the exchange time (ms) of the newest answer of a series that is polled, where that was requested at
        ``since`` (exchange ms) or later; -1 where it is not plain that it was."""
        return -1

    def deepen(self, rows: int) -> None:
        """Keep at least so many rows from now on."""

    def reach_back(self, rows: int) -> bool:
        """Keep at least so many rows, and fetch as many at first; return whether some of them are still lacking."""
        return False

    def begin_with(self, rows: int) -> None:
        """Fetch so many rows at first, in place of the usual number."""

    def counts(self) -> Counts:
        """Return the totals since it was begun."""
        return Counts(self.received)


class Board(Series):
    """A series that serves all symbols at once: it is live as long as its one stream or its poll is."""

    event = 0
    """Exchange time (ms) of the newest event."""

    def apply(self, frame: bytes, link: Link) -> StoreEvent | None:
        raise NotImplementedError(f"{self.key} has no stream")

    def replace(self, answer: Any, origin: Origin) -> None:
        """Merge an answer of REST; what is streamed only has none."""

    def state(self, now: int) -> SeriesState:
        return SeriesState(event=self.event, answered=self.event)

    def forget(self, symbol: str) -> None:
        """Forget what was said of a symbol whose name now belongs to another contract."""

    def copied(self, mark: object = None) -> Copied | None:
        return Copied(None, "", [self.event], [])

    def take_copy(self, copied: Copied) -> bool:
        self.event = max(self.event, copied.facts[0])
        return True

    @staticmethod
    def event_in(copied: Copied) -> int:
        return int(copied.facts[0])

    def entries(self) -> Mapping[str, Any]:
        """Return what is copied of each symbol, another object as soon as it changes. (Of most boards nothing.)"""
        return {}

    def copied_entry(self, symbol: str, entry: Any) -> Copied:
        """Return one of the entries, as :meth:`copied` does."""
        raise NotImplementedError(f"{self.key} has no entries")

    def confirm_entry(self, symbol: str) -> None:
        """Note that what was copied of a symbol is still what the other process has."""

    def take_entry(self, symbol: str, copied: Copied) -> None:
        """Have of a symbol what was copied, as :meth:`take_copy`."""
        raise DecodeError("bad copy", f"{self.key} has no entries")
