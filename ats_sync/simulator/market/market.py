"""The market: all instruments, exchange time, REST answers, and the frames of subscribed streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from . import answers
from .answers import Answer, Row
from .catalogue import COIN_MARGINED
from .exchange_info import coin_margined_exchange_info, exchange_info, spot_exchange_info
from .instrument import Instrument
from .intervals import DAY, MINUTE
from .pump import Pump
from .ratios import ratio_row
from .schedule import Frame
from .spot import SpotPair
from .streams import FINAL_AFTER
from .symbols import UnknownSymbol, names, spec_for

TRADING, PENDING, NO_TRADING = "TRADING", "PENDING_TRADING", "NO_TRADING"
FINAL_STATUSES = frozenset({"SETTLING", "CLOSE", "DELIVERING", "DELIVERED"})


class Market:
    """A deterministic market of perpetual contracts and the corresponding spot pairs.

    ``symbols`` is how many contracts of the built-in catalogue there are, or their names; ``start`` is the exchange
    time in ms at the beginning; ``activity`` scales how often all of them trade (0: only trades forced by
    :meth:`trade`). Two markets with the same arguments go through the same trades, candles and books, whatever the
    steps in which they are advanced.

    It also has what the exchange has had since 2026: names such as XAUUSDT are TradFi perpetuals, names such as
    BTCUSDT_261225 quarterlies without funding. ``coin_margined`` is how many COIN-M contracts the all-market streams
    of marks and tickers also contain (30 of 745 marks on 2026-10-07). With ``resting_marks`` a delisted contract
    keeps its row in the marks (130 contracts were SETTLING), at its last price and with fresh times.

    ``subscribed`` and ``spot_subscribed`` are the stream names for which :meth:`advance` builds frames; change them
    freely between calls. Names that no contract has are silent. With ``trailing_klines=False`` a change that came
    too soon after a kline event is sent only with a later trade, as in recordings of the real exchange; by default an
    event follows as soon as 250 ms (spot: 2 s) have passed.

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
        coin_margined: int = 0,
        resting_marks: bool = True,
    ) -> None:
        if activity < 0:
            raise ValueError("activity must not be negative")
        if not 0 <= coin_margined <= len(COIN_MARGINED):
            raise ValueError(f"coin_margined must be 0 to {len(COIN_MARGINED)}, not {coin_margined}")
        self.now = start
        self.weight_limit = 2400
        """The limit that ``exchange_info`` states; the server enforces it."""
        self.spot_weight_limit = 6000
        self.subscribed: set[str] = set()
        self.spot_subscribed: set[str] = set()
        self._seed = seed
        self._activity = activity
        self._instruments: dict[str, Instrument] = {}
        self._gone: dict[str, Instrument] = {}
        self._spot: dict[str, SpotPair] = {}
        self._statuses: dict[str, str] = {}
        self._shown_status = ""
        self._dividends: dict[str, list[Answer]] = {}
        self._resting_marks = resting_marks
        self._pump = Pump(start, seed=seed, trailing_klines=trailing_klines)
        self._pump.market.coin_margined = COIN_MARGINED[:coin_margined]
        for name in names(symbols):
            self._join(Instrument(spec_for(name, activity=activity), seed, start))

    @property
    def symbols(self) -> tuple[str, ...]:
        """The contracts that trade now, including those that are paused."""
        return tuple(name for name, each in self._instruments.items() if not each.pending)

    @property
    def spot_symbols(self) -> tuple[str, ...]:
        """The spot pairs; not every contract has one of the same name."""
        return tuple(self._spot)

    # -- time --------------------------------------------------------------------------------------------------

    def advance(self, now: int) -> list[Frame]:
        """Let everything in ``(self.now, now]`` happen; return its frames, in order of event time."""
        if now < self.now:
            raise ValueError(f"exchange time cannot go back from {self.now} to {now}")
        frames = self._pump.run(self.now, now, self.subscribed, self.spot_subscribed)
        self.now = now
        return frames

    # -- control -----------------------------------------------------------------------------------------------

    def trade(self, symbol: str, *, at: int | None = None, ticks: int = 0, qty: int | None = None) -> list[Frame]:
        """Force one trade, even in a silent symbol.

        ``at`` is its time (default: now), no earlier than the symbol's last trade and in a candle that is not final;
        the best prices move by ``ticks`` before it, and a taker buys (sells, if they fall) ``qty`` steps of quantity.
        Returns the frames due at once; :meth:`advance` returns aggregated trades and delayed kline events.
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
            raise ValueError("qty must be at least one step of quantity")
        return self._pump.force(instrument, self.now, at, ticks, qty, self.subscribed, self.spot_subscribed)

    def silence(self, symbol: str, on: bool = True) -> None:
        """Stop the symbol's trades and let its book rest, or with ``on=False`` let it trade again."""
        instrument = self._instrument(symbol)
        if on == instrument.silent:
            return
        if on:
            instrument.freeze(self.now)
        else:
            instrument.thaw(self.now)
            self._pump.schedule(instrument, self.now)

    def halt_history(self, symbol: str, start: int, stop: int) -> None:
        """Remove the symbol's candles within ``[start, stop)`` (ms) from REST, as after a halt of trading."""
        if not start < stop <= self.now:
            raise ValueError(f"the end of a halt must be after its start and not after {self.now}, not {stop}")
        self._instrument(symbol).candles.halt(start, stop)

    def restart_ids(self, symbol: str | None = None) -> None:
        """Restart the update ids and trade ids of a symbol (None: of all) from low numbers, in streams and REST.

        The exchange does this after a reset of a test network, or when an engine has moved.

        ``aggTrades`` no longer knows earlier trades; candles and books stay as they are.
        """
        for instrument in list(self._instruments.values()) if symbol is None else [self._instrument(symbol)]:
            self._pump.restart_ids(instrument, self.now)

    def recompute_candle(self, symbol: str) -> None:
        """Take back nine tenths of the trades of the symbol's newest minute, from its candles of all intervals.

        The next trade shows it on the streams.
        """
        if not self._instrument(symbol).candles.recompute():
            raise ValueError(f"the newest minute of {symbol} has fewer than ten trades")

    def delist(self, symbol: str, status: str = "SETTLING") -> None:
        """Delist the symbol: ``exchange_info`` shows this status, and nothing else knows the symbol any more.

        ``!contractInfo`` announces it, and its mark may stay.
        """
        instrument = self._instrument(symbol)
        del self._instruments[symbol]
        self._gone[symbol] = instrument
        self._statuses[symbol] = status
        for name in [n for n, pair in self._spot.items() if pair.instrument is instrument]:
            del self._spot[name]
        self._pump.leave(instrument, self.now, rests=self._resting_marks)
        self._pump.announce(instrument, self.now, status)

    def list_symbol(
        self,
        symbol: str,
        *,
        price: float | None = None,
        activity: float = 1.0,
        pending: bool = False,
        underlying_type: str = "",
    ) -> None:
        """List a new contract, without history; ``activity`` scales how often it trades.

        ``pending``: it is announced (PENDING_TRADING) and trades once :meth:`set_status` sets TRADING; until
        its first trade its klines and aggTrades are ``[]`` (measured 2026-10-07). ``underlying_type``: see
        :func:`~.symbols.spec_for`.
        """
        if symbol in self._instruments:
            raise ValueError(f"{symbol} trades already")
        self._gone.pop(symbol, None)
        self._statuses.pop(symbol, None)
        spec = spec_for(
            symbol, price=price, activity=activity * self._activity, new=True, underlying_type=underlying_type
        )
        instrument = Instrument(spec, self._seed, self.now)
        self._join(instrument)
        if pending:
            instrument.pending = True
            instrument.freeze(self.now)
            self._statuses[symbol] = PENDING
        self._pump.announce(instrument, self.now, self._statuses.get(symbol, TRADING))

    def set_status(self, symbol: str, status: str, *, candles: bool = True) -> None:
        """Give a contract a status, which ``!contractInfo`` announces at once.

        TRADING: it trades. SETTLING, CLOSE, DELIVERING, DELIVERED: it leaves, as with :meth:`delist`. Any other
        (TRADING_HALT, TRADING_CANCEL_ONLY, PRE_SETTLE, an unknown one): it stays, but its trades and its book rest.
        Without ``candles`` REST has none from then until it trades again, as in a halt; otherwise they are flat.
        """
        if not status:
            raise ValueError("status must be a word such as TRADING_HALT")
        instrument = self._instrument(symbol)
        if status in FINAL_STATUSES:
            self.delist(symbol, status)
            return
        if status == TRADING:
            self._statuses.pop(symbol, None)
            instrument.candles.resume(self.now)
            if instrument.pending:
                instrument.pending = False
                self._pump.show_book(instrument, self.now)
            if instrument.silent:
                instrument.thaw(self.now)
                self._pump.schedule(instrument, self.now)
        else:
            self._statuses[symbol] = status
            if not candles:
                instrument.candles.halt(self.now)
            if not instrument.silent:
                instrument.freeze(self.now)
        self._pump.announce(instrument, self.now, status)

    def maintenance(self, status: str = "") -> None:
        """Show every contract with this status in ``exchange_info`` while all keep trading ("": show the truth).

        Clients of this exchange have seen one such answer outside a maintenance window.
        """
        self._shown_status = status

    def set_session(self, market: Literal["equity", "commodity"], session: str) -> None:
        """Begin a session of the TradFi contracts, such as REGULAR, OVERNIGHT or NO_TRADING.

        The stream ``tradingSession`` carries it each second. In NO_TRADING they are quiet, as on a Sunday.
        """
        if market not in self._pump.market.sessions:
            raise ValueError(f"market must be equity or commodity, not {market!r}")
        self._pump.market.sessions[market] = session
        for name, each in self._instruments.items():
            if each.spec.tradifi and (each.spec.underlying_type == "COMMODITY") == (market == "commodity"):
                self.silence(name, session == NO_TRADING)

    def pay_dividend(self, symbol: str, rate: str, rate_type: str = "Special") -> None:
        """Pay a dividend as a special funding: a row of ``funding_rate`` whose ``rateType`` is not "Regular".

        Rows have had the field since 2026-07-28; its value for dividends has not been recorded.
        """
        mark = answers.premium_index(self._instrument(symbol), self.now)["markPrice"]
        row = {"symbol": symbol, "fundingTime": self.now, "fundingRate": rate, "markPrice": mark, "rateType": rate_type}
        self._dividends.setdefault(symbol, []).append(row)

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
        """Return ``[open time, o, h, l, c, volume, close time, quote volume, trades, taker base, taker quote, "0"]``.

        ``start`` and ``end`` bound the open time, both inclusive. Returns the newest ``limit`` rows, or with ``start``
        the first ``limit`` from there; oldest first. The last row is the open candle.
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
        """Return rows of the spot exchange, like :meth:`klines`."""
        return answers.spot_klines(self._pair(symbol), interval, self.now, start, end, limit)

    def depth(self, symbol: str, limit: int = 500) -> Answer:
        """Return ``{"lastUpdateId", "E", "T", "bids": [[price, qty], …], "asks": …}``, best first."""
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
        """Return ``{"a", "p", "q", "nq", "f", "l", "T", "m"}`` from an id on, in a window, or the newest ``limit``.

        The exchange keeps 48 hours; here at least the newest 20,000 per symbol are kept.
        """
        return answers.agg_trades(self._instrument(symbol), from_id, start, end, limit)

    def premium_index(self, symbol: str | None = None) -> Answer | list[Answer]:
        """Return mark and index price, running funding rate and next funding time, of one contract or of all."""
        if symbol is not None:
            return answers.premium_index(self._instrument(symbol), self.now)
        second = self.now - self.now % 1000
        return [
            *(answers.premium_index(each, self.now) for each in self._instruments.values()),
            *(answers.premium_row(name, second, values) for name, values in self._pump.market.resting.items()),
        ]

    def funding_rate(
        self,
        symbol: str | None = None,
        *,
        start: int | None = None,
        end: int | None = None,
        limit: int = 100,
    ) -> list[Answer]:
        """Return settled rates ``{"symbol", "fundingTime", "fundingRate", "markPrice"}``, oldest first."""
        if symbol is not None:
            rows = answers.funding_rates(self._instrument(symbol), self.now, start, end, limit)
            paid = [
                row
                for row in self._dividends.get(symbol, ())
                if (start is None or row["fundingTime"] >= start) and (end is None or row["fundingTime"] <= end)
            ]
            if paid:
                rows = sorted([*rows, *paid], key=lambda row: int(row["fundingTime"]))
            return rows[-limit:] if start is None else rows[:limit]
        per_contract = max(1, -(-limit // max(1, len(self._instruments)))) if start is None else limit
        rows = [
            row
            for each in self._instruments.values()
            for row in answers.funding_rates(each, self.now, start, end, per_contract)
        ]
        rows.sort(key=lambda row: row["fundingTime"])
        return rows[-limit:] if start is None else rows[:limit]

    def funding_info(self) -> list[Answer]:
        """Return contracts that are not funded every 8 hours, and COIN-M ones, whose ``updateTime`` is null."""
        own = [
            answers.funding_info(each) for each in self._instruments.values() if each.spec.funding_hours not in (0, 8)
        ]
        foreign = {"adjustedFundingRateCap": "0.00300", "adjustedFundingRateFloor": "-0.00300"}
        return own + [
            {"symbol": name, **foreign, "fundingIntervalHours": 8, "disclaimer": True, "updateTime": None}
            for name in self._pump.market.coin_margined
        ]

    def open_interest_hist(
        self,
        symbol: str,
        period: str,
        *,
        start: int | None = None,
        end: int | None = None,
        limit: int = 30,
    ) -> list[Answer]:
        """Return ``{"symbol", "sumOpenInterest", "sumOpenInterestValue", …, "timestamp"}`` of periods that traded."""
        return answers.open_interest_hist(self._instrument(symbol), period, self.now, start, end, limit)

    def ratio(
        self,
        kind: str,
        symbol: str,
        period: str,
        *,
        contract_type: str = "",
        start: int | None = None,
        end: int | None = None,
        limit: int = 30,
    ) -> list[Answer]:
        """Return one of the :data:`RATIOS` of the periods that traded; ``basis`` takes a pair and a contract type."""
        if kind == "basis":
            found = [
                each
                for each in self._instruments.values()
                if each.spec.pair == symbol and each.spec.contract_type == contract_type
            ]
            if not found:
                raise UnknownSymbol(symbol)
            instrument = found[0]
        else:
            instrument = self._instrument(symbol)
        periods = answers.traded_periods(instrument, period, self.now, start, end, limit)
        return [ratio_row(kind, instrument, candle, at) for at, candle in periods]

    def trading_schedule(self) -> Answer:
        """Return the sessions of TradFi contracts, today's and tomorrow's: ``{"updateTime", "marketSchedules"}``.

        Shape: the exchange's own SDK (18.x); today's are those of the stream ``tradingSession``.
        """
        day = self.now - self.now % DAY
        return {
            "updateTime": day,
            "marketSchedules": {
                market.upper(): {
                    "sessions": [
                        {"startTime": begins, "endTime": begins + DAY, "type": session} for begins in (day, day + DAY)
                    ]
                }
                for market, session in self._pump.market.sessions.items()
            },
        }

    def coin_margined_exchange_info(self) -> Answer:
        """Return ``/dapi/v1/exchangeInfo``: the COIN-M contracts. It states the full weight limit."""
        return coin_margined_exchange_info(self._pump.market.coin_margined, self.now, weight_limit=self.weight_limit)

    def coin_margined_premium_index(self, symbol: str | None = None) -> list[Answer]:
        """Return ``/dapi/v1/premiumIndex``: the marks of the COIN-M contracts, or of one, always as a list."""
        names = [name for name in self._pump.market.coin_margined if symbol in (None, name)]
        first = next(iter(self._instruments.values()), None)
        if symbol is not None and not names:
            raise UnknownSymbol(symbol)
        if first is None:
            return []
        row = answers.premium_index(first, self.now)
        return [{**row, "symbol": name, "pair": name.partition("_")[0]} for name in names]

    def ticker_24hr(self, symbol: str | None = None) -> Answer | list[Answer]:
        """Return the statistics of the last 24 hours, of one contract or of all."""
        if symbol is not None:
            return answers.ticker_24hr(self._instrument(symbol), self.now)
        return [answers.ticker_24hr(each, self.now) for each in self._instruments.values() if not each.pending]

    def book_ticker(self, symbol: str | None = None) -> Answer | list[Answer]:
        """Return best bid and ask with their quantities, of one contract or of all."""
        if symbol is not None:
            return answers.book_ticker(self._instrument(symbol), self.now)
        return [answers.book_ticker(each, self.now) for each in self._instruments.values()]

    def price(self, symbol: str | None = None) -> Answer | list[Answer]:
        """Return the last price, of one contract or of all."""
        if symbol is not None:
            return answers.last_price(self._instrument(symbol))
        return [answers.last_price(each) for each in self._instruments.values()]

    def exchange_info(self) -> Answer:
        """Return the contracts with their filters and status, and the rate limits."""
        contracts = [*self._instruments.values(), *self._gone.values()]
        shown = [(each, self._shown_status or self._statuses.get(each.name, TRADING)) for each in contracts]
        return exchange_info(shown, self.now, weight_limit=self.weight_limit)

    def spot_price(self, symbol: str | None = None) -> Answer | list[Answer]:
        """Return the last spot price, of one pair or of all."""
        if symbol is not None:
            return answers.spot_price(self._pair(symbol))
        return [answers.spot_price(each) for each in self._spot.values()]

    def spot_ticker_24hr(self, symbol: str | None = None) -> Answer | list[Answer]:
        """Return the spot statistics of the last 24 hours, of one pair or of all."""
        if symbol is not None:
            return answers.spot_ticker_24hr(self._pair(symbol), self.now)
        return [answers.spot_ticker_24hr(each, self.now) for each in self._spot.values()]

    def spot_exchange_info(self) -> Answer:
        """Return the spot pairs with their filters, and the spot rate limits."""
        return spot_exchange_info(list(self._spot.values()), self.now, weight_limit=self.spot_weight_limit)
