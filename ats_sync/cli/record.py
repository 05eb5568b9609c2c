"""``record``: writes REST answers and raw stream frames of an exchange to files.

``stream.txt``: the first line is the URL (or the URLs, separated by spaces) and ``<->`` with the time it was opened;
every other line is ``<receive time>: <frame>``. ``rest.txt`` and ``exchange_info.txt``: one line per answer,
``<URL> -> <receive time>: <body>``. Times are seconds since the epoch by this machine's clock; frames and bodies are
written as received (line breaks in them, which JSON allows between values, become spaces).
"""

from __future__ import annotations

import queue
import re
import sys
import threading
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ..clock import Clock
from ..config import Config
from ..engine.budget import Budget
from ..engine.moment import moment
from ..engine.stream_session import Heartbeat
from ..errors import AtsSyncError, ConnectionFailed, InvalidArgument, InvalidSymbol, NotRunning
from ..feeds import Cause
from ..transport.rest import RestClient, retrying
from ..transport.sockets import CancelScope
from ..transport.stream import StreamClosed, WebSocketStream
from ..venue import endpoints
from ..venue.endpoints import Request, Route
from ..venue.envelope import stream_name
from ..venue.intervals import INTERVALS
from ..venue.listings import exchange_info
from ..venue.responses import used_weight
from .exits import OK, CommandFailed, asking

STREAM, REST, EXCHANGE_INFO = "stream.txt", "rest.txt", "exchange_info.txt"
DEFAULT_STREAMS = ("aggTrade", "kline_1m", "depth@100ms", "depth20@100ms", "bookTicker", "markPrice@1s")

STREAMS_PER_CONNECTION = 200
"""Fewer than the limit, since their names are part of the URL."""
MOST_WAITING = 100_000
KLINES, OPEN_INTEREST_ROWS, DEPTH, TRADES = 499, 30, 1000, 1000
ATTEMPTS = 3

_KLINE = "|".join(INTERVALS)
_PUBLIC = re.compile(r"depth(5|10|20)?(@(100|250|500)ms)?|!?bookTicker")
_MARKET = re.compile(
    rf"aggTrade|kline_({_KLINE})|markPrice(@1s)?|forceOrder|ticker|miniTicker"
    r"|!markPrice@arr(@1s)?|!forceOrder@arr|!ticker@arr|!miniTicker@arr"
)


def check_stream(kind: str) -> str:
    """Return a stream kind if it exists: the exchange would accept a mistyped one and never send anything."""
    if _PUBLIC.fullmatch(kind) or _MARKET.fullmatch(kind):
        return kind
    raise InvalidArgument(f"there is no stream {kind!r}; examples: {', '.join(DEFAULT_STREAMS)}, !forceOrder@arr")


def run(options: Namespace) -> int:
    """Record for the requested time."""
    directory = Path(options.directory)
    taken = [name for name in (STREAM, REST, EXCHANGE_INFO) if (directory / name).exists()]
    if taken:
        raise CommandFailed(f"{directory} already contains a recording ({', '.join(taken)}); name another directory")
    config = Config.from_env()
    recorder = Recorder(config, options.symbols, options.streams)
    info = recorder.check_symbols()
    directory.mkdir(parents=True, exist_ok=True)
    (directory / EXCHANGE_INFO).write_text(info + "\n", encoding="utf-8", newline="\n")
    recorder.record(directory, options.seconds)
    frames, answers = recorder.frames, recorder.answers
    kinds = ", ".join(f"{count} {kind}" for kind, count in frames.most_common())
    sys.stdout.write(f"{directory}: {frames.total()} frames ({kinds}), {answers} REST answers\n")
    if not frames:
        raise CommandFailed(f"no frame came in {options.seconds:g} s; are {', '.join(options.symbols)} traded there?")
    if answers < len(recorder.requests):
        raise CommandFailed(
            f"only {answers} of {len(recorder.requests)} REST answers came in {options.seconds:g} s; "
            "record for longer, or fewer symbols"
        )
    return OK


@dataclass(frozen=True)
class _Opened:
    """A stream connection has opened."""


@dataclass(frozen=True)
class _Line:
    """A line to write."""

    file: str
    text: str
    kind: str = ""


_Item = _Opened | _Line | AtsSyncError


class Recorder:
    """Threads that receive, and one queue to the thread that writes."""

    def __init__(self, config: Config, symbols: Sequence[str], streams: Sequence[str]) -> None:
        self._config = config
        self._symbols = symbols
        self._clock = Clock()
        self._began = time.time()
        self._budget = Budget(config)
        self._stop = threading.Event()
        self._items: queue.SimpleQueue[_Item] = queue.SimpleQueue()  # of at most about MOST_WAITING: see _put()
        self._client = RestClient(config, self._clock)
        self.urls = _stream_urls(config, symbols, streams)
        self.requests = _requests(symbols, streams)
        self.frames: Counter[str] = Counter()
        self.answers = 0

    def check_symbols(self) -> str:
        """Return the line of exchangeInfo, after checking that it lists the symbols."""
        with asking(self._config.fapi_base):
            line, body = self._ask(endpoints.exchange_info())
        listed = exchange_info(body).listed
        unknown = [symbol for symbol in self._symbols if symbol not in listed]
        if unknown:
            raise InvalidSymbol(f"{self._config.fapi_base} lists no perpetual {', '.join(unknown)}; check the spelling")
        return line

    def record(self, directory: Path, seconds: float) -> None:
        """Write what comes until ``seconds`` after all connections are open. Raises the error that ended it earlier."""
        threads: list[threading.Thread] = []
        ends: list[Callable[[], None]] = [self._client.scope.shutdown]
        with ExitStack() as stack:
            files = {
                name: stack.enter_context((directory / name).open("w", encoding="utf-8", newline="\n"))
                for name in (STREAM, REST)
            }
            stack.callback(self._end, threads, ends)
            for number, url in enumerate(self.urls, 1):
                scope = CancelScope(self._clock)
                ends.append(scope.shutdown)
                threads.append(_thread(f"ats-record-{number}", self._follow, url, scope))
            files[STREAM].write(f"{' '.join(self.urls)} <-> {self._began:.6f}\n")
            opened = 0
            until: float | None = None
            while (item := self._next(until)) is not None:
                if isinstance(item, _Line):
                    files[item.file].write(item.text + "\n")
                    if item.file == REST:
                        self.answers += 1
                    else:
                        self.frames[item.kind] += 1
                elif isinstance(item, _Opened):
                    opened += 1
                    if opened == len(self.urls):
                        until = time.monotonic() + seconds
                        threads.append(_thread("ats-record-rest", self._ask_all))
                else:
                    raise item

    def _next(self, until: float | None) -> _Item | None:
        left = None if until is None else until - time.monotonic()
        if left is not None and left <= 0:
            return None
        try:
            return self._items.get(timeout=left)
        except queue.Empty:
            return None

    def _end(self, threads: list[threading.Thread], ends: list[Callable[[], None]]) -> None:
        self._stop.set()
        for end in ends:
            end()
        for thread in threads:
            thread.join(self._config.close_timeout)
        self._client.close()

    # --- on the receiving threads --------------------------------------------------------------------

    def _put(self, line: _Line) -> None:
        if self._items.qsize() >= MOST_WAITING:
            raise ConnectionFailed(f"{MOST_WAITING} lines are waiting to be written: the disk is too slow")
        self._items.put(line)

    def _tell_failures(self, work: Callable[[], None]) -> None:
        try:
            work()
        except StreamClosed as closed:
            self._fail(ConnectionFailed(f"the exchange closed the stream: {closed}"))
        except AtsSyncError as error:
            self._fail(error)

    def _fail(self, error: AtsSyncError) -> None:
        if not self._stop.is_set():
            self._items.put(error)

    def _follow(self, url: str, scope: CancelScope) -> None:
        self._tell_failures(lambda: self._receive(url, scope))

    def _receive(self, url: str, scope: CancelScope) -> None:
        config, clock = self._config, self._clock
        stream = WebSocketStream.connect(url, config, clock, scope, timeout=2 * config.connect_timeout)
        try:
            self._items.put(_Opened())
            heartbeat = Heartbeat(config.ping_interval, config.silence_limit, clock.now())
            pong = stream.last_pong
            while not self._stop.is_set():
                now = clock.now()
                if heartbeat.lost(now):
                    raise ConnectionFailed(f"{url} has been silent for {config.silence_limit:g} s")
                if heartbeat.ping_due(now):
                    heartbeat.pinged(clock.exchange(), now)
                    stream.ping()
                if not stream.wait(heartbeat.next_check(now)):
                    continue
                frames = stream.receive()
                received = time.time()
                for frame in frames:
                    self._put(_Line(STREAM, f"{received:.6f}: {_text(frame)}", _kind(frame)))
                if frames:
                    heartbeat.heard(clock.now())
                if stream.last_pong != pong:
                    pong = stream.last_pong
                    heartbeat.ponged(clock.now())
        finally:
            stream.close()

    def _ask_all(self) -> None:
        def work() -> None:
            for request in self.requests:
                line, _ = self._ask(request)
                self._put(_Line(REST, line))

        self._tell_failures(work)

    def _ask(self, request: Request[Any]) -> tuple[str, bytes]:
        """Send one request within the budget; return its line and its body."""
        config, clock, budget = self._config, self._clock, self._budget
        while (free := budget.free_at(request, Cause.READ, moment(clock))) > clock.now():
            if clock.wait(self._stop, free - clock.now()):
                raise NotRunning("the recording is over")
        budget.spend(request, moment(clock), Cause.READ)
        params = dict(request.params)
        answer = retrying(
            lambda: self._client.get(request.url(config), params, timeout=config.request_timeout),
            deadline=clock.now() + config.read_timeout,
            clock=clock,
            stop=self._stop,
            attempts=ATTEMPTS,
        )
        received = time.time()
        budget.ended(request, moment(clock))
        budget.answered(request, used_weight(answer.headers), moment(clock), answer.sent_at)
        url = request.url(config) + (f"?{urlencode(params)}" if params else "")
        return f"{url} -> {received:.6f}: {_text(answer.body)}", answer.body


def _thread(name: str, work: Callable[..., None], *arguments: object) -> threading.Thread:
    thread = threading.Thread(target=work, args=arguments, name=name, daemon=True)
    thread.start()
    return thread


def _text(payload: bytes) -> str:
    return payload.decode("utf-8", "replace").replace("\r", " ").replace("\n", " ")


def _kind(frame: bytes) -> str:
    """Return the stream kind of a frame: the stream's name without the symbol."""
    name = (stream_name(frame) or b"other").decode("utf-8", "replace")
    return name if name.startswith("!") else name.partition("@")[2] or name


def _stream_urls(config: Config, symbols: Sequence[str], streams: Sequence[str]) -> list[str]:
    """Return the URLs of the streams: order books have their own route, and a stream on the wrong one stays silent."""
    urls = []
    for route, kinds in (
        (Route.MARKET, [kind for kind in streams if _MARKET.fullmatch(kind)]),
        (Route.PUBLIC, [kind for kind in streams if _PUBLIC.fullmatch(kind)]),
    ):
        names = [kind for kind in kinds if kind.startswith("!")]
        names += [f"{symbol.lower()}@{kind}" for symbol in symbols for kind in kinds if not kind.startswith("!")]
        for first in range(0, len(names), STREAMS_PER_CONNECTION):
            some = names[first : first + STREAMS_PER_CONNECTION]
            urls.append(f"{endpoints.stream_url(config, route)}?streams={'/'.join(some)}")
    return urls


def _requests(symbols: Sequence[str], streams: Sequence[str]) -> list[Request[Any]]:
    """Return the requests that a program with these streams would send at its start."""
    intervals = [kind.partition("_")[2] for kind in streams if kind.startswith("kline_")]
    books = any(_PUBLIC.fullmatch(kind) for kind in streams)
    found: list[Request[Any]] = [endpoints.time(), endpoints.spot_price()]
    for symbol in symbols:
        found += [endpoints.klines(symbol, interval, KLINES) for interval in intervals]
        found += [endpoints.depth(symbol, DEPTH)] if books else []
        found += [endpoints.agg_trades(symbol, TRADES)] if "aggTrade" in streams else []
        found += [endpoints.premium_index(symbol), endpoints.open_interest_hist(symbol, "1h", OPEN_INTEREST_ROWS)]
    return found
