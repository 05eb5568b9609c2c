"""Streams that died alone and in silence, found by what their siblings show.

Every kline event of a symbol names its last trade, so do its aggregated trades and the tickers; a series that
has not heard of a trade its siblings have known of for a while is suspected. The quotes that come every few
seconds do the same for the books.

A kline stream is throttled: what was traded within a moment of its last event may rightly stay unreported until the
next trade. So only a trade that surely happened later than that is evidence against it, or one that the stream of
aggregated trades, which is not throttled, lacks too.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..feeds import CLOCK, TICKERS, Key
from ..store.book import BookSeries
from ..store.depth import DepthSeries
from ..store.klines import KlineSeries
from ..store.link import Link
from ..store.market import MarketStore
from ..store.order import LAGS_AT_MOST, REORDERED_WITHIN, is_new_count, shown_until
from ..store.series import Series
from ..store.tickers import Tickers
from ..store.trades import TradeSeries
from ..venue.books import Level
from ..venue.envelope import scan_event_time
from ..venue.payload import DecodeError
from ..venue.tickers import best_quotes
from .marks import Marks
from .moment import Moment
from .sightings import GRACE, TICKER_LATE, Report, Sighting, SymbolSightings
from .state import State

SILENT = "its stream is silent though the symbol trades"
BEGUN_AGAIN = "it is silent though the ids of trades have begun again"
LOOK_EVERY = 0.5
BOOK_GRACE = 0.6
DEPTH_GRACE = 1.0
KLINE_THROTTLE = 400
"""Trades within this long (ms) of a kline event may stay unreported."""
REPORTED_WITHIN = 300
"""A kline event follows its last trade within this long (ms)."""
LINK_CURRENT = 1.2
"""A connection that lags by more than this (seconds) is judged as a whole, not stream by stream, ..."""
DELIVERED_WITHIN = 450
"""... unless it has delivered what was sent so long (ms) after a trade, which all its streams had reported by then."""
PAUSE = 1.5
"""Two looks farther apart than this (seconds): the process was stopped, or the machine slept."""
REGAIN = GRACE + LOOK_EVERY + 0.5
"""How long (seconds) after a pause the evidence in the backlog takes to arrive and to count."""


class _Watched:
    """The series of one symbol that are looked at.

    Their counts are read without their locks. They only grow: what comes while a sum is made and is not in it makes
    the next sum greater, and is looked at then.
    """

    __slots__ = ("book", "depth", "klines", "trades")

    def __init__(self, store: MarketStore, symbol: str, klines: list[KlineSeries]) -> None:
        self.klines = klines
        """Those that have streams of their own."""
        self.trades, self.book, self.depth = store.trades(symbol), store.book(symbol), store.depth(symbol)

    def showing_trades(self) -> list[Series]:
        """Return those that show trades."""
        return [each for each in (*self.klines, self.trades) if each is not None]

    def books(self) -> list[Series]:
        """Return the books."""
        return [each for each in (self.book, self.depth) if each is not None]


class SilentStreamDetector:
    """Collects the evidence and names the suspects.

    A look costs a scan of the newest frames of a symbol's candles and trades, or of its books, where one of these has
    changed or something is open; of all others next to nothing.
    """

    def __init__(self, store: MarketStore, states: Mapping[Key, State]) -> None:
        self._store = store
        self._states = states
        self._symbols: dict[str, SymbolSightings] = {}
        self._series: Mapping[Key, Series] | None = None  # those of the store, of which the next are
        self._by_symbol: dict[str, _Watched] = {}
        self._trades, self._books = Marks(), Marks()
        self._quotes: Mapping[str, tuple[int, bytes]] = {}
        self._due = 0.0
        self._tickers_as_of = 0
        self._lower: dict[str, Sighting] = {}  # tickers of a lower trade than the one before them, until the next
        self.unsure: list[Key] = []
        """Series that may lack a trade, since the last look: their stream has not delivered anything yet that shows
        whether it lives, and no answer of REST is as new as the evidence."""
        self.lacking: list[Key] = []
        """Trades that surely lack one, since the last look: it may have come before their subscription."""
        self.counting_again: list[str] = []
        """Symbols whose ids have restarted, until somebody takes them."""
        self._unseen = False  # whether frames had come before the exchange's time was known
        self._looked = 0  # exchange time (ms) of the last look
        self._regained = 0.0  # when (steady) the streams count as watched again after a pause

    def due(self) -> float:
        return self._due

    def look(self, at: Moment) -> Iterator[tuple[Key, str]]:
        """Every series that is suspected now, with the reason."""
        if at.steady < self._due:
            return
        self._due = at.steady + LOOK_EVERY
        clock = self._states.get(CLOCK)
        if clock is None or not clock.known:
            # This machine's own time so far, which may be minutes away: that it is corrected is no pause, but what came
            # before is not looked at.
            self._unseen = self._unseen or any(series.received for series in self._store.series.values())
        elif at.proven:
            self._note_pause(at)
        self.unsure.clear()
        self.lacking.clear()
        store = self._store
        for tickers in store.tickers.take(at.exchange if at.proven else None):
            self._take_tickers(tickers, at)
        if not at.proven:
            # When a trade happened and when a stream was subscribed cannot be compared. Nothing is passed off as fresh
            # meanwhile, and if it lasts it counts as a pause.
            return
        watched = self._watched()
        self._note_changes()
        for symbol, known in list(self._symbols.items()):
            if known.trades_due or known.open:
                if known.trades_due or known.shows_more(at.steady):
                    yield from self._look_at_trades(symbol, known, watched[symbol], at)
                    known.trades_due = False
                known.open = known.is_open()
            if known.books_due:
                yield from self._look_at_books(symbol, known, watched[symbol], at)
                known.books_due = known.lacks_books()

    def _note_changes(self) -> None:
        """Look at the symbols of which something has changed. (What comes meanwhile is for the next look.)"""
        known = self._symbols
        for symbol in self._trades.changed():
            known[symbol].trades_due = True
        for symbol in self._books.changed():
            known[symbol].books_due = True
        before, self._quotes = self._quotes, self._store.quotes.entries()
        if self._quotes != before:
            for symbol, _ in self._quotes.items() ^ before.items():
                if symbol in known:
                    known[symbol].books_due = True

    def _watched(self) -> dict[str, _Watched]:
        """Return what is looked at, by symbol; of each there are sightings."""
        store = self._store
        if self._series is not store.series or len(self._symbols) < len(self._by_symbol):
            series_of_all = self._series = store.series
            symbols = {key.symbol: None for key, each in series_of_all.items() if key.symbol and not each.feed.spot}
            klines: dict[str, list[KlineSeries]] = {}
            for series in store.of(KlineSeries):
                if not series.feed.spot and series.source is None:
                    klines.setdefault(series.key.symbol, []).append(series)
            self._by_symbol = {symbol: _Watched(store, symbol, klines.get(symbol, [])) for symbol in symbols}
            # A mark would be that of other series now: all are looked at.
            self._trades = Marks(each for watched in self._by_symbol.values() for each in watched.showing_trades())
            self._books = Marks(each for watched in self._by_symbol.values() for each in watched.books())
            self._symbols = {symbol: self._symbols.get(symbol) or SymbolSightings() for symbol in self._by_symbol}
            for known in self._symbols.values():
                known.look_again()
        return self._by_symbol

    def _look_at_trades(
        self, symbol: str, known: SymbolSightings, watched: _Watched, at: Moment
    ) -> Iterator[tuple[Key, str]]:
        yield from self._lacking_trades(known, watched, at)
        if known.counts_again:
            known.counts_again = False
            self.counting_again.append(symbol)

    def _look_at_books(
        self, symbol: str, known: SymbolSightings, watched: _Watched, at: Moment
    ) -> Iterator[tuple[Key, str]]:
        book, depth = watched.book, watched.depth
        # A time to come would keep out what happens from now on, or make it look late.
        self._store.quotes.forget_to_come(symbol, at.exchange)
        for each in (book, depth):
            if each is not None:
                each.date_back(at.exchange)
        reason = self._look_at_book(symbol, known, book, at) if book is not None else ""
        if book is not None and reason:
            yield book.key, reason
        if depth is not None and self._lags(symbol, known, depth, book, at):
            yield depth.key, "its stream is silent though the book changes"

    def look_again(self, symbol: str) -> None:
        """Look at a symbol next time though no frame and no answer comes."""
        known = self._symbols.get(symbol)
        if known is not None:
            known.look_again()

    def forget(self, symbol: str, listed: int) -> None:
        """Forget all evidence about a symbol but the newest ticker, where that came since the contract was ``listed``
        (exchange ms, 0 where that is not known): only beside it a later one shows that something was traded."""
        known = self._symbols.pop(symbol, None)
        if known is not None and 0 < listed < known.ticker[0]:
            self._symbols[symbol] = known.of_contract()

    def _note_pause(self, at: Moment) -> None:
        """Tell readers up to when the streams were watched.

        After a pause a backlog makes connections look alive at once, while a stream that died in it is only found a
        moment later: until then nothing that rests on a stream's silence is trusted.
        """
        paused = at.exchange - self._looked > PAUSE * 1000 if self._looked else self._unseen
        if paused:
            self._regained = at.steady + REGAIN
            self._store.watched_until = self._looked / 1000.0
        self._looked = at.exchange
        if at.steady >= self._regained:
            self._store.watched_until = at.exchange / 1000.0

    def _take_tickers(self, tickers: Tickers, at: Moment) -> None:
        as_of, last_trades, streamed = tickers
        # Each array holds every symbol that has changed since the one before; what changed while there was no
        # subscription is in none, and an answer may be the first to show it.
        unchanged_until, subscribed = self._tickers_as_of - TICKER_LATE, self._subscribed(TICKERS, at)
        self._tickers_as_of = max(self._tickers_as_of, as_of)
        if streamed and self._lower:  # A symbol that this array leaves out has not changed since the one before.
            settled = as_of - REORDERED_WITHIN
            rests = {symbol: lower.trade for symbol, lower in self._lower.items() if lower.happened <= settled}
            last_trades = rests | last_trades
        for symbol, trade in last_trades.items():
            known = self._symbols.get(symbol)
            if known is None or as_of <= known.ticker[0]:
                continue
            # (Of 24 hours without a trade a ticker may name none.)
            if trade < known.base[1] and (trade <= 0 or not self._begins_count(symbol, known, trade, as_of, at)):
                continue
            self._lower.pop(symbol, None)
            complete = streamed or known.ticker[0] >= subscribed
            if known.note_ticker(as_of, trade, unchanged_until if complete else 0, at.exchange, streamed=streamed):
                known.learn([known.ticked], at.steady)
                known.trades_due = True

    def _begins_count(self, symbol: str, known: SymbolSightings, trade: int, as_of: int, at: Moment) -> bool:
        """Return whether a ticker with a lower trade than the one before it shows that ids have restarted; where it
        may come from a replica that lags, the next one shows which."""
        lower = self._lower.setdefault(symbol, Sighting(trade, as_of, at.steady))
        if not is_new_count(as_of, known.base[0]):
            return False
        known.begin_count(lower._replace(happened=as_of))
        return True

    def _lacking_trades(self, known: SymbolSightings, watched: _Watched, at: Moment) -> Iterator[tuple[Key, str]]:
        klines, ring = watched.klines, watched.trades
        ring_trade, traded = ring.last_heard() if ring is not None else (-1, 0)
        known.follow_count(ring)
        reported = [Report(ring_trade, traded, traded)]
        heard = [series.last_heard(at.exchange) for series in klines]
        if ring is not None and ring.counted_since:
            heard = [(-1 if _is_of_old_count(each[0], each[1], ring) else each[0], *each[1:]) for each in heard]
        for series, (trade, event, _) in zip(klines, heard, strict=True):
            # The last event of a candle may come long after its last trade.
            if not series.heard_final():
                reported.append(Report(trade, event - REPORTED_WITHIN, event))
        if (lowered := known.take_lowered(at.steady)).seen:
            shown: list[tuple[Series, int, int]] = [(each, *said[:2]) for each, said in zip(klines, heard, strict=True)]
            if ring is not None:
                shown.append((ring, ring_trade, traded))
            yield from _of_count_before(lowered, shown, at)
        known.note_count(reported, max([(ring_trade, traded, 0), *heard])[:2], at.steady)
        known.learn(known.of_new_count(reported, at.steady), at.steady)
        best = known.ripe(at.steady)
        furthest_behind = min([each[0] for each in heard], default=best.trade)
        if ring is not None and ring_trade < furthest_behind:
            furthest_behind = ring_trade
        known.furthest_behind = furthest_behind
        known.behind = furthest_behind < best.trade
        if not known.behind and not known.recounted.seen:
            return  # as nearly always
        best_seen = at.exchange - (at.steady - best.seen) * 1000
        if 0 <= ring_trade < best.trade and is_new_count(traded, round(best_seen)):
            # It traded after that was reported, and yet with a lower id: a new count.
            known.forget_trades()
            return
        lacking = ring is not None and ring_trade < best.trade and _is_judged(ring.link, best, at)
        ring_silent = ring is not None and lacking and best.happened > self._subscribed(ring.key, at)
        if ring is not None and known.is_outdated(ring_trade, traded, at.steady) and _current(ring.link, at):
            ring_silent = True
        if ring is not None and ring_silent:
            yield ring.key, SILENT
        elif ring is not None and lacking:
            self.lacking.append(ring.key)
        happened_by = min(best_seen, traded) if ring_trade >= best.trade else best_seen
        shown_from = happened_by + LAGS_AT_MOST  # when an answer shows it, whatever replica it is from
        for series, (trade, event, answered) in zip(klines, heard, strict=True):
            subscribed = self._subscribed(series.key, at)
            # Beside a stream that surely died, what could be explained by throttling is no longer believed to be. (That
            # a REST answer may hold the trade is no excuse: the stream should have delivered it all the same.)
            surely = ring_silent or best.happened > max(event, subscribed) + KLINE_THROTTLE
            outdated = known.is_outdated(trade, event, at.steady) and _current(series.link, at)
            if not outdated and (trade >= best.trade or not _is_judged(series.link, best, at)):
                continue
            if surely or outdated:
                yield series.key, SILENT
            elif event < subscribed and (answered < happened_by or answered < shown_from <= at.exchange - at.uncertain):
                self.unsure.append(series.key)

    def _subscribed(self, key: Key, at: Moment) -> int:
        state = self._states.get(key)
        return state.subscribed if state is not None else at.exchange

    def lacks(self, key: Key, at: Moment) -> bool:
        """Return whether trades still lack one of before their subscription, after an answer that may be from a
        replica that lags. What even an answer of later does not show was reported by mistake, and is forgotten."""
        known, ring = self._symbols.get(key.symbol), self._store.trades(key.symbol)
        if known is None or ring is None or ring.key != key:
            return False
        known.follow_count(ring)
        if ring.last_heard()[0] >= known.ripe(at.steady).trade:
            return False
        seen = at.exchange - (at.steady - known.ripe(at.steady).seen) * 1000
        if shown_until(ring.state(at.exchange).answered) >= seen:
            known.refute_trades(seen)
            return False
        return True

    def silent(self, key: Key, at: Moment) -> str:
        """Return why the stream of candles or trades is surely dead, "" where nothing says so.

        For a series that is about to go live with an answer requested a while ago: its siblings may have reported
        trades since then that it has not received.
        """
        known, state, series = self._symbols.get(key.symbol), self._states.get(key), self._store.get(key)
        if known is None or state is None:
            return ""
        ring = self._store.trades(key.symbol)
        known.follow_count(ring)
        best = known.ripe(at.steady)
        shown = series.trade_shown(at.exchange) if series is not None else None
        if shown is None:
            return ""
        trade, event = shown
        if _is_of_old_count(trade, event, ring):
            trade = -1
        late = best.happened > max(event, state.subscribed) + KLINE_THROTTLE
        return SILENT if trade < best.trade and late else ""

    def _look_at_book(self, symbol: str, known: SymbolSightings, book: BookSeries, at: Moment) -> str:
        quote = self._store.quotes.get(symbol)
        if quote is None:
            return ""
        (update_id, frame), newest, event = quote, book.update_id(), book.state(at.exchange).event
        # A lower id of a later time belongs to a new count, in which the book lacks everything.
        restarted = update_id < newest and is_new_count(_time_of(frame), event)
        if not restarted and (update_id <= newest or _is_later(event, frame)):
            known.quote = (-1, 0.0)
            return ""
        if known.quote[0] < 0 or known.quote[0] > update_id or (known.quote[0] <= newest and not restarted):
            known.quote = (update_id, at.steady)
        if at.steady - known.quote[1] < BOOK_GRACE or not _current(book.state(at.exchange).link, at):
            return ""
        # Only deeper levels may have changed, of which this stream rightly says nothing.
        try:
            shown = book.read()
            bid, bid_quantity, ask, ask_quantity = best_quotes(frame)
        except DecodeError:
            return ""
        if shown is None:
            return ""
        same = _begins_with(shown.bids, bid, bid_quantity) and _begins_with(shown.asks, ask, ask_quantity)
        return "" if same else "its stream is silent though the book changes"

    def _lags(
        self, symbol: str, known: SymbolSightings, depth: DepthSeries, book: BookSeries | None, at: Moment
    ) -> bool:
        """Return whether a full book has for a while not come to an update id that other streams have shown."""
        quote = self._store.quotes.get(symbol)
        newest, event = book.newest_frame if book is not None else (-1, 0)
        if depth.has_shown(event):
            newest = -1  # of an old count, or the same
        if quote is not None and quote[0] > newest and not _is_later(depth.state(at.exchange).event, quote[1]):
            newest = quote[0]
        lacking, since = known.depth
        if depth.update_id() >= lacking or newest < lacking:
            # What was lacking has come; what is newer may just be on its way.
            lacking, since = known.depth = (newest, at.steady) if newest > depth.update_id() else (-1, 0.0)
        return lacking >= 0 and at.steady - since > DEPTH_GRACE and _current(depth.state(at.exchange).link, at)


def _of_count_before(
    lowered: Sighting, shown: Iterable[tuple[Series, int, int]], at: Moment
) -> Iterator[tuple[Key, str]]:
    """Yield the series that have shown only trades of the count before ``lowered``. The first trade of the new count
    may have been lost by every stream, and until the next one nothing else tells of it."""
    for series, trade, event in shown:
        if trade > lowered.trade and is_new_count(lowered.happened, event) and _current(series.link, at):
            yield series.key, BEGUN_AGAIN


def _is_of_old_count(trade: int, event: int, ring: TradeSeries | None) -> bool:
    """Return whether a trade that candles have shown bears an id from before the ids began again."""
    return ring is not None and 0 < event <= ring.counted_since and trade > ring.last_heard()[0]


def _is_later(event: int, quotes: bytes) -> bool:
    """Return whether what happened at ``event`` (exchange ms) surely came after these quotes, whatever their ids."""
    try:
        return is_new_count(event, scan_event_time(quotes))
    except DecodeError:
        return False


def _time_of(frame: bytes) -> int:
    try:
        return scan_event_time(frame)
    except DecodeError:
        return 0


def _begins_with(levels: Sequence[Level], price: str, quantity: str) -> bool:
    """Return whether one side of a book is as its best quote says; where it is empty, nothing is quoted."""
    return levels[0][:2] == (price, quantity) if levels else not float(quantity)


def _is_judged(link: Link | None, best: Sighting, at: Moment) -> bool:
    """Return whether a stream of this connection should have shown a trade. (A connection that has just fallen silent
    counts as alive for seconds, and so would a stream that had died before.)"""
    if link is None or not link.up:
        return False
    return _current(link, at) or link.watermark * 1000.0 >= best.by + DELIVERED_WITHIN


def _current(link: Link | None, at: Moment) -> bool:
    return link is not None and link.up and link.age(at.exchange / 1000.0) <= LINK_CURRENT
