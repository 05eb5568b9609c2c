"""Long/short ratios, taker volumes and the basis: rows as the exchange wrote them, in one piece of JSON."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import orjson

from ..feeds import Cause, Key
from ..venue import endpoints
from ..venue.endpoints import OPEN_INTEREST_REACH, Request
from ..venue.intervals import candles_between, nominal_length
from .link import Link
from .series import Asked, Series, SeriesState


class RatioSeries(Series):
    """One series of ``/futures/data`` for one symbol and period; of two rows with one timestamp the later answer wins.

    It reaches no further back than the exchange's own. ``contract_type()`` is that of the symbol.
    """

    def __init__(self, key: Key, depth: int, contract_type: Callable[[], str]) -> None:
        super().__init__(key)
        self.complete = False
        self._contract_type = contract_type
        self._depth = self._warm_up = depth
        self._lock = threading.Lock()  # guards everything below
        self._text = b"[]"
        self._requested: dict[int, int] = {}  # when (exchange ms) each row was requested, by its timestamp
        self._answered = 0

    @property
    def depth(self) -> int:
        return self._depth

    def deepen(self, rows: int) -> None:
        with self._lock:
            self._depth = max(self._depth, rows)

    def apply(self, frame: bytes, link: Link) -> None:
        raise NotImplementedError(f"{self.key} has no stream")

    def replace(self, answer: list[dict[str, Any]], asked: Asked) -> None:
        """Merge an answer for the newest rows."""
        with self._lock:
            known = {int(row["timestamp"]): row for row in orjson.loads(self._text)}
            requested = dict(self._requested)
            if len(answer) < asked.rows:
                self.complete = True
            elif known and int(answer[0]["timestamp"]) > max(known) + nominal_length(self.key.interval):
                # It does not reach back to what is known: there may be rows in between.
                known.clear()
                self.complete = False
            for row in answer:
                stamp = int(row["timestamp"])
                if stamp not in known or requested[stamp] <= asked.at:
                    known[stamp], requested[stamp] = row, asked.at
            self._answered = max(self._answered, asked.at)
            stamps = sorted(stamp for stamp in known if stamp >= self._answered - OPEN_INTEREST_REACH)
            if len(stamps) > self._depth:
                del stamps[: len(stamps) - self._depth]
                self.complete = False
            rows = [known[stamp] for stamp in stamps]
            self._text = json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()
            # Replaced whole, never changed in place: others look without the lock.
            self._requested = {stamp: requested[stamp] for stamp in stamps}

    def request(self, now: int, cause: Cause, link: Link | None) -> Request[list[dict[str, Any]]]:
        limit = self._warm_up
        if requested := self._requested:
            limit = min(limit, max(2, candles_between(self.key.interval, max(requested), now) + 1))
        key = self.key
        return endpoints.ratio(key.kind.value, key.symbol, key.interval, limit, contract_type=self._contract_type())

    def unsettled(self, now: int) -> str:
        return "" if self._answered else "what came was asked of the contract that had the name before"

    def state(self, now: int) -> SeriesState:
        # A ratio is as old as the answer that brought it.
        return SeriesState(event=self._answered, answered=self._answered, rows=len(self), complete=self.complete)

    def read(self, limit: int) -> list[dict[str, Any]]:
        """Return the newest ``limit`` rows, the caller's own, oldest first, as the exchange wrote them."""
        rows: list[dict[str, Any]] = orjson.loads(self._text)
        return rows[-limit:]

    def __len__(self) -> int:
        return len(self._requested)
