"""The requests and streams of ``probe``, and what it sees."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from ..clock import Clock
from ..config import Config
from ..errors import RequestRejected
from ..transport.rest import RestClient
from ..transport.sockets import CancelScope
from ..transport.stream import StreamClosed, WebSocketStream
from ..venue.responses import USED_WEIGHT_HEADER

MOST_WEIGHT = 300
LISTEN = 6.0
"""Seconds for which each connection is listened to."""
TIMEOUT = 10.0
MINUTE = 60.0
AFTER_TURN = 1.5
NONSENSE = "nosuchusdt@nosuchkind"
SYMBOL = "btcusdt"
MARKET = (
    f"{SYMBOL}@kline_1m", f"{SYMBOL}@aggTrade", f"{SYMBOL}@markPrice@1s", "!markPrice@arr@1s", "!ticker@arr",
)  # fmt: skip
PUBLIC = (f"{SYMBOL}@depth20@100ms", f"{SYMBOL}@depth@100ms", f"{SYMBOL}@bookTicker")
SILENT = (NONSENSE, "BTCUSDT@aggTrade", f"{SYMBOL}@depth20@250ms")
ROUTES = {"market": "/market/stream", "public": "/public/stream", "unrouted": "/stream", "spot": "/stream"}
REQUESTS: Mapping[str, tuple[str, dict[str, str | int], int]] = {
    "klines 100": ("/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "1m", "limit": 100}, 1),
    "klines 500": ("/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "1m", "limit": 500}, 2),
    "klines 1000": ("/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "1m", "limit": 1000}, 5),
    "klines 1001": ("/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "1m", "limit": 1001}, 10),
    "depth 20": ("/fapi/v1/depth", {"symbol": "BTCUSDT", "limit": 20}, 2),
    "depth 100": ("/fapi/v1/depth", {"symbol": "BTCUSDT", "limit": 100}, 5),
    "depth": ("/fapi/v1/depth", {"symbol": "BTCUSDT"}, 1),
    "aggTrades": ("/fapi/v1/aggTrades", {"symbol": "BTCUSDT", "limit": 3}, 20),
    "premiumIndex": ("/fapi/v1/premiumIndex", {"symbol": "BTCUSDT"}, 1),
    "aggTrades of no symbol": ("/fapi/v1/aggTrades", {"symbol": "NOSUCHUSDT"}, 20),
    "klines 1s": ("/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "1s", "limit": 1}, 1),
    "depth 7": ("/fapi/v1/depth", {"symbol": "BTCUSDT", "limit": 7}, 2),
}
"""The requests: path, parameters, and the weight that the client counts."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One request: its answer (None where it was refused), the code of a refusal, and by how much the header grew."""

    body: Any
    code: int | None
    grew: int | None


@dataclass
class Seen:
    """Everything that was seen."""

    answers: dict[str, Reply] = field(default_factory=dict)
    frames: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    """By route and stream."""
    replies: dict[str, list[Any]] = field(default_factory=dict)
    """By route: messages that are not frames."""
    ponged: dict[str, bool] = field(default_factory=dict)
    used: list[int | None] = field(default_factory=list)
    """The used weight that each answer reported."""
    before_turn: int | None = None
    after_turn: int | None = None
    spent: int = 0


class _Rest:
    def __init__(self, config: Config, clock: Clock, seen: Seen) -> None:
        self.client = RestClient(config, clock)
        self._base = config.fapi_base
        self._seen = seen

    def used(self, path: str, params: dict[str, str | int], weight: int) -> tuple[Any, int | None, int | None]:
        """Send one request; return the body, a refusal's code, the used weight."""
        self._seen.spent += weight
        assert self._seen.spent <= MOST_WEIGHT
        try:
            answer = self.client.get(self._base + path, params, timeout=TIMEOUT)
        except RequestRejected as error:
            return None, error.code, None
        reported = answer.headers.get(USED_WEIGHT_HEADER)
        used = int(reported) if reported is not None and reported.isdigit() else None
        self._seen.used.append(used)
        return json.loads(answer.body), None, used

    def time(self) -> tuple[float, int | None]:
        """Return exchange time in seconds and the used weight."""
        body, _, used = self.used("/fapi/v1/time", {}, 1)
        return body["serverTime"] / 1000.0, used

    def ask(self, name: str) -> Reply:
        """Send one of :data:`REQUESTS` between two of ``/time``, so that the header shows its weight."""
        path, params, weight = REQUESTS[name]
        _, before = self.time()
        body, code, _ = self.used(path, params, weight)
        _, after = self.time()
        grew = after - before - 1 if before is not None and after is not None and after > before else None
        return Reply(body, code, grew)


def look(config: Config) -> Seen:
    """Send the requests and listen for about a minute.

    Raises a RequestError where the exchange cannot be reached or says to wait.
    """
    seen, clock = Seen(), Clock()
    pause = threading.Event()  # never set: only Ctrl-C ends a wait for it
    rest = _Rest(config, clock, seen)
    now, _ = rest.time()
    if MINUTE - now % MINUTE < AFTER_TURN:
        pause.wait(AFTER_TURN)  # a count that falls in between proves nothing
    for name in REQUESTS:
        reply = rest.ask(name)
        weight = REQUESTS[name][2]
        if reply.grew != weight and seen.spent + weight + 2 < MOST_WEIGHT // 2:
            reply = rest.ask(name)  # somebody else on this address, or the turn of a minute
        seen.answers[name] = reply
    begun, seen.before_turn = rest.time()
    for route in ROUTES:
        _listen(config, clock, route, seen)
    now, seen.after_turn = rest.time()
    if now // MINUTE == begun // MINUTE:
        pause.wait(MINUTE - now % MINUTE + AFTER_TURN)
        _, seen.after_turn = rest.time()
    return seen


def _listen(config: Config, clock: Clock, route: str, seen: Seen) -> None:
    base = config.spot_stream_base if route == "spot" else config.fstream_base
    names = [f"{SYMBOL}@kline_1m"] if route == "spot" else [*MARKET, *PUBLIC, *SILENT]
    replies = seen.replies[route] = []
    stream = WebSocketStream.connect(base + ROUTES[route], config, clock, CancelScope(clock), timeout=TIMEOUT)
    with closing(stream):
        stream.send_text(json.dumps({"method": "SUBSCRIBE", "params": names, "id": 1}))
        stream.send_text(json.dumps({"method": "UNSUBSCRIBE", "params": [NONSENSE], "id": 2}))
        pong = stream.last_pong
        stream.ping()
        end = clock.now() + LISTEN
        while (left := end - clock.now()) > 0:
            if not stream.wait(left):
                continue
            try:
                frames = stream.receive()
            except StreamClosed:
                break
            for frame in frames:
                message = json.loads(frame)
                if isinstance(message, dict) and "stream" in message:
                    seen.frames.setdefault((route, message["stream"]), []).append(message["data"])
                else:
                    replies.append(message)
        seen.ponged[route] = stream.last_pong != pong
