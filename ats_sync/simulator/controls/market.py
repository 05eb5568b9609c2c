"""Controls of the market: trades, listings and statuses, sessions, counters that restart, holes in history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from .control import control

if TYPE_CHECKING:
    from ..server import ExchangeServer


@control
def trade(
    server: ExchangeServer, symbol: str, *, at: int | None = None, ticks: int = 0, qty: int | None = None
) -> None:
    """Make one trade now: ``ticks`` from the touch, ``qty`` in steps of the symbol (None: an ordinary size).

    ``at`` is the time of the trade (exchange ms, None: now): not before the symbol's last trade, and in a candle
    that is not final.
    """
    server.pump.send(server.change_market("trade", symbol=symbol, at=at, ticks=ticks, qty=qty))
    server.broadcaster.flush()


@control
def silence(server: ExchangeServer, symbol: str, on: bool = True) -> None:
    """Stop the symbol's trades and let its book rest, or let it trade again: a quiet market, not a stream fault."""
    server.change_market("silence", symbol=symbol, on=on)


@control
def halt_history(server: ExchangeServer, symbol: str, start: int, stop: int) -> None:
    """Remove the symbol's candles within ``[start, stop)`` (exchange ms, in the past) from REST.

    At every interval, like the hole that a trading halt leaves. Its trades stay as they are.
    """
    server.change_market("halt_history", symbol=symbol, start=start, stop=stop)


@control
def restart_ids(server: ExchangeServer, symbol: str | None = None) -> None:
    """Restart the update ids and trade ids of a symbol (None: of all) from low numbers, in streams and REST.

    ``aggTrades`` no longer knows earlier trades, as after a reset of a test network.
    """
    server.change_market("restart_ids", symbol=symbol)


@control
def recompute_candle(server: ExchangeServer, symbol: str) -> None:
    """Take back nine tenths of the newest minute's trades: from then on the symbol's open candles have fewer trades.

    ValueError if that minute has fewer than ten. The next trade shows it on the streams.
    """
    server.change_market("recompute_candle", symbol=symbol)


@control
def delist(server: ExchangeServer, symbol: str, status: str = "SETTLING") -> None:
    """Delist the symbol: exchangeInfo shows this status, ``!contractInfo`` announces it.

    Its row stays in the mark stream (setting ``resting_marks``).
    """
    server.change_market("delist", symbol=symbol, status=status)


@control
def list_symbol(
    server: ExchangeServer,
    symbol: str,
    *,
    price: float | None = None,
    activity: float = 1.0,
    pending: bool = False,
    underlying_type: str = "",
) -> None:
    """List a new contract, without history; ``activity`` scales how often it trades.

    ``pending``: it is announced (PENDING_TRADING) and trades from ``set_status(symbol, "TRADING")`` on; until its
    first trade its klines and aggTrades are ``[]``. ``price``: the price it starts at. ``underlying_type``: EQUITY,
    COMMODITY and so on for a TradFi perpetual.
    """
    server.change_market(
        "list_symbol",
        symbol=symbol,
        price=price,
        activity=activity,
        pending=pending,
        underlying_type=underlying_type,
    )


@control
def set_status(server: ExchangeServer, symbol: str, status: str, *, candles: bool = True) -> None:
    """Give the symbol a status, which ``!contractInfo`` announces.

    TRADING; a status that pauses it (TRADING_HALT, TRADING_CANCEL_ONLY, PRE_SETTLE, any other word); or a final one
    (SETTLING, CLOSE, DELIVERING, DELIVERED). Without ``candles``, REST has none for the pause (otherwise flat ones).
    """
    server.change_market("set_status", symbol=symbol, status=status, candles=candles)


@control
def maintenance(server: ExchangeServer, seconds: float | None = None, status: str = "CLOSE") -> None:
    """Show every contract with ``status`` in exchangeInfo for ``seconds``, while all keep trading ("" ends it)."""
    server.change_market("maintenance", status=status)
    server.after("maintenance", seconds, lambda: server.change_market("maintenance", status=""))


@control
def set_session(server: ExchangeServer, market: Literal["equity", "commodity"], session: str) -> None:
    """Begin a session of TradFi contracts, such as REGULAR, OVERNIGHT or NO_TRADING (in which they are quiet).

    The stream ``tradingSession`` carries it each second.
    """
    server.change_market("set_session", market=market, session=session)


@control
def pay_dividend(server: ExchangeServer, symbol: str, rate: str, rate_type: str = "Special") -> None:
    """Pay a dividend as a special funding: a row of ``fundingRate`` whose ``rateType`` is not "Regular"."""
    server.change_market("pay_dividend", symbol=symbol, rate=rate, rate_type=rate_type)
