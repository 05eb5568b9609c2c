"""Controls of streams: silent, refused and closing ones, and single events lost, doubled, late or malformed.

A *selector* chooses streams: a kind ("kline", "aggTrade", "trade", "depth", "bookTicker", "markPrice", "forceOrder",
"ticker"), the name of a stream such as "btcusdt@kline_1h", or "*" for all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..literals import MalformedKind, Refusal
from .control import control

if TYPE_CHECKING:
    from ..server import ExchangeServer


@control
def drop_stream(
    server: ExchangeServer, name: str, *, spot: bool = False, sticky: bool = False, everywhere: bool = False
) -> int:
    """Silence one stream on the connections that have it now; no error, still listed as subscribed.

    It comes back after it is unsubscribed and subscribed again, or on another connection. With ``sticky`` it stays
    silent on these connections and delivers only on others; with ``everywhere`` it is silent on all connections.
    Returns the number of connections that had it. ``restore_stream`` undoes all of this.
    """
    return server.broadcaster.drop_stream(name, spot=spot, sticky=sticky, everywhere=everywhere)


@control
def restore_stream(server: ExchangeServer, name: str | None = None) -> int:
    """Undo ``drop_stream`` for one stream, or for all; return how many subscriptions deliver again."""
    return server.broadcaster.restore_stream(name)


@control
def refuse_stream(server: ExchangeServer, name: str, how: Refusal | None = "error") -> None:
    """Refuse every SUBSCRIBE that contains this name, even among others; None: accept it again.

    "error": an error with the id of the message; "anonymous": an error without an id, as for a message that could
    not be read; "silence": the message is dropped and never answered. Names already subscribed stay subscribed.
    """
    if how is None:
        server.broadcaster.refused_streams.pop(name, None)
    else:
        server.broadcaster.refused_streams[name] = how


@control
def announce_shutdown(server: ExchangeServer, seconds: float = 600.0, *, wrapped: bool = False) -> int:
    """Send every spot connection the event ``serverShutdown`` and close it ``seconds`` later; return how many.

    Source: the exchange's page on spot streams (since 2026-06-09; about 10 minutes before the server closes). The
    page does not say how the event arrives on a combined stream: bare, or ``wrapped`` as the data of a stream.
    """
    if seconds <= 0:
        raise ValueError("seconds must be above 0")
    return server.broadcaster.announce_shutdown(seconds, wrapped)


@control
def lose(
    server: ExchangeServer,
    selector: str,
    *,
    probability: float = 1.0,
    next_n: int | None = None,
    seconds: float | None = None,
    finals: bool = False,
) -> None:
    """Lose events: the next ``next_n``, or each with ``probability``; ``finals``: only final candle events."""
    server.stream_faults.add("lose", selector, probability=probability, next_n=next_n, seconds=seconds, finals=finals)


@control
def double(
    server: ExchangeServer,
    selector: str,
    *,
    probability: float = 1.0,
    next_n: int | None = None,
    seconds: float | None = None,
    finals: bool = False,
) -> None:
    """Send events twice; arguments as for ``lose``."""
    server.stream_faults.add("double", selector, probability=probability, next_n=next_n, seconds=seconds, finals=finals)


@control
def reorder(
    server: ExchangeServer,
    selector: str,
    *,
    probability: float = 1.0,
    next_n: int | None = None,
    seconds: float | None = None,
    finals: bool = False,
) -> None:
    """Send an event after the next one of its stream (after 5 s if there is none); arguments as for ``lose``."""
    server.stream_faults.add(
        "reorder", selector, probability=probability, next_n=next_n, seconds=seconds, finals=finals
    )


@control
def delay(
    server: ExchangeServer,
    selector: str,
    late: float,
    *,
    probability: float = 1.0,
    next_n: int | None = None,
    seconds: float | None = None,
    finals: bool = False,
) -> None:
    """Send events ``late`` seconds late, after those that followed them; other arguments as for ``lose``.

    Across a candle's turn, this is an event of the old candle after the new one has begun.
    """
    server.stream_faults.add(
        "delay", selector, probability=probability, next_n=next_n, seconds=seconds, finals=finals, delay=late
    )


@control
def lose_finals(server: ExchangeServer, on: bool = True) -> None:
    """Lose every candle's final event (futures and spot), or stop doing so."""
    server.stream_faults.remove("lose", finals=True)
    if on:
        server.stream_faults.add("lose", "kline", finals=True)


@control
def malformed(
    server: ExchangeServer,
    kind: MalformedKind,
    selector: str = "*",
    *,
    next_n: int | None = 1,
    probability: float = 1.0,
    seconds: float | None = None,
    replace: bool = False,
) -> None:
    """Send a malformed message before the next event(s); with ``replace`` instead of them.

    "not_json"; "truncated" JSON; "wrong_types" (numbers instead of text and so on); "missing_field";
    "empty_field"; "nan" (a price "NaN"); "null" data; "unknown_event"; "binary" (a binary frame of noise);
    "fragmented" (the good message in three fragments with a ping between them: valid, always instead of it); "huge" (10
    MB); "invalid_utf8"; "bad_element" (one bad element in an array or a book's side, in addition to the good ones, or
    with ``replace`` instead of one; only events that have an array); "empty_message"; "big_int" (a number of 6,000
    digits); "deep" (100,000 nested arrays).
    """
    server.stream_faults.add(
        "malformed",
        selector,
        probability=probability,
        next_n=next_n,
        seconds=seconds,
        malformed=kind,
        replace=replace,
    )


@control
def fault_counts(server: ExchangeServer) -> dict[str, int]:
    """Return how many events were lost, doubled, reordered, delayed and made malformed so far."""
    return dict(server.stream_faults.done)
