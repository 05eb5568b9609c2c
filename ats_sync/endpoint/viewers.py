"""Who follows the page: one rendering a second for all of them, none of which can slow or fill anything.

A viewer that lags gets what is newest in one piece instead of all that it has missed; one that does not take anything
for :data:`PATIENCE` seconds is dropped.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from .page import EVERY, Page, Rendering

log = logging.getLogger(__name__)

MOST = 16
PATIENCE = 10.0
"""Seconds in which a viewer must have taken what was written."""
_LEAST_BETWEEN = 0.2
"""Seconds: a new viewer is served at once, but many of them cause no more renderings."""


class Writer(Protocol):
    """Where a viewer's events go."""

    async def write(self, data: bytes) -> None: ...


class Viewers:
    """The viewers of one endpoint. Used on the loop's thread, but for :meth:`publish`; any thread may look at the
    numbers. ``wake`` asks for a rendering."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wake: Callable[[], None]) -> None:
        self._loop = loop
        self._wake = wake
        self._newest = Rendering(0, None, None)
        self._news: asyncio.Future[None] = loop.create_future()
        self._closed = False
        self.count = 0
        self.waiting = 0
        """How many of them need a whole."""

    def admit(self) -> bool:
        """Return whether there is room for one more, which then counts until :meth:`leave`."""
        if self.count >= MOST:
            return False
        self.count += 1
        return True

    def leave(self) -> None:
        """One that was admitted has gone."""
        self.count -= 1

    async def serve(self, writer: Writer) -> None:
        """Write what is rendered until the endpoint closes. Raises OSError where the viewer has gone, and
        TimeoutError where it does not read."""
        seen, begun = 0, False
        while True:
            newest = self._newest
            text = newest.whole
            if begun and seen == newest.number - 1 and newest.change is not None:
                text = newest.change
            if not begun or newest.number > seen:
                if text is not None:
                    await asyncio.wait_for(writer.write(text), PATIENCE)
                    seen, begun = newest.number, True
                    continue
                await self._next_whole()
            else:
                await self._next()
            if self._closed:
                return

    async def _next(self) -> None:
        if not self._closed:
            await asyncio.shield(self._news)

    async def _next_whole(self) -> None:
        self.waiting += 1
        self._wake()
        try:
            await self._next()
        finally:
            self.waiting -= 1

    def publish(self, rendering: Rendering) -> None:
        """Hand a rendering to everybody. Called on any thread."""
        try:
            self._loop.call_soon_threadsafe(self._publish, rendering)
        except RuntimeError:
            log.debug("a rendering came after the end")

    def _publish(self, rendering: Rendering) -> None:
        if not self._closed:
            self._newest = rendering
            self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, self._loop.create_future()
        news.set_result(None)

    def close(self) -> None:
        """End every stream at once."""
        self._closed = True
        self._tell()


class Renderer:
    """The thread that renders the page once a second, and at once for a new viewer."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._wanted = threading.Event()
        self._stop = threading.Event()
        self.thread = threading.Thread(target=self._run, name="ats-endpoint-page", daemon=True)
        self._viewers: Viewers | None = None

    def start(self, viewers: Viewers) -> None:
        """Begin."""
        self._viewers = viewers
        self.thread.start()

    def wake(self) -> None:
        """Render soon: somebody has nothing yet."""
        self._wanted.set()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._wanted.set()

    def _run(self) -> None:
        viewers = self._viewers
        assert viewers is not None
        while not self._stop.is_set():
            began = time.monotonic()
            self._wanted.clear()
            try:
                viewers.publish(self._page.render(viewers=viewers.count > 0, whole=viewers.waiting > 0))
            except Exception:
                # The viewers see that nothing comes, and say so.
                log.exception("the page could not be rendered")
            self._wanted.wait(max(_LEAST_BETWEEN, EVERY - (time.monotonic() - began)))
            self._stop.wait(max(0.0, _LEAST_BETWEEN - (time.monotonic() - began)))
