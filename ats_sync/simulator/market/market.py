"""The market: all instruments, exchange time, REST answers, and the frames of the streams that are wanted."""

from __future__ import annotations

from collections.abc import Sequence

from . import answers
from .answers import Answer, Row
from .errors import UnknownSymbol
from .exchange_info import exchange_info, spot_exchange_info
from .frame import Frame
from .instrument import Instrument
from .intervals import MINUTE
from .pump import Pump
from .spot import SpotPair
from .streams import FINAL_AFTER
from .symbols import names, spec_for


class Market:
    """A deterministic market of perpetual contracts and the spot pairs beside them.

    ``symbols`` is how many contracts of the built-in catalogue there are, or their names; ``start`` the exchange
    time in ms at the beginning; ``activity`` scales how often all of them trade (0: only what :meth:`trade`
    forces). Two markets with the same arguments go through the same trades, candles and books, whatever the steps
    in which they are advanced.

    ``wanted`` and ``spot_wanted`` are the stream names for which :meth:`advance` builds frames; change them freely
    between calls. Names that no contract has are silent. With ``trailing_klines=False`` a change that came too soon
    after a kline event is told only with a later trade, as in recordings of the real exchange; by default an event
    follows as soon as 250 ms (spot: 2 s) are over.

    Methods named after REST paths return what the exchange would answer at ``now``: plain JSON values, decimals as
    strings, times in ms. They raise :class:`UnknownSymbol` and :class:`UnknownInterval`.
    """

    def __init__(
        self,
        symbols: int | Sequence[str] = 200,
        *,
        seed: int = 7,
        start: int,
        activity: float = 1.0,
        trailing_klines: bool = True,
    ) -> None:
        if activity < 0:
            raise ValueError("activity cannot be negative")
        self.now = start
        self.weight_limit = 2400
        """What ``exchange_info`` tells; to hold to it is for the server."""
        self.spot_weight_limit = 6000
        self.wanted: set[str] = set()
        self.spot_wanted: set[str] = set()
        self._seed = seed
        self._activity = activity
        self._instruments: dict[str, Instrument] = {}
        self._gone: dict[str, Instrument] = {}
        self._spot: dict[str, SpotPair] = {}
        self._pump = Pump(start, seed=seed, trailing_klines=trailing_klines)
        for name in names(symbols):
            self._join(Instrument(spec_for(name, activity=activity), seed, start))

    @property
    def symbols(self) -> tuple[str, ...]:
        """The contracts that trade now."""
        return tuple(self._instruments)

    @property
    def spot_symbols(self) -> tuple[str, ...]:
        """The spot pairs; not every contract has one of the same name."""
        return tuple(self._spot)

    # -- time --------------------------------------------------------------------------------------------------

    def advance(self, now: int) -> list[Frame]:
        """Let everything happen in ``(self.now, now]``; the frames of the wanted streams, in order of event time."""
        if now < self.now:
            raise ValueError(f"exchange time cannot go back from {self.now} to {now}")
        frames = self._pump.run(self.now, now, self.wanted, self.spot_wanted)
        self.now = now
        return frames

    # -- control -----------------------------------------------------------------------------------------------

    def trade(self, symbol: str, *, at: int | None = None, ticks: int = 0, qty: int | None = None) -> list[Frame]:
        """Force one trade, also in a silent symbol.

        ``at`` is its time (default: now), no earlier than the symbol's last trade and in a candle that is not final;
        the best prices move by ``ticks`` before it, and a taker buys (sells, if they fall) ``qty`` steps of quantity.
        Returns the frames due at once; aggregated trades and delayed kline events come out of :meth:`advance`.
        """
        instrument = self._instrument(symbol)
        at = self.now if at is None else at
        if not instrument.trades.last_time <= at <= self.now:
            raise ValueError(
                f"a trade of {symbol} can be made from {instrument.trades.last_time} to {self.now}, not at {at}"
            )
        if at - at % MINUTE + MINUTE + FINAL_AFTER <= self.now:
            raise ValueError(f"the minute of {at} is final")
        if qty is not None and qty < 1:
            raise ValueError("a trade has at least one step of quantity")
        return self._pump.force(instrument, self.now, at, ticks, qty, self.wanted, self.spot_wanted)

    def silence(self, symbol: str, on: bool = True) -> None:
        """The symbol stops trading and its book stops changing, until it is switched back with ``on=False``."""
        instrument = self._instrument(symbol)
        if on == instrument.silent:
            return
        if on:
            instrument.freeze(self.now)
        else:
            instrument.thaw(self.now)
            self._pump.schedule(instrument, self.now)

    def delist(self, symbol: str) -> None:
        """The symbol leaves: ``exchange_info`` shows it as SETTLING, everything else no longer knows it."""
        instrument = self._instrument(symbol)
        del self._instruments[symbol]
        self._gone[symbol] = instrument
        for name in [n for n, pair in self._spot.items() if pair.instrument is instrument]:
            del self._spot[name]
        self._pump.leave(instrument)

    def list_symbol(self, symbol: str, *, price: float | None = None, activity: float = 1.0) -> None:
        """A new contract joins now, without history; ``activity`` scales its own trading."""
        if symbol in self._instruments:
            raise ValueError(f"{symbol} trades already")
        self._gone.pop(symbol, None)
        spec = spec_for(symbol, price=price, activity=activity * self._activity, new=True)
        self._join(Instrument(spec, self._seed, self.now))

    def _join(self, instrument: Instrument) -> None:
        self._instruments[instrument.name] = instrument
        pair = None
        if instrument.spec.spot and instrument.spec.spot not in self._spot:
            pair = SpotPair(instrument, instrument.spec.spot)
            self._spot[pair.name] = pair
        self._pump.join(instrument, pair, self.now)

    def _instrument(self, symbol: str) -> Instrument:
        try:
            return self._instruments[symbol]
        except KeyError:
            raise UnknownSymbol(symbol) from None

    def _pair(self, symbol: str) -> SpotPair:
        try:
            return self._spot[symbol]
        except KeyError:
            raise UnknownSymbol(symbol) from None

    # -- REST --------------------------------------------------------------------------------------------------

    def klines(
        self,
        symbol: str,
        interval: str,
        *,
        start: int | None = None,
        end: int | None = None,
        limit: int = 500,
    ) -> list[Row]:
        """Rows ``[open time, o, h, l, c, volume, close time, quote volume, trades, taker base, taker quote, "0"]``.

        ``start`` and ``end`` bound the open time, both inclusive. Without ``start`` the newest ``limit`` rows, with
        it the first ``limit`` from there; oldest first. The last row is the open candle.
        """
        return answers.klines(self._instrument(symbol), interval, self.now, start, end, limit)

    def spot_klines(
        self,
        symbol: str,
        interval: str,
        *,
        start: int | None = None,
        end: int | None = None,
        limit: int = 500,
    ) -> list[Row]:
        """Rows of the spot exchange, like :meth:`klines`."""
        return answers.spot_klines(self._pair(symbol), interval, self.now, start, end, limit)

    def depth(self, symbol: str, limit: int = 500) -> Answer:
        """``{"lastUpdateId", "E", "T", "bids": [[price, qty], …], "asks": …}``, best first."""
        return answers.depth(self._instrument(symbol), self.now, limit)

    def agg_trades(
        self,
        symbol: str,
        *,
        from_id: int | None = None,
        start: int | None = None,
        end: int | None = None,
        limit: int = 500,
    ) -> list[Answer]:
        """``{"a", "p", "q", "nq", "f", "l", "T", "m"}`` from an id, in a window of time, or the newest ``limit``.

        The exchange keeps 48 hours; here at least the newest 20,000 a symbol are remembered.
        """
        return answers.agg_trades(self._instrument(symbol), from_id, start, end, limit)

    def premium_index(self, symbol: str | None = None) -> Answer | list[Answer]:
        """Mark and index price, running funding rate and next funding time, of one contract or of all."""
        if symbol is not None:
            return answers.premium_index(self._instrument(symbol), self.now)
        return [answers.premium_index(each, self.now) for each in self._instruments.values()]

    def funding_rate(
        self,
        symbol: str | None = None,
        *,
        start: int | None = None,
        end: int | None = None,
        limit: int = 100,
    ) -> list[Answer]:
        """Settled rates ``{"symbol", "fundingTime", "fundingRate", "markPrice"}``, oldest first."""
        if symbol is not None:
            return answers.funding_rates(self._instrument(symbol), self.now, start, end, limit)
        per_contract = max(1, -(-limit // max(1, len(self._instruments)))) if start is None else limit
        rows = [
            row
            for each in self._instruments.values()
            for row in answers.funding_rates(each, self.now, start, end, per_contract)
        ]
        rows.sort(key=lambda row: row["fundingTime"])
        return rows[-limit:] if start is None else rows[:limit]

    def funding_info(self) -> list[Answer]:
        """The contracts whose funding differs from every 8 hours."""
        return [answers.funding_info(each) for each in self._instruments.values() if each.spec.funding_hours != 8]

    def open_interest_hist(
        self,
        symbol: str,
        period: str,
        *,
        start: int | None = None,
        end: int | None = None,
        limit: int = 30,
    ) -> list[Answer]:
        """``{"symbol", "sumOpenInterest", "sumOpenInterestValue", …, "timestamp"}`` of the periods that traded."""
        return answers.open_interest_hist(self._instrument(symbol), period, self.now, start, end, limit)

    def ticker_24hr(self, symbol: str | None = None) -> Answer | list[Answer]:
        """What traded in the last 24 hours, of one contract or of all."""
        if symbol is not None:
            return answers.ticker_24hr(self._instrument(symbol), self.now)
        return [answers.ticker_24hr(each, self.now) for each in self._instruments.values()]

    def book_ticker(self, symbol: str | None = None) -> Answer | list[Answer]:
        """Best bid and ask with their quantities, of one contract or of all."""
        if symbol is not None:
            return answers.book_ticker(self._instrument(symbol), self.now)
        return [answers.book_ticker(each, self.now) for each in self._instruments.values()]

    def price(self, symbol: str | None = None) -> Answer | list[Answer]:
        """Last price, of one contract or of all."""
        if symbol is not None:
            return answers.last_price(self._instrument(symbol))
        return [answers.last_price(each) for each in self._instruments.values()]

    def exchange_info(self) -> Answer:
        """Contracts with their filters and status, and the rate limits."""
        trading, gone = list(self._instruments.values()), list(self._gone.values())
        return exchange_info(trading, gone, self.now, weight_limit=self.weight_limit)

    def spot_price(self, symbol: str | None = None) -> Answer | list[Answer]:
        """Last spot price, of one pair or of all."""
        if symbol is not None:
            return answers.spot_price(self._pair(symbol))
        return [answers.spot_price(each) for each in self._spot.values()]

    def spot_ticker_24hr(self, symbol: str | None = None) -> Answer | list[Answer]:
        """What the spot pairs traded in the last 24 hours, of one or of all."""
        if symbol is not None:
            return answers.spot_ticker_24hr(self._pair(symbol), self.now)
        return [answers.spot_ticker_24hr(each, self.now) for each in self._spot.values()]

    def spot_exchange_info(self) -> Answer:
        """The spot pairs with their filters, and the spot rate limits."""
        return spot_exchange_info(list(self._spot.values()), self.now, weight_limit=self.spot_weight_limit)
