"""The subscribed streams of one instrument."""

from __future__ import annotations

from .book import BookState
from .instrument import Instrument
from .spot import SpotPair
from .streams import BookStream, KlineStream
from .trades import AggTrade


class Plan:
    """The streams for which an instrument's events produce frames, and what has not been sent yet."""

    def __init__(self, instrument: Instrument, pair: SpotPair | None) -> None:
        self.instrument = instrument
        self.pair = pair
        self.klines: list[KlineStream] = []
        self.spot_klines: list[KlineStream] = []
        self.books: list[BookStream] = []
        self.tickers: list[BookStream] = []  # streams of the best prices
        self.differences: list[BookStream] = []  # streams of changes
        self.marks: dict[str, int] = {}  # stream name → ms between frames
        self.others: dict[str, str] = {}  # kind → stream name
        self.spot_others: dict[str, str] = {}
        self.pending: AggTrade | None = None  # an aggregated trade that could still grow
        self.flush_at = 0  # when a delayed kline event is due
        self.ticker_id = 0  # next trade id at the last 24hr ticker
        self.touch = BookStream("!bookTicker", 0, 0)
        self._best: tuple[BookState, int, tuple[str, str]] | None = None

    @property
    def needs_trades(self) -> bool:
        """Whether some frame depends on the instrument's trades."""
        return bool(self.klines or self.others or self.tickers or self.spot_klines or self.spot_others)

    def note_book(self, stream: BookStream, state: BookState) -> None:
        """Remember what changed in the book since the last call for ``stream``."""
        if stream.noted is not None and state != stream.noted:
            bids, asks = self.instrument.book.touched(stream.noted, state)
            stream.bids |= bids
            stream.asks |= asks
        stream.noted = state

    def show_book(self, state: BookState) -> None:
        """Make the next frame of every stream of differences contain the whole book, which has not been sent before."""
        bids, asks = self.instrument.book.whole(state)
        for stream in self.differences:
            stream.bids.update(price for price, _ in bids)
            stream.asks.update(price for price, _ in asks)

    def best_levels(self, state: BookState, levels: int) -> tuple[str, str]:
        """Return the best bids and asks as JSON arrays."""
        best = self._best
        if best is None or best[0] != state or best[1] != levels:
            best = (state, levels, self.instrument.book.top_texts(state, levels, self.instrument.level_text))
            self._best = best
        return best[2]

    def drop(self, name: str, *, spot: bool) -> None:
        """Forget a stream."""
        if spot:
            self.spot_klines = [stream for stream in self.spot_klines if stream.name != name]
            self.spot_others = {kind: other for kind, other in self.spot_others.items() if other != name}
            return
        self.klines = [stream for stream in self.klines if stream.name != name]
        for stream in self.books:
            if stream.name == name:
                stream.alive = False
        self.books = [stream for stream in self.books if stream.alive]
        self.tickers = [stream for stream in self.tickers if stream.alive]
        self.differences = [stream for stream in self.differences if stream.alive]
        self.marks.pop(name, None)
        self.others = {kind: other for kind, other in self.others.items() if other != name}
        if "aggTrade" not in self.others:
            self.pending = None

    def clear(self) -> None:
        """Forget all streams."""
        for stream in self.books:
            stream.alive = False
        self.klines, self.spot_klines = [], []
        self.books, self.tickers, self.differences = [], [], []
        self.marks, self.others, self.spot_others = {}, {}, {}
        self.pending = None
