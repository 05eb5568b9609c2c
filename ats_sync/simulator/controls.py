"""Everything that can be done to a running exchange: faults, other programs' weight, single trades."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

from .stats import FloodResult

Route = Literal["public", "market", "private", "unrouted", "spot"]
What = Literal["rest", "streams", "all", "fapi", "spot", "fstream", "spot_stream"]
"""Ports: both REST hosts, both stream hosts, all four, or one of the four."""
Host = Literal["fapi", "spot"]
Refusal = Literal["error", "anonymous", "silence"]
Cut = Literal["close", "drop", "reset", "half_open"]
RestFaultKind = Literal[
    "429", "418", "500", "502", "503", "504", "403", "451",
    "timeout", "reset", "trickle", "html", "empty", "truncated", "wrong_shape", "slow", "code",
]  # fmt: skip
MalformedKind = Literal[
    "not_json", "truncated", "wrong_types", "missing_field", "empty_field", "nan", "null", "unknown_event",
    "binary", "fragmented", "huge", "invalid_utf8", "bad_element", "empty_message", "big_int", "deep",
]  # fmt: skip


class Controls(ABC):
    """The calls of :class:`~ats_sync.simulator.SimulatedExchange` that change what it does.

    Each acts at once and from any thread. ``seconds`` (real time) ends a fault by itself; without it the fault
    lasts until it is taken back or :meth:`clear_faults`. Streams are chosen by a *selector*: a kind ("kline",
    "aggTrade", "trade", "depth", "bookTicker", "markPrice", "forceOrder", "ticker"), a stream's name such as
    "btcusdt@kline_1h", or "*" for all. Bad arguments raise ValueError; an exchange that has ended raises
    :class:`~ats_sync.simulator.SimulatorError`.
    """

    @abstractmethod
    def _call(self, command: str, /, **arguments: Any) -> Any:
        """Carry out one command in the server."""

    # -- connections

    def cut(self, route: Route | None = None, how: Cut = "close", *, connection: int | None = None) -> int:
        """Cut the open stream connections: all, those on ``route``, or the one numbered ``connection``.

        "close": a close frame, then the TCP connection is closed. "drop": closed without a close frame. "reset": a
        TCP reset. "half_open": from now on no byte is sent and none is read, and the TCP connection stays, whatever
        the client does, until :meth:`clear_faults`. Returns how many were cut. Clients may connect again at once.
        """
        return int(self._call("cut", route=route, how=how, connection=connection))

    def lag(self, seconds: float | None, route: Route | None = None, *, connection: int | None = None) -> int:
        """Let all that the open stream connections are sent, pongs too, arrive so much later (None: as usual).

        In order, and for good: a backlog on the way that never drains. All of them, those on ``route``, or the one
        numbered ``connection``; connections made later do not lag. Returns how many were chosen.
        """
        return int(self._call("lag", seconds=seconds, route=route, connection=connection))

    def freeze(self, seconds: float | None = None, what: What = "streams") -> None:
        """Stop reading and writing on every connection, new ones included; nothing is lost.

        What would have been sent is kept (up to eight send buffers, then a stream connection is cut) and sent, late,
        when it thaws. New connections are accepted by the system and not answered.
        """
        self._call("freeze", seconds=seconds, what=what)

    def thaw(self, what: What = "all") -> None:
        """End :meth:`freeze`."""
        self._call("thaw", what=what)

    def refuse(
        self, seconds: float | None = None, what: What = "streams", how: Literal["refuse", "reset"] = "refuse"
    ) -> None:
        """Let nobody connect; open connections stay (:meth:`cut` them too for an outage).

        "refuse": the port is closed (connection refused). "reset": connections are accepted and reset at once.
        """
        self._call("refuse", seconds=seconds, what=what, how=how)

    def accept(self, what: What = "all") -> None:
        """End :meth:`refuse`."""
        self._call("accept", what=what)

    def trickle(self, bytes_per_second: float | None, what: What = "streams", *, seconds: float | None = None) -> None:
        """Let each connection send only so many bytes a second (None: as usual), cutting frames and TLS records.

        A stream connection whose backlog outgrows the send buffer is cut, as a slow reader's is.
        """
        self._call("trickle", bytes_per_second=bytes_per_second, what=what, seconds=seconds)

    def age_limit(self, seconds: float | None) -> None:
        """Close every stream connection at this age (None: as set at the start, 24 h by default)."""
        self._call("age_limit", seconds=seconds)

    def ping_every(self, seconds: float | None, deadline: float | None = None) -> None:
        """Ping every stream connection every ``seconds``; without a pong in ``deadline`` seconds it is closed.

        None: as set at the start.
        """
        self._call("ping_every", seconds=seconds, deadline=deadline)

    def handshake(
        self, answer: int | Literal["hang"] | None, *, count: int | None = None, seconds: float | None = None
    ) -> None:
        """Answer the next ``count`` (None: all) stream handshakes with an HTTP status, or never ("hang").

        None: as usual; handshakes that hang are then cut.
        """
        self._call("handshake", answer=answer, count=count, seconds=seconds)

    # -- streams

    def drop_stream(self, name: str, *, spot: bool = False, sticky: bool = False, everywhere: bool = False) -> int:
        """Let one stream fall silent on the connections that have it now; no error, still listed as subscribed.

        It comes back where it is unsubscribed and subscribed again, or on another connection. With ``sticky`` it
        stays silent on these connections and speaks only on others; with ``everywhere`` it is silent on any
        connection. Returns the number of connections that had it. :meth:`restore_stream` undoes all of it.
        """
        return int(self._call("drop_stream", name=name, spot=spot, sticky=sticky, everywhere=everywhere))

    def restore_stream(self, name: str | None = None) -> int:
        """Undo :meth:`drop_stream` for one stream, or for all; returns how many subscriptions speak again."""
        return int(self._call("restore_stream", name=name))

    def refuse_stream(self, name: str, how: Refusal | None = "error") -> None:
        """Refuse every SUBSCRIBE that has this name among others; None: accept it again.

        "error": an error with the id of the message; "anonymous": an error without an id, as for a message that
        could not be read; "silence": the message is dropped and never answered. Names already subscribed stay.
        """
        self._call("refuse_stream", name=name, how=how)

    def announce_shutdown(self, seconds: float = 600.0, *, wrapped: bool = False) -> int:
        """Send every spot connection the event ``serverShutdown`` and close it ``seconds`` later; how many there are.

        Source: the exchange's page on spot streams (since 2026-06-09; about 10 minutes before the server closes). How
        the event comes on a combined stream it does not show: bare, or ``wrapped`` as the data of a stream.
        """
        return int(self._call("announce_shutdown", seconds=seconds, wrapped=wrapped))

    def lose(
        self,
        selector: str,
        *,
        probability: float = 1.0,
        next_n: int | None = None,
        seconds: float | None = None,
        finals: bool = False,
    ) -> None:
        """Lose events: the next ``next_n``, or each with ``probability``; ``finals``: only final candle events."""
        self._stream_fault("lose", selector, probability=probability, next_n=next_n, seconds=seconds, finals=finals)

    def double(
        self,
        selector: str,
        *,
        probability: float = 1.0,
        next_n: int | None = None,
        seconds: float | None = None,
        finals: bool = False,
    ) -> None:
        """Send events twice; arguments as for :meth:`lose`."""
        self._stream_fault("double", selector, probability=probability, next_n=next_n, seconds=seconds, finals=finals)

    def reorder(
        self,
        selector: str,
        *,
        probability: float = 1.0,
        next_n: int | None = None,
        seconds: float | None = None,
        finals: bool = False,
    ) -> None:
        """Send an event after the next one of its stream (after 5 s if there is none). See :meth:`lose`."""
        self._stream_fault("reorder", selector, probability=probability, next_n=next_n, seconds=seconds, finals=finals)

    def delay(
        self,
        selector: str,
        late: float,
        *,
        probability: float = 1.0,
        next_n: int | None = None,
        seconds: float | None = None,
        finals: bool = False,
    ) -> None:
        """Send events ``late`` seconds late, after those that followed them.

        Over a candle's turn that is an old candle's event after the new one began. Arguments as for :meth:`lose`.
        """
        self._stream_fault(
            "delay", selector, probability=probability, next_n=next_n, seconds=seconds, finals=finals, delay=late
        )

    def lose_finals(self, on: bool = True) -> None:
        """Lose every candle's final event (futures and spot), or stop doing so."""
        self._call("lose_finals", on=on)

    def malformed(
        self,
        kind: MalformedKind,
        selector: str = "*",
        *,
        next_n: int | None = 1,
        probability: float = 1.0,
        seconds: float | None = None,
        replace: bool = False,
    ) -> None:
        """Send a malformed message before the next event(s); with ``replace`` in place of them.

        "not_json"; "truncated" JSON; "wrong_types" (numbers where text belongs and so on); "missing_field";
        "empty_field"; "nan" (a price "NaN"); "null" data; "unknown_event"; "binary" (a binary frame of noise);
        "fragmented" (the good message in three fragments with a ping between: valid, always in its place); "huge" (10
        MB); "invalid_utf8"; "bad_element" (one bad element in an array or a book's side, beside the good ones, or
        with ``replace`` in place of one; only events that have an array); "empty_message"; "big_int" (a number of
        6,000 digits); "deep" (100,000 nested arrays).
        """
        self._stream_fault(
            "malformed",
            selector,
            probability=probability,
            next_n=next_n,
            seconds=seconds,
            malformed=kind,
            replace=replace,
        )

    def fault_counts(self) -> dict[str, int]:
        """How many events were lost, doubled, reordered, delayed and made malformed so far."""
        return dict(self._call("fault_counts"))

    def _stream_fault(self, action: str, selector: str, **options: Any) -> None:
        self._call("stream_fault", action=action, selector=selector, options=options)

    # -- REST

    def fail_rest(
        self,
        kind: RestFaultKind,
        path: str | None = None,
        *,
        host: Host | None = None,
        count: int | None = None,
        seconds: float | None = None,
        retry_after: float = 5.0,
        delay: float = 1.0,
        code: int = -1001,
        status: int | None = None,
    ) -> None:
        """Make REST requests fail: all, those to ``path``, those to ``host``; the next ``count``, or for ``seconds``.

        "429": with ``Retry-After: retry_after``. "418": and a real ban of ``retry_after`` seconds. "500" "502"
        "503" "504": an HTML page. "403": a firewall's page. "451": the country is barred. "timeout": never answered
        (cut by :meth:`clear_faults`). "reset": TCP reset in the middle of the body. "trickle": a body that never
        ends, a byte at a time. "html": 200 with a page. "empty": 200 without a body. "truncated": the connection
        closed in the middle of the body. "wrong_shape": 200 with other JSON. "slow": ``delay`` seconds late. "code":
        an error body with ``code`` (-1000, -1001, -1007 …) and ``status`` (400, or 408 for -1007). The first rule
        that fits decides; weight is counted as usual.
        """
        self._call(
            "fail_rest",
            kind=str(kind),
            options={
                "path": path,
                "host": host,
                "count": count,
                "seconds": seconds,
                "retry_after": retry_after,
                "delay": delay,
                "code": code,
                "status": status,
            },
        )

    def ban(self, seconds: float, host: Host = "fapi") -> int:
        """Ban this address from one REST host; returns until when (exchange ms)."""
        return int(self._call("ban", seconds=seconds, host=host))

    def pardon(self) -> None:
        """End all bans, also that of too many connections; used weight stays used."""
        self._call("pardon")

    def latency(self, seconds: float) -> None:
        """Time added to every REST answer from now on."""
        self._call("latency", seconds=seconds)

    def lagging_replica(self, seconds: float | None, *, share: float = 1.0) -> None:
        """Answer REST, or a ``share`` of the requests chosen at random, from an older state; None ends it.

        The replica stands still when this is called, falls behind until it is ``seconds`` behind, and follows at
        that distance. ``/time`` and ``/ping`` are not affected, nor is :meth:`SimulatedExchange.rest`.
        """
        self._call("lagging_replica", seconds=seconds, share=share)

    def spend_weight(self, weight: int, host: Host = "fapi") -> int:
        """Another program on this address spends ``weight``; returns what this minute has used by now."""
        return int(self._call("spend_weight", weight=weight, host=host))

    def clear_faults(self) -> None:
        """End every fault: streams speak, ports open, frozen bytes flow, half-open and hung connections are cut.

        What was refused stays refused until its Retry-After (:meth:`pardon`), and the market stays as it was
        changed: delisted and silent symbols, the clock.
        """
        self._call("clear_faults")

    # -- the market

    def trade(self, symbol: str, *, at: int | None = None, ticks: int = 0, qty: int | None = None) -> None:
        """One trade now: ``ticks`` from the touch, ``qty`` in steps of the symbol (None: an ordinary size)."""
        self._call("trade", symbol=symbol, at=at, ticks=ticks, qty=qty)

    def silence(self, symbol: str, on: bool = True) -> None:
        """The symbol stops trading and its book rests, or it trades again: a quiet or halted market, no fault of its
        streams."""
        self._call("silence", symbol=symbol, on=on)

    def halt_history(self, symbol: str, start: int, stop: int) -> None:
        """The symbol's candles that lie within ``[start, stop)`` (exchange ms, in the past) are missing from REST at
        every interval: the hole that a halt of trading leaves. Its trades stay as they are."""
        self._call("halt_history", symbol=symbol, start=start, stop=stop)

    def restart_ids(self, symbol: str | None = None) -> None:
        """The update ids and trade ids of a symbol (None: of all) count from low numbers on, in streams and REST
        alike; ``aggTrades`` no longer knows the trades before. As after a reset of a test network."""
        self._call("restart_ids", symbol=symbol)

    def recompute_candle(self, symbol: str) -> None:
        """The symbol's open candles have fewer trades from now on: the exchange has taken back nine tenths of the
        newest minute (ValueError where that has fewer than ten). The next trade tells it on the streams."""
        self._call("recompute_candle", symbol=symbol)

    def delist(self, symbol: str, status: str = "SETTLING") -> None:
        """The symbol leaves the exchange now: exchangeInfo shows this status, ``!contractInfo`` tells of it, and its
        row rests in the mark stream (setting ``resting_marks``)."""
        self._call("delist", symbol=symbol, status=status)

    def list_symbol(self, symbol: str, **options: Any) -> None:
        """The symbol joins the exchange now; ``options`` as for ``Market.list_symbol``: ``price``, ``activity``,
        ``pending`` (PENDING_TRADING until :meth:`set_status`), ``underlying_type``."""
        self._call("list_symbol", symbol=symbol, options=dict(options))

    def set_status(self, symbol: str, status: str, *, candles: bool = True) -> None:
        """The symbol gets a status: TRADING, one that pauses it (TRADING_HALT, TRADING_CANCEL_ONLY, PRE_SETTLE, any
        other word) or a final one (SETTLING, CLOSE, DELIVERING, DELIVERED). ``!contractInfo`` tells of it.
        Without ``candles``, REST has none of the pause (else they are flat)."""
        self._call("set_status", symbol=symbol, status=status, candles=candles)

    def maintenance(self, seconds: float | None = None, status: str = "CLOSE") -> None:
        """Show every contract with ``status`` in exchangeInfo while all of them trade on, for ``seconds`` ("" ends
        it)."""
        self._call("maintenance", seconds=seconds, status=status)

    def set_session(self, market: Literal["equity", "commodity"], session: str) -> None:
        """A session of TradFi contracts begins (REGULAR, OVERNIGHT, NO_TRADING, …): see ``Market.set_session``."""
        self._call("set_session", market=market, session=session)

    def pay_dividend(self, symbol: str, rate: str, rate_type: str = "Special") -> None:
        """A dividend is paid as a special funding: see ``Market.pay_dividend``."""
        self._call("pay_dividend", symbol=symbol, rate=rate, rate_type=rate_type)

    def jump_clock(self, milliseconds: int) -> int:
        """Move exchange time; returns the new time, ms.

        Forward: the market goes through the skipped time without sending its events, which takes a while for many
        symbols. Back: ``/time`` shows it at once, and nothing trades until the old time is reached again.
        """
        return int(self._call("jump_clock", milliseconds=milliseconds))

    # -- benchmarks

    def flood(
        self,
        route: Route | None,
        frames_per_second: float | None,
        seconds: float,
        *,
        mix: Mapping[str, float] | None = None,
    ) -> FloodResult:
        """Flood the open connections on ``route`` (None: all) for ``seconds``; blocks until it is over.

        ``frames_per_second`` in all, or None: as fast as the sockets take them. The frames are copies of the newest
        real frame of each stream subscribed, with fresh event and open times and ids that go on without a hole; ``E``
        is exchange time at the moment of sending. ``mix``: shares by kind or by name after the symbol
        ("depth20@100ms", which then does not count for its kind), by default 47 % klines, 30 % books, 22 %
        trades, 1 % mark prices; kinds that are not subscribed leave their share to the others. Streams that have
        had no frame yet are left out.

        From then on the market no longer sends to these connections, and its REST knows nothing of what was sent: a
        benchmark is the last thing to do with a client. (Another flood over the same connections with the same mix
        goes on where the one before ended; another mix needs new connections.) ValueError when there is nothing to
        send.
        """
        told = self._call(
            "flood",
            route=route,
            frames_per_second=frames_per_second,
            seconds=seconds,
            mix=None if mix is None else dict(mix),
        )
        told["by_connection"] = {int(number): frames for number, frames in told["by_connection"].items()}
        return FloodResult(**told)
