"""The exchange and the network to it, on virtual time: stream connections, REST, limits, and what breaks.

A fault sets an attribute here for a while; nothing here knows the client.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Protocol

from ats_sync.simulator.endpoints import ENDPOINTS, FAPI, LIVE_PATHS, SPOT
from ats_sync.simulator.limits import HostLimits, Refusal
from ats_sync.simulator.rest import compute, error_body

from .recording import QUOTES, Recording, quotes_of_another
from .script import ScriptedMarket
from .timeline import Timeline

MESSAGES_PER_SECOND = 10
CONNECTIONS_AT_MOST = 5
MAX_TIME = 1 << 62
ATTEMPTS_AT_MOST, ATTEMPTS_WINDOW = 300, 300_000
PUBLIC_KINDS = ("depth", "bookTicker")
BAN_SECONDS = 40.0
FIRST_ANEW = 1_000
"""Where update ids begin again."""
PUNCTUAL = 1_500
"""By so much (ms) a pause until a stated moment may be measured too short: a Date header has whole seconds."""


class BrokenPromise(AssertionError):
    """The client did what it promises never to do, or failed to do what it promises."""


class Pong:
    """A pong on its way."""


@dataclass(frozen=True)
class Closed:
    """The connection is over."""

    reason: str


Item = bytes | Pong | Closed


class Peer(Protocol):
    """The client's end of a stream connection."""

    def connected(self, session: Session) -> None: ...

    def failed(self, reason: str) -> None: ...

    def arrived(self, items: list[Item]) -> None: ...


class Session:
    """The exchange's end of a stream connection, with the wire between."""

    def __init__(self, exchange: Exchange, route: str, peer: Peer, latency: tuple[int, int]) -> None:
        self.exchange = exchange
        self.route = route
        self.peer = peer
        self.up_latency, self.down_latency = latency
        self.names: set[str] = set()
        self.open = True
        self.dead = False
        """Half-open: bytes vanish in both directions."""
        self.stalled_until = 0
        self.lag = 0
        """How much longer (ms) bytes to the client take, for as long as it lives."""
        self._arrival = 0
        self._said: deque[int] = deque()

    # --- from the client ---------------------------------------------------------------------------

    def send_text(self, text: str) -> None:
        self._count_message()
        if not self._lost():
            self.exchange.line.after(self.up_latency, lambda: self._receive(text))

    def ping(self) -> None:
        self._count_message()
        if not self._lost():
            self.exchange.line.after(self.up_latency, lambda: self.push([Pong()]))

    def hang_up(self) -> None:
        self.exchange.end(self)

    def _lost(self) -> bool:
        return self.dead or not self.open or self.exchange.dark

    def _count_message(self) -> None:
        now = self.exchange.line.now
        self._said.append(now)
        while self._said[0] <= now - 1000:
            self._said.popleft()
        if len(self._said) > MESSAGES_PER_SECOND:
            raise BrokenPromise(f"{len(self._said)} messages in a second on one connection")

    def _receive(self, text: str) -> None:
        if self._lost():
            return
        message = json.loads(text)
        exchange = self.exchange
        if exchange.deaf:
            return
        names = message["params"]
        if message["method"] == "SUBSCRIBE" and not exchange.refused_names.isdisjoint(names):
            error = {"error": {"code": 2, "msg": "Invalid request: invalid stream"}, "id": message["id"]}
            self.push([json.dumps(error).encode()])
            return
        if message["method"] == "SUBSCRIBE":
            exchange.subscribe(self, names)
        else:
            exchange.unsubscribe(self, names)
        self.push([json.dumps({"result": None, "id": message["id"]}).encode()])

    # --- to the client -------------------------------------------------------------------------------

    def push(self, items: list[Item]) -> None:
        if self._lost():
            return
        line = self.exchange.line
        self._arrival = max(self._arrival, line.now + self.down_latency + self.lag, self.stalled_until)
        line.at(self._arrival, lambda: self._deliver(items))

    def _deliver(self, items: list[Item]) -> None:
        if self.open and not self.dead:
            self.peer.arrived(items)

    def announce_shutdown(self, before: int) -> None:
        """Announce the end of the connection, and end it ``before`` ms later unless the client has left."""
        line = self.exchange.line
        self.push([json.dumps({"e": "serverShutdown", "E": line.now}, separators=(",", ":")).encode()])
        line.after(before, self._shut_down)

    def _shut_down(self) -> None:
        if self in self.exchange.sessions():
            self.exchange.counts["shutdowns"] += 1
            self.cut(reset=False)

    def cut(self, *, reset: bool) -> None:
        """End the connection as the exchange; with a reset, what is under way is lost too."""
        if not self.open:
            return
        line = self.exchange.line
        arrival = line.now + self.down_latency + self.lag
        if not reset:
            arrival = max(self._arrival, arrival)
        peer, was_dead = self.peer, self.dead
        if reset:
            self.exchange.end(self)
            if not was_dead:
                line.at(arrival, lambda: peer.arrived([Closed("reset")]))
        else:
            self.push([Closed("closed by the exchange")])
            self.exchange.forget(self)


@dataclass(frozen=True)
class RestFault:
    """What happens to a share of the requests: ``kind`` is one of :data:`REST_KINDS`.

    ``lag`` (ms): how old a replica's answers are ("lag"), or how slow one direction is each time ("slow up" and "slow
    down"; 0: it varies).
    """

    kind: str
    share: float
    lag: int = 0
    host: str = ""


REST_KINDS = (
    "502", "timeout", "reset", "html", "empty", "null", "[]", "{}", "cut", "shape", "slow up", "slow down", "lag",
    "-1000", "403",
)  # fmt: skip
Reply = Callable[[int, bytes, dict[str, str]], None]


class Exchange:
    """Plays a recording to the clients that are subscribed, and answers requests."""

    def __init__(
        self,
        line: Timeline,
        recording: Recording,
        rng: random.Random,
        *,
        weight_limit: int,
        share: float,
        counting: str = "clock",
        report_lag: int = 0,
    ) -> None:
        self.line = line
        self.recording = recording
        self.market: ScriptedMarket = recording.market()
        self.limits = {
            host: HostLimits(
                limit,
                {"funding": 500, "open interest": 1000},
                ban_seconds=BAN_SECONDS,
                patience=1000,
                sliding=counting == "sliding",
                report_lag=report_lag,
            )
            for host, limit in ((FAPI, weight_limit), (SPOT, 6000))
        }
        self.weight_limit = weight_limit
        self.counting = counting
        """What counts in a minute: the weight of the UTC clock minute ("clock"; "silent": and no answer reports it), or
        that of the last 60 s ("sliding")."""
        self.reports_until = MAX_TIME
        """From when on (true ms) no answer reports the used weight."""
        self._rng = rng
        self._share = {FAPI: int(weight_limit * share), SPOT: int(6000 * share)}
        self._replica: ScriptedMarket | None = None
        self._sessions: list[Session] = []
        self._subscribers: dict[str, list[Session]] = {}
        self._attempts: deque[int] = deque()
        self._spent: dict[str, deque[tuple[int, int]]] = {FAPI: deque(), SPOT: deque()}
        self._of_minute: dict[str, tuple[int, int]] = {FAPI: (0, 0), SPOT: (0, 0)}
        self._wait_until: dict[str, int] = {FAPI: 0, SPOT: 0}
        self._group = 0
        # What is broken now.
        self.dark = False
        """Nothing gets through, in either direction."""
        self.refusing = False
        self.deaf = False
        """Subscriptions are dropped in silence."""
        self.refused_names: set[str] = set()
        """Streams that no SUBSCRIBE may name: all of it is refused."""
        self.restarted: dict[str, int] = {}
        """Symbols whose books count again, and from which update id on they count from :data:`FIRST_ANEW`."""
        self.mute: dict[str, str] = {}
        """Streams that say nothing, and until what: "resubscribed", "moved" (another connection) or "ever"."""
        self._muted_on: dict[str, Session] = {}
        self.mangle: list[Callable[[str, bytes, int], Iterable[tuple[int, bytes]]]] = []
        """Each turns a frame into what is sent instead: ``(delay, frame)``."""
        self.rest_faults: list[RestFault] = []
        self.delisted: set[str] = set()
        self.shown_status = ""
        """What exchangeInfo says of every contract ("": the truth)."""
        self.retry_after = True
        """Whether refusals bear the header of that name; the end of a ban stands in its text all the same."""
        self._announced: dict[str, list[int]] = {FAPI: [], SPOT: []}
        self.asked: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
        """When (true ms) something was asked for: by path, symbol, and interval or period."""
        self.counts = {"frames": 0, "requests": 0, "connects": 0, "shutdowns": 0}
        self._next_group()

    # --- the recording --------------------------------------------------------------------------------------

    def _next_group(self) -> None:
        groups = self.recording.groups
        while self._group >= len(groups):
            self.recording.record_until(self.recording.end + 1)
        self.line.at(groups[self._group][0], self._play)

    def _play(self) -> None:
        _, frames = self.recording.groups[self._group]
        self._group += 1
        self._next_group()
        sent: dict[Session, list[Item]] = {}
        for stream, frame in frames:
            sessions = self._subscribers.get(stream)
            if not sessions or stream in self.mute or self._silent(stream):
                continue
            if self.delisted and stream.startswith("!") and (left := self._without_delisted(stream, frame)) != frame:
                if not left:
                    continue
                frame = left
            if self.restarted:
                frame = self._counted_anew(stream, frame)
            if self.mangle:
                self._mangled(stream, frame, sessions, sent)
                continue
            for session in sessions:
                sent.setdefault(session, []).append(frame)
        for session, items in sent.items():
            self.counts["frames"] += len(items)
            session.push(items)

    def restart_books(self, symbol: str) -> None:
        """Let the update ids of a symbol begin again, far below what they were."""
        if self.recording.counts_anew(symbol) or symbol in self.restarted:
            return
        newest = self.recording.books[symbol].last_reported(self.line.now)[1]
        if newest > FIRST_ANEW * 1000:
            self.restarted[symbol] = newest

    def true_update_id(self, symbol: str, update_id: int) -> int:
        """Return the recording's update id of a book that was served."""
        began = self.restarted.get(symbol)
        return update_id if began is None or update_id >= began // 2 else update_id + began - FIRST_ANEW

    def _counted_anew(self, stream: str, frame: bytes) -> bytes:
        if "@depth" not in stream and stream != "!bookTicker":
            return frame
        message = json.loads(frame)
        data = message["data"]
        began = self.restarted.get(data["s"])
        if began is None:
            return frame
        for name in ("U", "u", "pu"):
            if name in data:
                data[name] = max(1, data[name] - began + FIRST_ANEW)
        return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()

    def _silent(self, stream: str) -> bool:
        return bool(self.delisted) and stream.partition("@")[0].upper() in self.delisted

    def _without_delisted(self, stream: str, frame: bytes) -> bytes:
        """Return an all-market frame without its rows of symbols that have left; an empty one where no rows remain."""
        message = json.loads(frame)
        data = message["data"]
        if not isinstance(data, list):
            if data.get("s", data.get("o", {}).get("s")) not in self.delisted:
                return frame
            if stream != QUOTES or self.recording.setting.alone:
                return b""
            # Where only its quotes had come, those of a symbol that nobody follows still do.
            return f'{{"stream":"{stream}","data":{quotes_of_another(self.line.now)}}}'.encode()
        message["data"] = [row for row in data if row["s"] not in self.delisted]
        return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode() if message["data"] else b""

    def _mangled(self, stream: str, frame: bytes, sessions: list[Session], sent: dict[Session, list[Item]]) -> None:
        pieces = [(0, frame)]
        for mangle in self.mangle:
            pieces = [(delay + more, text) for delay, piece in pieces for more, text in mangle(stream, piece, delay)]
        for session in sessions:
            for delay, text in pieces:
                if delay:
                    self.line.after(delay, lambda s=session, t=text: s.push([t]))  # type: ignore[misc]
                else:
                    sent.setdefault(session, []).append(text)

    # --- stream connections -----------------------------------------------------------------------------

    def connect(self, route: str, peer: Peer) -> None:
        """Shake hands, or fail; the peer learns of it some time later."""
        line = self.line
        self.counts["connects"] += 1
        self._attempts.append(line.now)
        while self._attempts[0] <= line.now - ATTEMPTS_WINDOW:
            self._attempts.popleft()
        if len(self._attempts) > ATTEMPTS_AT_MOST * 3 // 4:
            raise BrokenPromise("nearly as many connection attempts as the exchange allows")
        up, down = self._rng.randrange(5, 90), self._rng.randrange(5, 90)
        if self.dark:
            line.after(10_000, lambda: peer.failed("not connected within 10 s"))
        elif self.refusing:
            line.after(up + down, lambda: peer.failed("refused"))
        else:
            line.after(3 * (up + down), lambda: self._accept(Session(self, route, peer, (up, down))))

    def _accept(self, session: Session) -> None:
        if self.dark or self.refusing:
            session.peer.failed("the handshake was cut")
            return
        self._sessions.append(session)
        session.peer.connected(session)
        alive = sum(each.open and not each.dead for each in self._sessions)
        if alive > CONNECTIONS_AT_MOST:
            raise BrokenPromise(f"{alive} connections at once")

    def sessions(self, route: str = "") -> list[Session]:
        return [each for each in self._sessions if route in ("", each.route)]

    def end(self, session: Session) -> None:
        """Deliver nothing to or from the client any longer."""
        session.open = False
        self.forget(session)

    def forget(self, session: Session) -> None:
        """Send it no further frames; what is under way arrives."""
        if session in self._sessions:
            self._sessions.remove(session)
        for name in session.names:
            self._subscribers[name].remove(session)
        session.names = set()

    def subscribe(self, session: Session, names: list[str]) -> None:
        for name in names:
            served_on = (
                "public" if name.partition("@")[2].startswith(PUBLIC_KINDS) or name == "!bookTicker" else "market"
            )
            if name in session.names or served_on != session.route:
                continue
            session.names.add(name)
            self._subscribers.setdefault(name, []).append(session)
            until = self.mute.get(name)
            if until == "resubscribed" or (until == "moved" and self._muted_on.get(name) is not session):
                del self.mute[name]

    def unsubscribe(self, session: Session, names: list[str]) -> None:
        for name in names:
            if name in session.names:
                session.names.discard(name)
                self._subscribers[name].remove(session)

    def mute_stream(self, name: str, until: str) -> None:
        self.mute[name] = until
        sessions = self._subscribers.get(name)
        if sessions:
            self._muted_on[name] = sessions[0]

    # --- REST ---------------------------------------------------------------------------------------------

    def must_wait(self, host: str, until: int) -> None:
        """Note that the client has received a 429 or 418: nothing may be sent before ``until`` (true ms)."""
        announced = self._announced[host] = [each for each in self._announced[host] if each > self.line.now]
        if announced and until < min(announced) - PUNCTUAL:
            raise BrokenPromise(f"{host} said to wait until {min(announced)}, the client waits until {until}")
        self._wait_until[host] = max(self._wait_until[host], until)

    def waits_until(self) -> int:
        return max(self._wait_until.values())

    def request(self, host: str, path: str, params: dict[str, str], reply: Reply) -> None:
        """Take one request from the client; ``reply`` is called when the answer arrives, perhaps never."""
        line, now = self.line, self.line.now
        self.counts["requests"] += 1
        series = path, params.get("symbol", ""), params.get("interval", ""), params.get("period", "")
        self.asked[series].append(now)
        endpoint = ENDPOINTS[host].get(path)
        weight = endpoint.weight(params) if endpoint is not None else 1
        self._check_budget(host, path, weight, now)
        up, down = self._rng.randrange(5, 90), self._rng.randrange(5, 90)
        fault = self._fault(host)
        kind = fault.kind if fault is not None else ""
        if fault is not None and kind == "slow up":
            up += fault.lag or self._rng.randrange(500, 6000)
        elif fault is not None and kind == "slow down":
            down += fault.lag or self._rng.randrange(500, 6000)
        if self.dark or kind == "timeout":
            return
        line.after(up, lambda: self._answer(host, path, params, weight, fault, down, reply))

    def _check_budget(self, host: str, path: str, weight: int, now: int) -> None:
        if now < self._wait_until[host]:
            raise BrokenPromise(f"{path} was sent {self._wait_until[host] - now} ms too early: the host said to wait")
        if self.counting == "silent":
            self._check_sliding(host, weight, now)

    def _check_sliding(self, host: str, weight: int, now: int) -> None:
        spent = self._spent[host]
        spent.append((now, weight))
        while spent[0][0] <= now - 60_000:
            spent.popleft()
        used = sum(cost for _, cost in spent)
        if used > self._share[host]:
            raise BrokenPromise(f"{used} of weight in 60 s, the share is {self._share[host]}")

    def _check_minute(self, host: str, weight: int, now: int) -> None:
        """What arrives counts in the minute in which it arrives."""
        if self.counting == "sliding" and now >= self.limits[host].banned_until:
            self._check_sliding(host, weight, now)
        if self.counting != "clock":
            return
        minute, used = self._of_minute[host]
        used = weight + (used if minute == now // 60_000 else 0)
        self._of_minute[host] = now // 60_000, used
        if used > self._share[host]:
            raise BrokenPromise(f"{used} of weight in one clock minute, the share is {self._share[host]}")

    def _fault(self, host: str) -> RestFault | None:
        for fault in self.rest_faults:
            if fault.host in ("", host) and self._rng.random() < fault.share:
                return fault
        return None

    def _answer(
        self,
        host: str,
        path: str,
        params: dict[str, str],
        weight: int,
        fault: RestFault | None,
        down: int,
        reply: Reply,
    ) -> None:
        line, now = self.line, self.line.now
        if self.dark:
            return
        endpoint = ENDPOINTS[host].get(path)
        limits = self.limits[host]
        self._check_minute(host, weight, now)
        refusal = limits.admit(now, weight, endpoint.bucket if endpoint is not None else None)
        silent = self.counting == "silent" or now >= self.reports_until
        headers = {} if silent else {"X-MBX-USED-WEIGHT-1M": str(limits.reported(now))}
        if refusal is not None:
            status, body = self._refused(host, refusal, now, headers)
        else:
            status, body = self._body(host, path, params, fault)
        if status in (0, 408):
            line.after(down, lambda: reply(0, b"", {}))
        else:
            line.after(down, lambda: reply(status, body, headers))

    def _body(self, host: str, path: str, params: dict[str, str], fault: RestFault | None) -> tuple[int, bytes]:
        kind = fault.kind if fault is not None else ""
        simple: dict[str, tuple[int, bytes]] = {
            "502": (502, b"<html>Bad Gateway</html>"),
            "403": (403, b"<html>Forbidden</html>"),
            "reset": (0, b""),
            "html": (200, b"<html>Under maintenance</html>"),
            "empty": (200, b""),
            "null": (200, b"null"),
            "[]": (200, b"[]"),
            "{}": (200, b"{}"),
            "shape": (200, b'{"unexpected":[null,{"t":"x"}]}'),
            "-1000": (400, error_body(-1000, "An unknown error occurred while processing the request.")),
        }
        if kind in simple:
            return simple[kind]
        now = self.line.now
        self.recording.record_until(now + 1)
        market = self.market
        if kind == "lag" and fault is not None and path not in LIVE_PATHS:
            market, now = self._lagging(fault.lag), now - fault.lag
        market.advance(max(now, market.market.now))
        if params.get("symbol") in self.delisted:
            return 400, error_body(-1121, "Invalid symbol.")
        status, body = compute(host, path, params, market.market, market.market.now)
        if path == "/fapi/v1/exchangeInfo":
            body = self._exchange_info(body)
        began = self.restarted.get(params.get("symbol", ""))
        if began is not None and path == "/fapi/v1/depth" and status == 200:
            book = json.loads(body)
            book["lastUpdateId"] = max(1, book["lastUpdateId"] - began + FIRST_ANEW)
            body = json.dumps(book).encode()
        if kind == "cut":
            body = body[: len(body) // 2]
        return status, body

    def _lagging(self, lag: int) -> ScriptedMarket:
        if self._replica is None:
            self._replica = self.recording.market()
        return self._replica

    def _exchange_info(self, body: bytes) -> bytes:
        info: dict[str, Any] = json.loads(body)
        for rule in info["rateLimits"]:
            if rule["rateLimitType"] == "REQUEST_WEIGHT":
                rule["limit"] = self.weight_limit
        for listed in info["symbols"]:
            if listed["symbol"] in self.delisted:
                listed["status"] = "SETTLING"
            elif self.shown_status:
                listed["status"] = self.shown_status
        return json.dumps(info).encode()

    def _refused(self, host: str, refusal: Refusal, now: int, headers: dict[str, str]) -> tuple[int, bytes]:
        banned = refusal.status == 418
        headers["Date"] = formatdate(now / 1000, usegmt=True)
        if self.retry_after:
            headers["Retry-After"] = str(refusal.retry_after(now))
        if self.retry_after or banned:
            self._announced[host].append(refusal.until)
        if banned:
            return 418, error_body(-1003, f"Way too many requests; IP banned until {refusal.until}.")
        return 429, error_body(-1003, "Too many requests.")

    def spend(self, host: str, weight: int) -> None:
        """Have another program on the same address send requests."""
        self.limits[host].spend(self.line.now, weight)
