"""``probe``: checks each fact about the exchange that the client relies on."""

from __future__ import annotations

import itertools
import json
import sys
import threading
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping
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
from ..venue.listings import PHASES
from ..venue.responses import USED_WEIGHT_HEADER
from .exits import FAILED, OK, CommandFailed
from .screen import Screen

MOST_WEIGHT = 300
LISTEN = 6.0
"""Seconds of listening on each connection."""
TIMEOUT = 10.0
MINUTE = 60.0
AFTER_TURN = 1.5
NONSENSE = "nosuchusdt@nosuchkind"
SYMBOL = "btcusdt"
MARKET = (
    f"{SYMBOL}@kline_1m", f"{SYMBOL}@aggTrade", f"{SYMBOL}@markPrice@1s", "!markPrice@arr@1s", "!ticker@arr",
)  # fmt: skip
PUBLIC = (f"{SYMBOL}@depth20@100ms", f"{SYMBOL}@depth@100ms", f"{SYMBOL}@bookTicker", "!bookTicker")
SPOT_KLINES = f"{SYMBOL}@kline_1m"
RARE = ("!contractInfo", "!forceOrder@arr")
"""Streams that may be silent while the probe listens."""
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
    "exchangeInfo": ("/fapi/v1/exchangeInfo", {}, 1),
    "openInterestHist": ("/futures/data/openInterestHist", {"symbol": "BTCUSDT", "period": "5m", "limit": 3}, 0),
    "fundingRate": ("/fapi/v1/fundingRate", {"symbol": "BTCUSDT", "limit": 3}, 0),
}
"""The requests: path, parameters, and the weight that the client counts. Paths of weight 0 have their own limit."""
SPOT_REQUESTS: Mapping[str, tuple[str, dict[str, str | int], int]] = {
    "spot ticker/price": ("/api/v3/ticker/price", {"symbol": "BTCUSDT"}, 2),
    "spot klines": ("/api/v3/klines", {"symbol": "BTCUSDT", "interval": "1m", "limit": 3}, 2),
}


@dataclass(frozen=True, slots=True)
class Reply:
    """One request: its answer (None if it was refused), the code of a refusal, and by how much the header grew."""

    body: Any
    code: int | None
    grew: int | None


@dataclass
class Seen:
    """Everything that the probe has received."""

    answers: dict[str, Reply] = field(default_factory=dict)
    frames: dict[tuple[str, str], list[Any]] = field(default_factory=dict)
    """By route and stream."""
    replies: dict[str, list[Any]] = field(default_factory=dict)
    """By route: messages that are not frames."""
    ponged: dict[str, bool] = field(default_factory=dict)
    used: list[int | None] = field(default_factory=list)
    """The used weight that each answer reported."""
    snapshot: dict[str, Any] = field(default_factory=dict)
    """A book from REST, requested while its diffs arrived."""
    before_turn: int | None = None
    after_turn: int | None = None
    spent: int = 0


class _Rest:
    def __init__(self, config: Config, clock: Clock, seen: Seen) -> None:
        self.client = RestClient(config, clock)
        self._base, self._spot_base = config.fapi_base, config.spot_base
        self._seen = seen

    def used(
        self, path: str, params: dict[str, str | int], weight: int, base: str = ""
    ) -> tuple[Any, int | None, int | None]:
        """Send one request; return the body, a refusal's code, the used weight."""
        self._seen.spent += weight
        assert self._seen.spent <= MOST_WEIGHT
        try:
            answer = self.client.get((base or self._base) + path, params, timeout=TIMEOUT)
        except RequestRejected as error:
            return None, error.code, None
        reported = answer.headers.get(USED_WEIGHT_HEADER)
        used = int(reported) if reported is not None and reported.isdigit() else None
        if weight:
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

    def ask_spot(self, name: str) -> Reply:
        """Send one of :data:`SPOT_REQUESTS` twice, so that the header shows its weight."""
        path, params, weight = SPOT_REQUESTS[name]
        _, _, before = self.used(path, params, weight, self._spot_base)
        body, code, after = self.used(path, params, weight, self._spot_base)
        return Reply(body, code, after - before if before is not None and after is not None else None)


def look(config: Config) -> Seen:
    """Send the requests, listen for about a minute, and return everything received.

    Raises a RequestError if the exchange cannot be reached or says to wait.
    """
    seen, clock = Seen(), Clock()
    rest = _Rest(config, clock, seen)
    with closing(rest.client):
        _look(config, clock, seen, rest)
    return seen


def _look(config: Config, clock: Clock, seen: Seen, rest: _Rest) -> None:
    pause = threading.Event()  # never set: only Ctrl-C ends a wait for it
    now, _ = rest.time()
    if MINUTE - now % MINUTE < AFTER_TURN:
        pause.wait(AFTER_TURN)  # a count that straddles the minute proves nothing
    for name in REQUESTS:
        reply = rest.ask(name)
        weight = REQUESTS[name][2]
        if reply.grew != weight and seen.spent + weight + 2 < MOST_WEIGHT // 2:
            reply = rest.ask(name)  # another program on this address, or a new minute, was counted
        seen.answers[name] = reply
    for name in SPOT_REQUESTS:
        reply = rest.ask_spot(name)
        seen.answers[name] = reply if reply.grew == SPOT_REQUESTS[name][2] else rest.ask_spot(name)
    begun, seen.before_turn = rest.time()
    for route in ROUTES:
        _listen(config, clock, route, seen, rest)
    now, seen.after_turn = rest.time()
    if now // MINUTE == begun // MINUTE:
        pause.wait(MINUTE - now % MINUTE + AFTER_TURN)
        _, seen.after_turn = rest.time()


def _listen(config: Config, clock: Clock, route: str, seen: Seen, rest: _Rest) -> None:
    base = config.spot_stream_base if route == "spot" else config.fstream_base
    names = [SPOT_KLINES] if route == "spot" else [*MARKET, *PUBLIC, *SILENT]
    replies = seen.replies[route] = []
    stream = WebSocketStream.connect(base + ROUTES[route], config, clock, CancelScope(clock), timeout=TIMEOUT)
    with closing(stream):
        stream.send_text(json.dumps({"method": "SUBSCRIBE", "params": names, "id": 1}))
        stream.send_text(json.dumps({"method": "UNSUBSCRIBE", "params": [NONSENSE], "id": 2}))
        if route == "market":
            stream.send_text(json.dumps({"method": "SUBSCRIBE", "params": RARE, "id": 3}))
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
"""Whether the fact holds, and what was found."""


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
        return grew == WEIGHTS[name], "no header showed it" if grew is None else f"the header grew by {grew}"

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


def _lacking(rows: Iterable[Any], fields: str) -> Verdict:
    """Return whether there are rows and each of them has all of these fields."""
    rows = list(rows)
    lacking = {name for row in rows for name in fields.split() if not isinstance(row, dict) or name not in row}
    if not rows:
        return False, "none came"
    return not lacking, f"lacking: {' '.join(sorted(lacking))}" if lacking else f"all there in {len(rows)}"


def _rows_of(frame: Any) -> list[Any]:
    return frame if isinstance(frame, list) else [frame]


def _fields(route: str, stream: str, fields: str, inside: str = "") -> Callable[[Seen], Verdict]:
    """Return a check of a stream's fields. ``inside``: the field whose object has them."""

    def check(seen: Seen) -> Verdict:
        rows = [row for frame in seen.frames.get((route, stream), []) for row in _rows_of(frame)]
        return _lacking([row.get(inside) for row in rows] if inside else rows, fields)

    return check


def _fields_if_any(route: str, stream: str, fields: str, inside: str = "") -> Callable[[Seen], Verdict]:
    def check(seen: Seen) -> Verdict:
        if not seen.frames.get((route, stream)):
            return True, "none came"
        return _fields(route, stream, fields, inside)(seen)

    return check


def _answer_fields(name: str, fields: str) -> Callable[[Seen], Verdict]:
    def check(seen: Seen) -> Verdict:
        return _lacking(_rows_of(seen.answers[name].body or []), fields)

    return check


def _acknowledged(identity: int, *routes: str) -> Callable[[Seen], Verdict]:
    """Return a check that a message is acknowledged on ``routes``, or on every route."""

    def check(seen: Seen) -> Verdict:
        expected = {"result": None, "id": identity}
        bad = [route for route in routes or seen.replies if expected not in seen.replies.get(route, [])]
        return not bad, f"not on {', '.join(bad)}" if bad else f"on {', '.join(routes) or 'every route'}"

    return check


def _contracts(seen: Seen) -> list[Any]:
    body = seen.answers["exchangeInfo"].body
    return list(body.get("symbols", [])) if isinstance(body, dict) else []


def _contract_fields(seen: Seen) -> Verdict:
    return _lacking(_contracts(seen), CONTRACT)


def _filters(seen: Seen) -> Verdict:
    """Return whether every contract has the filters that the trading rules are made of."""
    lacking: set[str] = set()
    contracts = _contracts(seen)
    for contract in contracts:
        filters = {each.get("filterType"): each for each in contract.get("filters", ())}
        lacking |= {f"{kind}.{name}" for kind, name in FILTERS if name not in filters.get(kind, {})}
    kept = bool(contracts) and not lacking
    return kept, f"lacking: {' '.join(sorted(lacking))}" if lacking else f"all there in {len(contracts)}"


def _statuses(seen: Seen) -> Verdict:
    statuses = {str(contract.get("status", contract.get("contractStatus"))) for contract in _contracts(seen)}
    unknown = sorted(statuses - PHASES.keys())
    return bool(statuses) and not unknown, f"unknown: {', '.join(unknown)}" if unknown else ", ".join(sorted(statuses))


def _weight_limit(seen: Seen) -> Verdict:
    body = seen.answers["exchangeInfo"].body or {}
    for rule in body.get("rateLimits", ()):
        if (rule.get("rateLimitType"), rule.get("interval"), rule.get("intervalNum")) == WEIGHT_A_MINUTE:
            limit = rule.get("limit")
            return limit == FUTURES_LIMIT, f"{limit} per minute"
    return False, "no such limit"


def _header(seen: Seen) -> Verdict:
    lacking = sum(used is None for used in seen.used)
    return not lacking, f"{lacking} of {len(seen.used)} answers without it" if lacking else "in every answer"


def _minute(seen: Seen) -> Verdict:
    before, after = seen.before_turn, seen.after_turn
    found = f"{before} before the new minute, {after} after it began"
    return before is not None and after is not None and after < before, found


def _kline_rows(name: str) -> Callable[[Seen], Verdict]:
    def check(seen: Seen) -> Verdict:
        rows = seen.answers[name].body or [[]]
        return len(rows[-1]) == 12, f"{len(rows)} rows of {len(rows[-1])}"

    return check


def _without_limit(seen: Seen) -> Verdict:
    body = seen.answers["depth"].body or {}
    levels = max(len(body.get("bids", ())), len(body.get("asks", ())))
    return 0 < levels <= 500 and "lastUpdateId" in body, f"at most {levels} levels per side"


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
        return False, "no diff came before and after it"
    return before[-1] <= shown["T"] <= after[0], f"{before[-1]}, {shown['T']}, {after[0]}"


def _pongs(seen: Seen) -> Verdict:
    deaf = [route for route, ponged in seen.ponged.items() if not ponged]
    return not deaf, f"no pong on {', '.join(deaf)}" if deaf else "on every route"


_WEIGHTS = {
    **dict.fromkeys(("klines 100", "klines 500", "klines 1000", "klines 1001"), MEASURED),
    **dict.fromkeys(("depth", "aggTrades of no symbol"), MEASURED),
    **dict.fromkeys(("depth 20", "depth 100", "aggTrades", "premiumIndex", "exchangeInfo"), DOCUMENTED),
    **dict.fromkeys(("openInterestHist", "fundingRate", *SPOT_REQUESTS), DOCUMENTED),
}
WEIGHTS = {name: weight for name, (_, _, weight) in (*REQUESTS.items(), *SPOT_REQUESTS.items())}
FUTURES_LIMIT = 2400
WEIGHT_A_MINUTE = ("REQUEST_WEIGHT", "MINUTE", 1)
CONTRACT = "symbol status contractType underlyingType baseAsset quoteAsset onboardDate filters"
FILTERS = (
    *(("PRICE_FILTER", "tickSize"), ("LOT_SIZE", "stepSize"), ("LOT_SIZE", "minQty"), ("LOT_SIZE", "maxQty")),
    *(("MARKET_LOT_SIZE", "maxQty"), ("MIN_NOTIONAL", "notional")),
)
KLINE = "t T s i f L o c h l v n x q V Q"
MARK = "E s p i P r T"
TICKER = "E s p P w c Q o h l v q O C F L n"
FACTS = (
    Fact("each answer reports the used weight", DOCUMENTED, _header),
    Fact("the weight resets at the UTC minute", MEASURED, _minute),
    *(Fact(f"{name} weighs {WEIGHTS[name]}", source, _weighs(name)) for name, source in _WEIGHTS.items()),
    Fact("a kline row has 12 fields", DOCUMENTED, _kline_rows("klines 500")),
    Fact("a spot kline row has 12 fields", DOCUMENTED, _kline_rows("spot klines")),
    Fact("fields of a spot price", DOCUMENTED, _answer_fields("spot ticker/price", "symbol price")),
    Fact(
        "fields of openInterestHist",
        DOCUMENTED,
        _answer_fields("openInterestHist", "symbol sumOpenInterest sumOpenInterestValue timestamp"),
    ),
    Fact(
        "fields of fundingRate, rateType among them",
        MEASURED,
        _answer_fields("fundingRate", "symbol fundingTime fundingRate markPrice rateType"),
    ),
    Fact("fields of each contract in exchangeInfo", MEASURED, _contract_fields),
    Fact("filters of each contract in exchangeInfo", MEASURED, _filters),
    Fact("every status in exchangeInfo is a known one", DOCUMENTED, _statuses),
    Fact(f"exchangeInfo allows a weight of {FUTURES_LIMIT} per minute", DOCUMENTED, _weight_limit),
    Fact("depth without limit has up to 500 levels", MEASURED, _without_limit),
    Fact("an unknown symbol is -1121", DOCUMENTED, _refused("aggTrades of no symbol", -1121)),
    Fact("klines of 1s are -1120", DOCUMENTED, _refused("klines 1s", -1120)),
    Fact("a depth limit that does not exist is -4021", DOCUMENTED, _refused("depth 7", -4021)),
    Fact("/market delivers candles, trades, marks, tickers", DOCUMENTED, _delivers("market", *MARKET)),
    Fact("/market is silent on books", DOCUMENTED, _silent("market", *PUBLIC)),
    Fact("/public delivers books", DOCUMENTED, _delivers("public", *PUBLIC)),
    Fact("/public is silent on the rest", DOCUMENTED, _silent("public", *MARKET)),
    Fact("without a route, books are delivered", DOCUMENTED, _delivers("unrouted", *PUBLIC)),
    Fact("without a route, the rest is silent", DOCUMENTED, _silent("unrouted", *MARKET)),
    Fact("spot delivers candles", DOCUMENTED, _delivers("spot", SPOT_KLINES)),
    Fact("nonsense, upper case and @250ms are silent on /market", MEASURED, _silent("market", *SILENT)),
    Fact("nonsense, upper case and @250ms are silent on /public", MEASURED, _silent("public", *SILENT)),
    Fact("SUBSCRIBE is acknowledged, nonsense included", MEASURED, _acknowledged(1)),
    Fact("UNSUBSCRIBE of nonsense is acknowledged", MEASURED, _acknowledged(2)),
    Fact("!contractInfo and !forceOrder@arr are acknowledged", DOCUMENTED, _acknowledged(3, "market")),
    Fact("fields of a kline", DOCUMENTED, _fields("market", MARKET[0], KLINE, "k")),
    Fact("fields of a spot kline", DOCUMENTED, _fields("spot", SPOT_KLINES, KLINE, "k")),
    Fact("fields of aggTrade", DOCUMENTED, _fields("market", MARKET[1], "E a p q f l T m")),
    Fact("fields of markPrice", DOCUMENTED, _fields("market", MARKET[2], MARK)),
    Fact("fields of each row of !markPrice@arr@1s", MEASURED, _fields("market", MARKET[3], MARK)),
    Fact("fields of each row of !ticker@arr", MEASURED, _fields("market", MARKET[4], TICKER)),
    Fact("fields of !contractInfo, if one comes", DOCUMENTED, _fields_if_any("market", RARE[0], "E s cs ot")),
    Fact(
        "fields of !forceOrder@arr, if one comes",
        DOCUMENTED,
        _fields_if_any("market", RARE[1], "s S p q ap z T", "o"),
    ),
    Fact("fields of depth20", MEASURED, _fields("public", PUBLIC[0], "E T s u b a")),
    Fact("fields of a depth diff", DOCUMENTED, _fields("public", PUBLIC[1], "E T U u pu b a")),
    Fact("fields of bookTicker", DOCUMENTED, _fields("public", PUBLIC[2], "E T s u b B a A")),
    Fact("fields of !bookTicker", DOCUMENTED, _fields("public", PUBLIC[3], "E T s u b B a A")),
    Fact("ids of aggregated trades are consecutive", DOCUMENTED, _trade_ids),
    Fact("each diff continues from the one before", DOCUMENTED, _diffs),
    Fact("a book's T lies between those of the diffs before and after it", RECORDED, _snapshot_time),
    Fact("a ping is answered by a pong", DOCUMENTED, _pongs),
)
"""Every fact, as it is printed."""


UNREACHABLE = 2
BEFORE_MINUTE = 23
"""Seconds before a full minute at which the simulated exchange starts, so that the wait for the minute is short."""


def run(options: Namespace) -> int:
    """Print whether each fact still holds; return 1 if one has changed, 2 if the exchange could not be reached."""
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
    screen.line(f"{len(FACTS) - changed} kept, {changed} changed; request weight {seen.spent}")
    return FAILED if changed else OK
