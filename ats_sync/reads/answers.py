"""Answers of REST that belong to no series, remembered for a while."""

from __future__ import annotations

import marshal
from typing import Any

from ..engine.budget import Usage
from ..errors import RequestError
from ..feeds import Key
from ..store.values import AnswerCache
from ..venue.endpoints import Bucket, Request
from .routing import Routing

ANSWERS_KEPT = 3600.0


class AnswerReads:
    """Anything that can be asked for, and what asking costs."""

    def __init__(self, route: Routing) -> None:
        self._route = route
        self._clock = route.clock
        self._counters = route.counters
        # Parsed JSON in the one form that is turned into fresh objects fastest; it never leaves the process.
        self._answers: AnswerCache[bytes] = AnswerCache(ANSWERS_KEPT, now=route.clock.now)

    def remembered(self, key: Key, request: Request, lifetime: float) -> Any:
        """As :meth:`ask`, of parsed JSON; an answer is given again for ``lifetime`` seconds. The caller's own."""
        held = self._answers.get((key, request))
        now = self._clock.exchange_ms()
        if held is not None and now - held.as_of <= lifetime * 1000:
            self._counters.hit()
            return marshal.loads(held.value)
        text = marshal.dumps(self.ask(key, request))
        self._answers.put((key, request), text, now)
        return marshal.loads(text)  # all who waited for the answer were given the same objects

    def exchange(self) -> float:
        """The exchange's time now, epoch seconds."""
        return self._clock.exchange()

    def ask(self, key: Key, request: Request, timeout: float | None = None) -> Any:
        """One budgeted request of no series' history; what was decoded by the key's kind."""
        try:
            return self._route.fetch(key, request, 0, timeout)
        except RequestError as error:
            self._route.fail(error, key)

    def usage(self, bucket: Bucket) -> Usage:
        """What a bucket has used in its window."""
        return self._route.requests.usage(bucket)
