"""One schedule from beginning to end: an exchange, a client, faults, readers, and the promises, which are checked
throughout."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from ats_sync.config import Config
from ats_sync.errors import AtsSyncError, DataError, InvalidSymbol, NotInMemory, RequestError
from ats_sync.feeds import FEEDS, Key, Kind, stream_of
from ats_sync.look import feed_statuses
from ats_sync.queries.books import book_of
from ats_sync.queries.candles import Klines
from ats_sync.queries.periods import OpenInterest
from ats_sync.queries.trades import TradesText
from ats_sync.queries.values import MarkPrice, spot_price
from ats_sync.reads import Query, Reads, memory_only
from ats_sync.status import FeedState
from ats_sync.store.depth import DepthSeries
from ats_sync.store.klines import KlineSeries
from ats_sync.venue.books import Book
from ats_sync.venue.trades import Trade, trades_of_text

from . import truth
from .care import forgotten
from .exchange import BrokenPromise, Exchange
from .faults import Fault, MarketFault
from .process import Process
from .recording import FULL_LEVELS, QUOTES_EVERY, SETTINGS, recording
from .reported import NOTHING, DerivedTruth, KlineTruth, Position
from .script import MINUTE, Setting
from .timeline import MachineClocks, Timeline

CONVERGED_WITHIN = 30_000
LOOK_EVERY = 1_000
PEEKS = 5
SLACK = 500
"""What the network takes, and what our idea of the exchange's time may lag (ms)."""
STALE_KLINES = 3_000 + SLACK
STALE_TRADES = 3_000 + SLACK
STALE_BOOK = 2_000 + SLACK
STALE_DAMAGED_BOOK = 6_500 + SLACK
STALE_MARK = 5_000 + SLACK
STALE_ALL_SILENT = 5_500 + SLACK
"""A connection that answers pings and delivers nothing at all."""
EVIDENCE_LATE = 2_000
"""What shows that a stream is silent may come so late (ms) on a connection that delivers late and counts as alive."""
ALL_STREAMS = "@"
THROTTLE = 450
JOINED = 1_500
"""A reader may be given the answer of a request that was sent so long before it asked."""
LAGGING = 8_000
"""By so much more than REST lags (ms) may a series be behind that nothing was reported since."""
SHOWN_WITHIN = 25_000
"""What rests is compared with REST so soon (ms) after the last fault ..."""
SCARCE = 120_000
"""... and by so much later where there is little weight."""
MOST_ALIKE = 15
"""So many requests for one series within ten seconds are a storm, unless readers make them."""
MANY = 8
"""What more symbols weigh is much of a minute's share."""
CLOSED_WITHIN = 10_000
"""What is missing is known and repaired so soon (ms) after the turn of a minute."""
CONFIRMED_WITHIN = 30_000
"""A candle that seemed to be without trades is confirmed by REST so soon (ms)."""
DELISTED_WITHIN = 150_000
RELISTED_WITHIN = 12_000
"""Nothing of the contract that had the name before is served so long (ms) after another one has it: that has to be
noticed, and a replica that lags by 10 s goes on to show the old one."""
BACK_WITHIN = 90_000
"""A symbol that is back is no longer taken for delisted after so long (ms)."""
MAX_TRADES = 60


@dataclass(frozen=True)
class Read:
    """A read that may wait for REST."""

    at: int
    kind: str
    symbol: int = 0
    interval: int = 0
    limit: int = 20


@dataclass(frozen=True)
class Schedule:
    """Everything that a run depends on."""

    setting: int | Setting = 0
    """A setting of its own, or one of those that all tests share."""
    seed: int = 0
    faults: tuple[Fault, ...] = ()
    reads: tuple[Read, ...] = ()
    weight_limit: int = 2400
    connection_max_age: float = 23 * 3600.0
    wall_error: float = 0.0
    audit_every: float = 300.0
    skip: int = 0
    """Where the recording is entered (ms after its start)."""
    full_book: bool = False
    """Whether somebody reads the first symbol's whole book."""
    counting: str = "clock"
    """How the exchange counts weight, see :class:`~tests.virtual.exchange.Exchange`."""
    report_lag: int = 0
    """How old (ms) the used weight is that its answers report."""
    derive: bool = False
    """Whether larger candles are derived from smaller ones."""

    @property
    def whole_setting(self) -> Setting:
        """Return the setting with what the market does in addition."""
        setting = self.setting if isinstance(self.setting, Setting) else SETTINGS[self.setting]
        more = [entry for fault in self.faults if isinstance(fault, MarketFault) for entry in fault.script()]
        known = [entry for entry in more if entry[2] in setting.symbols]
        return replace(setting, script=tuple(sorted({*setting.script, *known}))) if known else setting

    @property
    def ends(self) -> int:
        return max([20_000, *(fault.ends for fault in self.faults), *(read.at for read in self.reads)])


class Check(Protocol):
    def check(self) -> None:
        """Raise :class:`BrokenPromise` where it does not hold."""


@dataclass
class World:
    schedule: Schedule
    pauses: int = 0
    stopped_at: int = 0
    went_on: int = 0
    """When the process went on after a pause."""
    lag: int = 0
    lag_until: int = 0
    slow_until: int = 0
    empty_until: int = 0
    """So long REST shows nothing of anything."""
    unanswered_until: int = 0
    """So long requests fail."""
    others_until: int = 0
    """When the minute ends of which another program has used some weight."""
    patience: int = 0
    """How much longer (ms) than usual the recovery may take."""
    lagged: int = 0
    """How often connections began to lag for good."""
    held_up_until: float = 0.0
    """So long some connection delivers late."""
    delisted: dict[str, int] = field(default_factory=dict)
    not_fresh: list[tuple[int, str]] = field(default_factory=list)
    """When (ms after the beginning) memory could not answer, and what."""
    checks: list[Check] = field(default_factory=list)
    """What else has to hold in the end."""
    loaded: list[int] = field(default_factory=list)
    """How many series each process that was started later began with something."""
    served: dict[str, int] = field(
        default_factory=lambda: {"memory": 0, "rest": 0, "raised": 0, "peeks": 0, "fresh": 0}
    )

    def __post_init__(self) -> None:
        schedule = self.schedule
        self.recording = recording(schedule.whole_setting, schedule.full_book)
        self.symbols = self.recording.setting.symbols
        self.intervals = self.recording.setting.intervals
        self.rng = random.Random(schedule.seed)
        self.line = Timeline(self.recording.start)
        self.clocks = MachineClocks(self.line, wall_error=schedule.wall_error)
        self.config = Config(
            futures_weight_limit=schedule.weight_limit,
            connection_max_age=schedule.connection_max_age,
            max_klines=120 if schedule.derive else 100,
            warmup_klines=80 if schedule.derive else 60,
            derive_intervals=schedule.derive,
            max_trades=MAX_TRADES,
            max_open_interest=10,
            proxies={},
        )
        self.exchange = Exchange(
            self.line,
            self.recording,
            self.rng,
            weight_limit=schedule.weight_limit,
            share=self.config.weight_share,
            counting=schedule.counting,
            report_lag=schedule.report_lag,
        )
        self.process = Process(self.line, self.clocks, self.exchange, self.config, self.rng)
        self.process.engine.reconciler._queue.audit_every = schedule.audit_every
        self.process.looked.append(self._look)
        self._damaged: set[str] = set()
        self._forgotten: dict[Key, str] = {}
        self._peeks: list[Callable[[], None]] = [
            *(self._peek_klines(s, i) for s in self.symbols for i in self.intervals),
            *(self._peek_trades(s) for s in self.symbols),
            *(self._peek_book(s) for s in self.symbols),
            *(self._peek_mark(s) for s in self.symbols),
            *(self._peek_full_book(s) for s in self.recording.full_books),
        ]

    # --- the run --------------------------------------------------------------------------------------------

    def run(self) -> World:
        schedule, line = self.schedule, self.line
        self.process.start(self.symbols, self.intervals)
        if self.recording.full_books:
            self.process.follow(self.process.store.follow(Key(Kind.DEPTH, each) for each in self.recording.full_books))
        for fault in schedule.faults:
            fault.arm(self)
        line.after(LOOK_EVERY, self._look_at_all)
        for read in sorted(schedule.reads, key=lambda each: each.at):
            line.run_until(line.start + read.at)
            line.run_until(line.now + 120_000, lambda: not self.process.stopped)
            self._read(read)
        line.run_until(line.start + schedule.ends)
        converged = max(line.now, self.others_until, self.exchange.waits_until()) + CONVERGED_WITHIN
        while line.now < converged:
            line.run_until(converged)
            if self.exchange.waits_until() + CONVERGED_WITHIN > converged and not self._may_send():
                converged = self.exchange.waits_until() + CONVERGED_WITHIN
        line.run_until(line.now + self.patience)
        if len(self.symbols) > MANY:
            # A warm-up and its repair, or two repairs, weigh more than a minute's share: the rest waits for the next
            # minute. (Where any sixty seconds count, what was our own before it looks like another program's until the
            # next.)
            line.run_until(line.now + 61_000)
        if schedule.weight_limit < 1000:
            # A resting series is confirmed once its candle has been over for a minute, and that waits for weight, too.
            halts = [at for at, verb, _ in schedule.whole_setting.script if verb.startswith("halt")]
            line.run_until(max(line.now, line.start + max(halts, default=0) + 120_000))
            # A warm-up weighs more than a minute's share, and so do repairs of what has begun again.
            line.run_until(line.now + (61_000 if schedule.weight_limit >= 200 else 185_000))
            if schedule.report_lag:
                # In a late report, what was our own a minute ago looks like another program's for as long again.
                line.run_until(line.now + 61_000)
        settled = -1
        while settled < line.now:
            settled = line.now
            self._await_beginnings()
            # A close may show that something is missing, as the first one after a halt does.
            line.run_until(max(line.now, line.now // MINUTE * MINUTE + CLOSED_WITHIN))
        self._check_converged()
        self._check_growth()
        self._check_pauses()
        for each in self.checks:
            each.check()
        return self

    def _await_beginnings(self) -> None:
        """Go on until no contract has just traded for the first time, since its history is requested then."""
        line, within = self.line, SCARCE if self.schedule.weight_limit < 1000 else CONVERGED_WITHIN
        klines = [self._known(series.key) for series in self.process.store.of(KlineSeries)]
        while line.now < (known_by := max((each.begun_at(line.now) for each in klines), default=0) + within):
            line.run_until(known_by)

    def _may_send(self) -> bool:
        return self.exchange.waits_until() < self.line.now

    def damaged(self, what: str) -> None:
        """Note that streams with this in their name do not receive everything they should."""
        self._damaged.add(what)

    def _is_damaged(self, stream: str) -> bool:
        return any(what == "final" or what in stream for what in self._damaged)

    def _unwitnessed(self, stream: str) -> bool:
        """Return whether a stream and the arrays of all symbols both lose events: nobody can know of what both lose."""
        return self._is_damaged(stream) and any(what.startswith("!") for what in self._damaged)

    # --- what memory says at once -------------------------------------------------------------------------------

    def _look_at_all(self) -> None:
        self.line.after(LOOK_EVERY, self._look_at_all)
        if not self.process.stopped:
            for peek in self.rng.sample(self._peeks, PEEKS):
                self._peek(peek)
        self._check_care()
        self._check_burials()

    def _check_burials(self) -> None:
        if any(what.startswith("!") or what == ALL_STREAMS for what in self._damaged) or self.exchange.dark:
            return  # Nothing shows that they are alive.
        now = self.line.now
        for symbol in self.process.store.delisted.keys() - self.delisted.keys():
            if self.recording.away_since(symbol, now) or now - self.recording.back_since(symbol, now) < BACK_WITHIN:
                continue
            raise BrokenPromise(f"{symbol} lives and is taken for delisted")

    def _check_care(self) -> None:
        """Raise where it holds for the same reason at two looks in a row, since news may be on its way from one thread
        to another."""
        before, self._forgotten = self._forgotten, {} if self.process.stopped else forgotten(self.process)
        for key, reason in self._forgotten.items():
            if before.get(key) == reason:
                raise BrokenPromise(f"{key} is forgotten: {reason}")

    def _look(self) -> None:
        """Now and then look at something right after a step."""
        if self.rng.random() < 0.12:
            self._peek(self.rng.choice(self._peeks))

    def _peek(self, peek: Callable[[], None]) -> None:
        self.served["peeks"] += 1
        with memory_only():
            try:
                peek()
            except (NotInMemory, InvalidSymbol) as error:
                self.not_fresh.append((self.line.now - self.line.start, str(error)))
                return
        self.served["fresh"] += 1

    def _since(self, stale: int) -> int:
        if ALL_STREAMS in self._damaged:
            stale = max(stale, STALE_ALL_SILENT)
        if self._damaged and self.held_up_until > self.line.now - EVIDENCE_LATE:
            stale += EVIDENCE_LATE
        lagging = self.lag + LAGGING if self.line.now < self.lag_until + 10_000 else 0
        return self.line.now - stale - lagging

    def _peek_klines(self, symbol: str, interval: str) -> Callable[[], None]:
        key = Key(Kind.KLINES, symbol, interval)

        def peek() -> None:
            rows = _read(
                self.process.reads,
                Klines(key, self.rng.randrange(1, 6), None, exact=True),
            )
            since = self._since(STALE_KLINES)
            self._check_klines(symbol, interval, self._stream(key), rows, self._known(key), since)

        return peek

    def _root(self, key: Key) -> Key:
        """Return the series whose stream feeds a series of candles."""
        return self.process.store.derivations.root_of(key)

    def _stream(self, key: Key) -> str:
        return stream_of(self._root(key)) or ""

    def _known(self, key: Key) -> KlineTruth:
        known, root = self.recording.klines[key.symbol, key.interval], self._root(key)
        return known if root == key else DerivedTruth(known, self.recording.klines[key.symbol, root.interval])

    def _check_klines(
        self, symbol: str, interval: str, stream: str, rows: list[truth.Row], known: KlineTruth, since: int
    ) -> None:
        if symbol in self.delisted or self._left(symbol, since) is not None:
            # The recording goes on with trades that were never reported, or another contract has or will have the name,
            # so for a while there is no truth to compare with.
            truth.check_invariants(rows, interval, known, (since, self.line.now))
            return
        if self._seems_untraded(rows, since):
            return
        reported = self._reported(symbol, interval, stream, rows, since)
        closed = since - CONFIRMED_WITHIN if self.lag_until else since
        truth.check_klines(
            rows, interval, known, since=since, until=self.line.now, last_reported=reported, closed=closed
        )

    def _seems_untraded(self, found: Sequence[object], since: int) -> bool:
        """Return whether a contract may seem never to have traded, since REST showed nothing about anything: only what
        is sent from then on shows that it has."""
        return not found and since < self.empty_until

    def _reported(
        self, symbol: str, interval: str, stream: str, rows: list[truth.Row], since: int
    ) -> tuple[int, Position] | None:
        """Return what the newest candle must have reached."""
        key = Key(Kind.KLINES, symbol, interval)
        known_klines = self._known(key)
        reported = known_klines.last_reported(self._until_delisting(symbol, since))
        if self._is_resting(symbol, known_klines.reported_at, STALE_KLINES) or self._unwitnessed(stream):
            return None
        if reported is None or not self._is_damaged(stream):
            return reported
        series = self.process.store.klines(symbol, self._root(key).interval)
        _, event, answered = series.last_heard()
        unreported_until = max(event, answered) + THROTTLE
        known = self.recording.trades[symbol]
        first = known_klines.versions[reported[0]][0]
        if reported[1][0] != first.generation:
            return None  # Where it was recomputed meanwhile, trades do not add up.
        held = next((row[8] for row in rows if row[0] == reported[0]), 0)
        counted = first.trades
        for at, count in zip(known.times, known.counts, strict=True):
            if at >= reported[0] and at <= since:
                counted += count
                if counted > held and at > unreported_until:
                    return reported
        # What is missing was traded so soon after the last event that its absence is not evidence.
        return None

    def _is_resting(self, symbol: str, reported_at: list[int], stale: int) -> bool:
        """Return whether a series has rested since before REST lagged or while it did: nothing shows what an answer of
        that time lacked until another request, when no replica is that far behind."""
        line, scarce = self.line, SCARCE if self.schedule.weight_limit < 1000 else 0
        mended = max(line.start + self.schedule.ends, self.others_until, self.exchange.waits_until())
        if not self.lag_until or line.now >= mended + SHOWN_WITHIN + self.patience + scarce:
            return False
        since = self._until_delisting(symbol, line.now - stale)
        rests_since = max(since - LAGGING - self.lag, min(since, self.lag_until))
        return bisect_right(reported_at, rests_since) == bisect_right(reported_at, since)

    def _until_delisting(self, symbol: str, since: int) -> int:
        left = self._left(symbol, since)
        return min(since, self.delisted.get(symbol, since), since if left is None else left)

    def _left(self, symbol: str, since: int) -> int | None:
        """Return when the symbol left, where by ``since`` it had not been back for long enough to find out."""
        now = self.line.now
        for left, back in self.recording.away[symbol]:
            # While the process is stopped, has no weight or must wait after a 429, or requests fail, it cannot find
            # out.
            waited = max(self.others_until, self.exchange.waits_until(), self.unanswered_until)
            known = max(back, self.went_on if self.stopped_at <= back else 0, waited)
            if left <= now and known > since - RELISTED_WITHIN:
                return left
        return None

    def _peek_trades(self, symbol: str) -> Callable[[], None]:
        known = self.recording.trades[symbol]
        stream = stream_of(Key(Kind.TRADES, symbol)) or ""

        def peek() -> None:
            trades = _read_trades(self.process.reads, symbol, self.rng.randrange(1, 30))
            since = self._until_delisting(symbol, self._since(STALE_TRADES))
            excused = self._is_resting(symbol, known.reported_at, STALE_TRADES) or self._unwitnessed(stream)
            excused |= self._seems_untraded(trades, since)
            reported = NOTHING if excused else known.last_reported(since)
            truth.check_trades(trades, known, last_reported=reported, until=self.line.now)

        return peek

    def _peek_book(self, symbol: str) -> Callable[[], None]:
        known = self.recording.books[symbol]
        stream = stream_of(Key(Kind.BOOK, symbol)) or ""

        def peek() -> None:
            book = _read(self.process.reads, book_of(symbol, 20, None))
            damaged = self._is_damaged(stream)
            since = self._since(STALE_DAMAGED_BOOK if damaged else STALE_BOOK)
            until = self._until_delisting(symbol, since)
            # What a damaged stream left out after the last quotes of a symbol that has left is shown by nothing.
            since = until // QUOTES_EVERY * QUOTES_EVERY if damaged and until < since else until
            reported = NOTHING if self._unwitnessed(stream) else known.last_reported(since)
            book = self._as_recorded(symbol, book)
            if damaged and reported != NOTHING and truth.same_touch(book, known, reported):
                reported = (
                    NOTHING  # Where only deeper levels have changed, nothing shows that the stream lacks a frame.
                )
            truth.check_book(book, known, last_reported=reported)

        return peek

    def _as_recorded(self, symbol: str, book: Book) -> Book:
        """Return a book with the update id that was recorded. A spoilt frame may bear a time to come."""
        update_id = self.exchange.true_update_id(symbol, book.update_id)
        return replace(book, update_id=update_id, time=min(book.time, self.line.now))

    def _peek_full_book(self, symbol: str) -> Callable[[], None]:
        known = self.recording.full_books[symbol]
        stream = stream_of(Key(Kind.DEPTH, symbol)) or ""

        def peek() -> None:
            book = self._as_recorded(symbol, _read(self.process.reads, book_of(symbol, FULL_LEVELS, None)))
            damaged = self._is_damaged(stream)
            since = self._until_delisting(symbol, self._since(STALE_DAMAGED_BOOK if damaged else STALE_BOOK))
            reported = NOTHING if self._unwitnessed(stream) else known.last_reported(since)
            if damaged and reported != NOTHING and truth.same_touch(book, known, reported):
                reported = NOTHING
            truth.check_book(book, known, last_reported=reported, limit=FULL_LEVELS)

        return peek

    def _peek_mark(self, symbol: str) -> Callable[[], None]:
        def peek() -> None:
            mark = _read(self.process.reads, MarkPrice(symbol, None))
            truth.check_mark(mark, self._marks(symbol, mark.time), since=self._since(STALE_MARK))

        return peek

    def _marks(self, symbol: str, time: int) -> dict[tuple[str, int], str]:
        """Return the marks to compare with: none of a second in which another contract got the name, since both have
        it."""
        relisted = any(time <= back < time + 1_000 for _, back in self.recording.away[symbol])
        return {} if relisted else self.recording.marks

    # --- what a reader gets who may wait --------------------------------------------------------------------------

    def _read(self, read: Read) -> None:
        symbol = self.symbols[read.symbol % len(self.symbols)]
        interval = self.intervals[read.interval % len(self.intervals)]
        process, reads = self.process, self.process.reads
        asked, hits = self.line.now, process.counters.hits
        value: Any
        try:
            if read.kind == "klines":
                value = _read(reads, Klines(Key(Kind.KLINES, symbol, interval), read.limit, None, exact=True))
            elif read.kind == "trades":
                value = _read_trades(reads, symbol, read.limit)
            elif read.kind == "book":
                value = _read(reads, book_of(symbol, read.limit, None))
            elif read.kind == "mark":
                value = _read(reads, MarkPrice(symbol, None))
            elif read.kind == "open interest":
                value = _read(reads, OpenInterest(symbol, self.config.open_interest_periods[0], 5, None))
            else:
                value = spot_price(reads, symbol, None, str)
        except (DataError, RequestError, InvalidSymbol, LookupError) as error:
            if not isinstance(error, AtsSyncError):
                raise
            self.served["raised"] += 1
            return
        if process.counters.hits > hits:
            self.served["memory"] += 1
            return  # the same as a peek, of which there are many
        self.served["rest"] += 1
        slow = 12_000 if self.line.now < self.slow_until else 0
        since = asked - JOINED - slow - (self.lag + 2000 if self.line.now < self.lag_until + 15_000 else 0)
        left = self._left(symbol, since)
        since = self._until_delisting(symbol, since)
        if read.kind == "klines":
            known = self.recording.klines[symbol, interval]
            if left is not None:
                truth.check_invariants(value, interval, known, (since, self.line.now))
                return
            reported = self._known(Key(Kind.KLINES, symbol, interval)).last_reported(since)
            truth.check_klines(value, interval, known, since=since, until=self.line.now, last_reported=reported)
        elif read.kind == "trades":
            reported_trade = self.recording.trades[symbol].last_reported(since)
            truth.check_trades(value, self.recording.trades[symbol], last_reported=reported_trade, until=self.line.now)
        elif read.kind == "book":
            value = self._as_recorded(symbol, value)
            truth.check_book(
                value, self.recording.books[symbol], last_reported=self.recording.books[symbol].last_reported(since)
            )
        elif read.kind == "mark":
            truth.check_mark(value, self._marks(symbol, value.time), since=since - 1100)

    # --- the end ------------------------------------------------------------------------------------------------

    def _check_converged(self) -> None:
        process, now = self.process, self.line.now
        left_alone = self._unheard() | self._resumed_lately()
        for status in feed_statuses(process.engine, process.store, process.clock):
            key = Key(Kind(status.kind), status.symbol, status.interval)
            if key in left_alone or key in self._suspended() or key.kind in (Kind.TICKERS, Kind.QUOTES, Kind.CONTRACTS):
                continue  # (Among three symbols there is not always a change to report.)
            if status.symbol in self.delisted:
                if now - self.delisted[status.symbol] > DELISTED_WITHIN and status.state is not FeedState.GONE:
                    raise BrokenPromise(f"{key} has been delisted for long and is {status.state}")
                continue
            if (
                left := self.recording.away_since(status.symbol, now) if status.symbol in self.symbols else None
            ) is not None:
                if now - left > DELISTED_WITHIN and status.state is not FeedState.GONE:
                    raise BrokenPromise(f"{key} has been delisted for long and is {status.state}")
                continue
            if (
                key.kind is Kind.TRADES
                and now - self.recording.trades[key.symbol].epoch_reported(now) < CONVERGED_WITHIN
            ):
                continue  # Only the first trade shows that ids have begun again.
            if status.state not in (FeedState.LIVE, FeedState.POLLED):
                state = process.engine.reconciler.states[key]
                raise BrokenPromise(f"not live again: {status}; {state}")
        since = now - STALE_KLINES
        for symbol in self.symbols:
            if symbol in self.delisted or self.recording.away_since(symbol, now):
                continue
            for interval in self.intervals:
                key = Key(Kind.KLINES, symbol, interval)
                if key not in left_alone:
                    self._check_history(symbol, interval, since)
            ring = process.store.trades(symbol)
            whole = min(MAX_TRADES, self.recording.trades[symbol].available(since))
            if Key(Kind.TRADES, symbol) not in left_alone and ring.state(0).rows < whole:
                raise BrokenPromise(f"{ring.key} holds {ring.state(0)}, it should be whole")
        for peek in self._peeks:
            self._peek(peek)

    def _check_history(self, symbol: str, interval: str, since: int) -> None:
        process = self.process
        series = process.store.klines(symbol, interval)
        known = self._known(series.key)
        limit = series.state(process.clock.exchange_ms()).rows
        if limit < (least := self.recording.klines[symbol, interval].shown(since, min(60, self.config.max_klines))):
            raise BrokenPromise(f"{series.key} has only {limit} rows, REST has {least}")
        with memory_only():
            rows = _read(process.reads, Klines(Key(Kind.KLINES, symbol, interval), max(1, limit), None, exact=True))
        self._check_klines(symbol, interval, self._stream(series.key), rows, known, since)

    def _resumed_lately(self) -> set[Key]:
        """Return candle series of which the exchange may have no candles, since their contract did not trade for a
        while: where weight is scarce, the answer that shows it may wait."""
        if self.schedule.weight_limit >= 1000:
            return set()
        since = self.line.now - self.line.start - SCARCE
        again = {symbol for at, verb, symbol in self.schedule.whole_setting.script if verb == "resume" and at > since}
        return {series.key for series in self.process.store.of(KlineSeries) if series.key.symbol in again}

    def _unheard(self) -> set[Key]:
        """Return series whose stream no remedy helped and which has been silent since: REST may go on serving them."""
        process = self.process
        return {
            each
            for key in process.engine.reconciler.remedies.quarantined
            if process.store is not None and self._is_damaged(stream_of(key) or "?")
            for each in (key, *process.store.derivations.derived_from(key))
        }

    def _suspended(self) -> set[Key]:
        """Return whole books that are left to REST for some minutes, since their streams have left out too much."""
        books = self.process.store.of(DepthSeries)
        return {book.key for book in books if book.suspended and self._is_damaged(stream_of(book.key) or "?")}

    def _check_pauses(self) -> None:
        """Check that nothing is requested again and again at once, whatever fails."""
        for what, times in self.exchange.asked.items():
            most = max(index + 1 - bisect_left(times, at - 10_000) for index, at in enumerate(times))
            if most > MOST_ALIKE + len(self.schedule.reads):
                raise BrokenPromise(f"{what} was asked for {most} times within ten seconds")

    def _check_growth(self) -> None:
        engine, process = self.process.engine, self.process
        states = len(engine.reconciler.states)
        sizes = {
            "due": (len(engine.reconciler._queue._heap), 40 * states),
            "held": (len(engine.reconciler._queue._on_hold), states),
            "fetches": (len(engine.reconciler.fetches), 0),
            "actions": (len(engine.connections.actions), 0),
            "connections": (len(engine.connections.connections), 4),
            "streams": (process.streams(), 4),
            "sessions": (len(self.exchange.sessions()), 4),
            "requests in line": (len(process.requests.queue), states),
            "requests under way": (process.requests.under_way, states),
            "unanswered messages": (sum(len(c.requests) for c in engine.connections.connections.values()), 4),
            "candles ahead": (max(len(series._ahead) for series in process.store.of(KlineSeries)), 3),
            "in line by bucket": (sum(map(len, process.requests.queue._heaps.values())), 2 * states),
        }
        for name, (size, most) in sizes.items():
            if size > most:
                raise BrokenPromise(f"{name}: {size}, expected at most {most}")


def run(schedule: Schedule) -> World:
    """Run a schedule; a :class:`BrokenPromise` names the moment and the schedule."""
    world = World(schedule)
    try:
        return world.run()
    except BrokenPromise as broken:
        seconds = (world.line.now - world.line.start) / 1000.0
        raise BrokenPromise(f"at {seconds:.3f} s: {broken}\n{schedule}") from None


T = TypeVar("T")


def _read(reads: Reads, query: Query[T]) -> T:
    return reads.read(query, lambda value: value)


def _read_trades(reads: Reads, symbol: str, limit: int) -> list[Trade]:
    return reads.read(TradesText(symbol, limit, None), lambda text: trades_of_text(text[1:-1]))


__all__ = ["FEEDS", "Read", "Schedule", "World", "replace", "run"]
