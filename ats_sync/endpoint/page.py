"""The page at ``/``: one static file, and what it shows, rendered once a second for all who look at it.

It looks at memory without reading it (:mod:`ats_sync.overview`), so that nothing is requested or followed for the sake
of the page. A whole look at every series is made when the signs of life have changed, and now and then.
"""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from importlib import resources
from typing import Any, NamedTuple

import orjson

from .. import __version__
from ..manager import DataManager
from ..overview import Overview, Signs
from ..status import READER, ConnectionStatus, FeedState, FeedStatus, Overall, Status, by_kind, overall
from ..store.klines import KlineSeries
from .journal import Entry, Journal
from .replies import Reply
from .views import as_json, budget, kinds, why

EVERY = 1.0
"""Seconds between two renderings."""
WHOLE_WATCHED, WHOLE_UNWATCHED = 15.0, 30.0
"""Seconds after which every series is looked at, although no sign has changed: with viewers, and without."""
READER_WATCHED, READER_UNWATCHED = 2.0, 10.0
"""The same in a reader of a shared store, where no sign shows what has become of the collector."""
WHOLE_IN_TROUBLE, LEAST_BETWEEN = 2.0, 5.0
"""The same with viewers while not everything is live; and the least without viewers, whatever the signs say."""
QUALITY_EVERY, CLOSES_EVERY = 10.0, 5.0
CLOSES = 32
"""Closes of a sparkline."""
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_WORST = (FeedState.POLLED, FeedState.LIVE, FeedState.WARMING_UP, FeedState.DEGRADED, FeedState.GONE)
_RANK = {state: rank for rank, state in enumerate(_WORST)}


def page() -> Reply:
    """Return the static file. Its policy admits its own style and script and nothing from elsewhere."""
    text = resources.files(__package__).joinpath("page.html").read_bytes()
    policy = "; ".join(
        (
            "default-src 'none'",
            f"style-src {_hashes(text, b'style')}",
            f"script-src {_hashes(text, b'script')}",
            "connect-src 'self'",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )
    headers = (
        ("Content-Security-Policy", policy),
        ("X-Content-Type-Options", "nosniff"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-cache"),
    )
    return Reply(200, text, "text/html; charset=utf-8", headers=headers)


def _hashes(text: bytes, element: bytes) -> str:
    bodies = re.findall(rb"<%s>(.*?)</%s>" % (element, element), text, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(body).digest()).decode()}'" for body in bodies)


class Rendering(NamedTuple):
    """What one look has shown. ``change`` is for who has seen the one before, ``whole`` for all others; None where
    nobody waits for it."""

    number: int
    change: bytes | None
    whole: bytes | None


Row = tuple[str, str, int | None, int | None, str]
"""Price, change in percent, age in seconds, quality in percent, state of a symbol."""


class Page:
    """Renders what the page shows of ``manager``. Used by one thread."""

    def __init__(self, manager: DataManager, now: Callable[[], float] = time.monotonic) -> None:
        self._manager = manager
        self._now = now
        self._overview: Overview = manager.overview
        self._journal = Journal()
        self._number = 0
        self._mark: tuple[object, ...] | None = None
        self._looked_at = float("-inf")
        self._reason = self._doubt = ""
        self._reads_shared = False
        self._connections: Sequence[ConnectionStatus] = ()
        self._of_status: dict[str, Any] = {}
        self._states: dict[str, str] = {}
        self._overall = Overall.STOPPED
        self._since = time.time()
        self._symbols: list[str] = []
        self._rows: list[Row] = []
        self._quality: dict[str, int] = {}
        self._quality_due = self._closes_due = float("-inf")
        self._closes = _Closes(self._overview)

    def render(self, *, viewers: bool, whole: bool) -> Rendering:
        """Look, and return what has changed since the last call, if there are viewers, and the ``whole`` if needed."""
        signs = self._overview.signs()
        at = time.time()
        self._look(signs, at, viewers)
        self._note(signs, at)
        self._number += 1
        new = self._journal.take_new()
        if not (viewers or whole):
            self._symbols, self._rows = [], []
            return Rendering(self._number, None, None)
        changed, closes = self._update()
        state = self._state(signs, at)
        change = None
        if changed is None:
            whole = True  # other symbols than before: all viewers start over
        else:
            change = _message(state | {"rows": changed, "closes": closes, "events": [_event(each) for each in new]})
        text = None
        if whole:
            text = _message(
                state
                | {
                    "symbols": self._symbols,
                    "rows": [[index, *row] for index, row in enumerate(self._rows)],
                    "closes": self._closes.all(self._symbols),
                    "interval": self._closes.interval,
                    "events": [_event(each) for each in self._journal.entries()],
                }
            )
        return Rendering(self._number, change, text)

    def _look(self, signs: Signs, at: float, viewers: bool) -> None:
        """Look at every series where that is due."""
        mark, now = signs.mark(), self._now()
        calm = self._overall in (Overall.LIVE, Overall.STOPPED)
        watched, unwatched = WHOLE_WATCHED, WHOLE_UNWATCHED
        if self._reads_shared:
            watched, unwatched = READER_WATCHED, READER_UNWATCHED
        every = (watched if calm else WHOLE_IN_TROUBLE) if viewers else unwatched
        if mark != self._mark:
            # Bad news at once; how far the way back has come, now and then.
            every = 0.0 if calm and (viewers or mark[:2] != (self._mark or ())[:2]) else min(every, LEAST_BETWEEN)
        if now - self._looked_at < every:
            return
        self._mark, self._looked_at = mark, now
        status = self._manager.status()
        state, self._reason = status.state, "it was stopped, or has not been started"
        shared = status.shared
        self._reads_shared = shared is not None and shared.role == READER and state is not Overall.STOPPED
        self._connections = status.connections if self._reads_shared else ()
        if shared is not None and self._reads_shared:
            self._reason = shared.reason
        elif state is not Overall.STOPPED:
            _, self._reason = overall(status.feeds, ready=signs.ready)
        if state is not self._overall:
            self._overall, self._since = state, at
        self._journal.state(at, state, self._reason)
        self._journal.contracts(at, status.contracts)
        self._of_status = self._status(status, at)
        reasons = Counter(feed.reason for feed in status.feeds if feed.state is FeedState.DEGRADED)
        self._doubt = reasons.most_common(1)[0][0] if reasons else ""
        self._states = _states(status.feeds)

    def _status(self, status: Status, at: float) -> dict[str, Any]:
        return {
            "why": why(status),
            "kinds": kinds(by_kind(status.feeds), streams=self._manager.enable_websocket),
            "contracts": dict(status.contracts),
            "shared": asdict(status.shared) if status.shared is not None else None,
            "checked": at,
        }

    def _note(self, signs: Signs, at: float) -> None:
        journal = self._journal
        journal.connections(at, self._connections or signs.connections)
        newest = str(signs.repaired) if signs.repaired is not None else ""
        journal.repairs(at, signs.repairs, newest, self._doubt)
        journal.limited(at, signs.blocked, {host.value: reason for host, reason in signs.limits.items()})

    def _update(self) -> tuple[list[list[Any]] | None, list[list[Any]]]:
        """Return the rows that have changed and the sparklines, each with its place; None where the symbols have."""
        overview, now = self._overview, self._now()
        symbols = overview.symbols()
        if now >= self._quality_due:
            self._quality_due = now + QUALITY_EVERY
            self._quality = {symbol: int(100 * score) for symbol, score in overview.qualities().items()}
        states, quality = self._states, self._quality
        rows = [
            (price, change, age, quality.get(symbol), states.get(symbol, ""))
            for symbol, (price, change, age) in zip(symbols, overview.prices(symbols), strict=True)
        ]
        before, self._rows = self._rows, rows
        if symbols != self._symbols:
            self._symbols = symbols
            self._closes_due = now + CLOSES_EVERY
            self._closes.update(symbols)
            return None, []
        closes: list[list[Any]] = []
        if now >= self._closes_due:
            self._closes_due = now + CLOSES_EVERY
            closes = self._closes.update(symbols)
        changed: list[list[Any]] = [
            [index, *row] for index, (row, old) in enumerate(zip(rows, before, strict=True)) if row != old
        ]
        return changed, closes

    def _state(self, signs: Signs, at: float) -> dict[str, Any]:
        connections = self._connections or signs.connections
        return {
            "at": at,
            "state": self._overall.value,
            "since": self._since,
            "reason": self._reason,
            **self._of_status,
            "connections": [{**as_json(each), "quiet": each.name in signs.quiet} for each in connections],
            "budget": budget(signs.usage, signs.blocked),
            "waiting": signs.waiting,
            "requests": signs.requests,
            "reads": {"memory": signs.hits, "rest": signs.misses},
            "frames": signs.frames,
            "reconnects": signs.reconnects,
            "version": __version__,
        }


class _Closes:
    """The sparklines: of each symbol its last closes, as digits from 0 (the lowest) to z (the highest)."""

    def __init__(self, overview: Overview) -> None:
        self._overview = overview
        self._candles: dict[str, KlineSeries] = {}
        self._found: dict[str, tuple[KlineSeries, int, str]] = {}
        self.interval = ""
        """The interval of the first symbol's."""

    def update(self, symbols: Sequence[str]) -> list[list[Any]]:
        """Return those that have changed, each with its symbol's place."""
        candles = self._overview.candles()
        found: dict[str, tuple[KlineSeries, int, str]] = {}
        changed: list[list[Any]] = []
        for index, symbol in enumerate(symbols):
            series = candles.get(symbol)
            if series is None:
                continue
            following, known = series.following(), self._found.get(symbol)
            if known is None or known[0] is not series or known[1] != following:
                known = series, following, digits(self._overview.closes(series, CLOSES))
                changed.append([index, known[2]])
            found[symbol] = known
        self._found = found
        self.interval = next((series.interval for series, _, _ in found.values()), "")
        return changed

    def all(self, symbols: Sequence[str]) -> list[list[Any]]:
        """Return all of them, each with its symbol's place."""
        return [[index, self._found[symbol][2]] for index, symbol in enumerate(symbols) if symbol in self._found]


def digits(closes: Sequence[float]) -> str:
    """Return a digit for each close, from 0 for the lowest to z for the highest."""
    if not closes:
        return ""
    least = min(closes)
    span = max(closes) - least
    if not span > 0:
        return "h" * len(closes)
    return "".join(_DIGITS[int(35.999 * (close - least) / span)] for close in closes)


def _states(feeds: Iterable[FeedStatus]) -> dict[str, str]:
    """Return the worst state of each symbol's series; live where some are polled and none is worse."""
    worst: dict[str, FeedState] = {}
    for feed in feeds:
        if feed.symbol:
            known = worst.get(feed.symbol)
            if known is None or _RANK[feed.state] > _RANK[known]:
                worst[feed.symbol] = feed.state
    return {symbol: state.value for symbol, state in worst.items()}


def _event(entry: Entry) -> list[Any]:
    return [entry.number, entry.at, entry.what.value, entry.subject, entry.reason, entry.count]


def _message(content: dict[str, Any]) -> bytes:
    """Return a server-sent event."""
    return b"data: " + orjson.dumps(content) + b"\n\n"
