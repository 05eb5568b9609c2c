"""``probe``: the exchange as it is, compared with each fact that the client rests on."""

from __future__ import annotations

import itertools
import json
import sys
import threading
from argparse import Namespace
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple

from ..clock import Clock
from ..config import Config
from ..errors import AccessDenied, RateLimited, RequestError, RequestRejected
from ..simulator import SimulatedExchange
from ..transport.rest import RestClient
from ..transport.sockets import CancelScope
from ..transport.stream import StreamClosed, WebSocketStream
from ..venue.responses import USED_WEIGHT_HEADER
from .exits import FAILED, OK, CommandFailed
from .screen import Screen

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
    snapshot: dict[str, Any] = field(default_factory=dict)
    """A book that REST showed while its diffs came."""
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
        _listen(config, clock, route, seen, rest)
    now, seen.after_turn = rest.time()
    if now // MINUTE == begun // MINUTE:
        pause.wait(MINUTE - now % MINUTE + AFTER_TURN)
        _, seen.after_turn = rest.time()
    return seen


def _listen(config: Config, clock: Clock, route: str, seen: Seen, rest: _Rest) -> None:
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
            if route == "public" and not seen.snapshot and left < LISTEN / 2.0:
                seen.snapshot, _, _ = rest.used(*REQUESTS["depth"])
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


Verdict = tuple[bool, str]
"""Whether the fact is kept, and what was seen."""


class Fact(NamedTuple):
    """One line of the probe."""

    name: str
    source: str
    check: Callable[[Seen], Verdict]


MEASURED = "measured 2026-10-07"
DOCUMENTED = "documentation"
RECORDED = "recorded 2021-07-22"


def _weighs(name: str) -> Callable[[Seen], Verdict]:
    def check(seen: Seen) -> Verdict:
        grew = seen.answers[name].grew
        return grew == REQUESTS[name][2], "no header showed it" if grew is None else f"the header grew by {grew}"

    return check


def _refused(name: str, code: int) -> Callable[[Seen], Verdict]:
    def check(seen: Seen) -> Verdict:
        found = seen.answers[name].code
        return found == code, "it was answered" if found is None else f"refused with {found}"

    return check


def _delivers(route: str, *streams: str) -> Callable[[Seen], Verdict]:
    def check(seen: Seen) -> Verdict:
        silent = [name for name in streams if not seen.frames.get((route, name))]
        return not silent, f"silent: {', '.join(silent)}" if silent else "all of them came"

    return check


def _silent(route: str, *streams: str) -> Callable[[Seen], Verdict]:
    def check(seen: Seen) -> Verdict:
        heard = [name for name in streams if seen.frames.get((route, name))]
        return not heard, f"delivered: {', '.join(heard)}" if heard else "silent"

    return check


def _fields(route: str, stream: str, fields: str) -> Callable[[Seen], Verdict]:
    def check(seen: Seen) -> Verdict:
        frames = seen.frames.get((route, stream), [])
        if not frames:
            return False, "no frame came"
        data = frames[-1][0] if isinstance(frames[-1], list) else frames[-1]
        data = data.get("k", data)
        lacking = [name for name in fields.split() if name not in data]
        return not lacking, f"lacking: {' '.join(lacking)}" if lacking else "all there"

    return check


def _acknowledged(identity: int) -> Callable[[Seen], Verdict]:
    def check(seen: Seen) -> Verdict:
        bad = [route for route, replies in seen.replies.items() if {"result": None, "id": identity} not in replies]
        return not bad, f"not on {', '.join(bad)}" if bad else "on every route"

    return check


def _header(seen: Seen) -> Verdict:
    lacking = sum(used is None for used in seen.used)
    return not lacking, f"{lacking} of {len(seen.used)} answers without it" if lacking else "in every answer"


def _minute(seen: Seen) -> Verdict:
    before, after = seen.before_turn, seen.after_turn
    found = f"{before} before the turn of the minute, {after} after it"
    return before is not None and after is not None and after < before, found


def _rows(seen: Seen) -> Verdict:
    rows = seen.answers["klines 500"].body or [[]]
    return len(rows[-1]) == 12, f"{len(rows)} rows of {len(rows[-1])}"


def _without_limit(seen: Seen) -> Verdict:
    body = seen.answers["depth"].body or {}
    levels = max(len(body.get("bids", ())), len(body.get("asks", ())))
    return 0 < levels <= 500 and "lastUpdateId" in body, f"{levels} levels at most on a side"


def _trade_ids(seen: Seen) -> Verdict:
    ids = [data["a"] for data in seen.frames.get(("market", f"{SYMBOL}@aggTrade"), [])]
    holes = sum(b != a + 1 for a, b in itertools.pairwise(ids))
    return len(ids) > 1 and not holes, f"{len(ids)} trades, {holes} holes"


def _diffs(seen: Seen) -> Verdict:
    diffs = seen.frames.get(("public", f"{SYMBOL}@depth@100ms"), [])
    holes = sum(b["pu"] != a["u"] for a, b in itertools.pairwise(diffs))
    return len(diffs) > 1 and not holes, f"{len(diffs)} diffs, {holes} holes"


def _snapshot_time(seen: Seen) -> Verdict:
    diffs, shown = seen.frames.get(("public", f"{SYMBOL}@depth@100ms"), []), seen.snapshot
    before = [data["T"] for data in diffs if shown and data["u"] <= shown["lastUpdateId"]]
    after = [data["T"] for data in diffs if shown and data["u"] > shown["lastUpdateId"]]
    if not before or not after:
        return False, "no diff before it and after it came"
    return before[-1] <= shown["T"] <= after[0], f"{before[-1]}, {shown['T']}, {after[0]}"


def _pongs(seen: Seen) -> Verdict:
    deaf = [route for route, ponged in seen.ponged.items() if not ponged]
    return not deaf, f"no pong on {', '.join(deaf)}" if deaf else "on every route"


_WEIGHTS = {
    **dict.fromkeys(("klines 100", "klines 500", "klines 1000", "klines 1001"), MEASURED),
    **dict.fromkeys(("depth", "aggTrades of no symbol"), MEASURED),
    **dict.fromkeys(("depth 20", "depth 100", "aggTrades", "premiumIndex"), DOCUMENTED),
}
FACTS = (
    Fact("each answer tells the used weight", DOCUMENTED, _header),
    Fact("the weight falls at the UTC minute", MEASURED, _minute),
    *(Fact(f"{name} weighs {REQUESTS[name][2]}", source, _weighs(name)) for name, source in _WEIGHTS.items()),
    Fact("a kline row has 12 fields", DOCUMENTED, _rows),
    Fact("depth without limit has up to 500 levels", MEASURED, _without_limit),
    Fact("an unknown symbol is -1121", DOCUMENTED, _refused("aggTrades of no symbol", -1121)),
    Fact("klines of 1s are -1120", DOCUMENTED, _refused("klines 1s", -1120)),
    Fact("a depth limit that does not exist is -4021", DOCUMENTED, _refused("depth 7", -4021)),
    Fact("/market delivers candles, trades, marks, tickers", DOCUMENTED, _delivers("market", *MARKET)),
    Fact("/market is silent on books", DOCUMENTED, _silent("market", *PUBLIC)),
    Fact("/public delivers books", DOCUMENTED, _delivers("public", *PUBLIC)),
    Fact("/public is silent on the rest", DOCUMENTED, _silent("public", *MARKET)),
    Fact("without a route books come", DOCUMENTED, _delivers("unrouted", *PUBLIC)),
    Fact("without a route the rest is silent", DOCUMENTED, _silent("unrouted", *MARKET)),
    Fact("spot delivers candles", DOCUMENTED, _delivers("spot", f"{SYMBOL}@kline_1m")),
    Fact("nonsense, upper case and @250ms are silent on /market", MEASURED, _silent("market", *SILENT)),
    Fact("nonsense, upper case and @250ms are silent on /public", MEASURED, _silent("public", *SILENT)),
    Fact("SUBSCRIBE is acknowledged, nonsense included", MEASURED, _acknowledged(1)),
    Fact("UNSUBSCRIBE of nonsense is acknowledged", MEASURED, _acknowledged(2)),
    Fact("fields of a kline", DOCUMENTED, _fields("market", MARKET[0], "t T s i f L o c h l v n x q V Q")),
    Fact("fields of aggTrade", DOCUMENTED, _fields("market", MARKET[1], "E a p q f l T m")),
    Fact("fields of markPrice", DOCUMENTED, _fields("market", MARKET[2], "E s p i P r T")),
    Fact("fields of a depth diff", DOCUMENTED, _fields("public", PUBLIC[1], "E T U u pu b a")),
    Fact("fields of bookTicker", DOCUMENTED, _fields("public", PUBLIC[2], "u b B a A")),
    Fact("ids of aggregated trades are consecutive", DOCUMENTED, _trade_ids),
    Fact("each diff begins where the last one ended", DOCUMENTED, _diffs),
    Fact("a book's T lies between those of the diffs before and after it", RECORDED, _snapshot_time),
    Fact("a ping is answered by a pong", DOCUMENTED, _pongs),
)
"""Every fact, as it is printed."""


UNREACHABLE = 2
BEFORE_MINUTE = 25
"""Seconds before a full minute at which the embedded exchange starts, so that its turn need not be waited for."""


def run(options: Namespace) -> int:
    """Print whether each fact was kept; return 1 when one has changed, 2 when the exchange could not be reached."""
    screen = Screen(sys.stdout)
    with ExitStack() as stack:
        if options.live:
            config = Config.from_env()
        else:
            now = datetime.now(timezone.utc).replace(second=0, microsecond=0)
            start = now - timedelta(seconds=BEFORE_MINUTE)
            exchange = SimulatedExchange(["BTCUSDT", "ETHUSDT"], start=start)
            config = stack.enter_context(exchange).config()
        screen.heading(f"{len(FACTS)} facts on {config.fapi_base} and its streams, in about a minute")
        try:
            seen = look(config)
        except RateLimited as error:
            raise CommandFailed(f"the exchange says to wait, so nothing more is sent: {error}", UNREACHABLE) from error
        except (AccessDenied, RequestError) as error:
            raise CommandFailed(f"the exchange could not be reached: {error}", UNREACHABLE) from error
    changed = 0
    for fact in FACTS:
        kept, what = fact.check(seen)
        changed += not kept
        screen.line(f"{'kept' if kept else 'changed':<8} {fact.name} ({fact.source}): {what}")
    screen.line(f"{len(FACTS) - changed} kept, {changed} changed; {seen.spent} of request weight")
    return FAILED if changed else OK
