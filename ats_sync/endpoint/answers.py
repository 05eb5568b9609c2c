"""From a request to its reply, on whatever thread: the manager's reads behind the routes."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..config import Config
from ..errors import AtsSyncError, NotInMemory
from ..rest_text import RestText, Text
from ..venue.endpoints import Host
from .replies import MEMORY, REST, Reply, failed
from .routes import Route


class Answers:
    """Answers routed requests. ``text()`` is the manager's reads at the moment."""

    def __init__(self, text: Callable[[], RestText], config: Config) -> None:
        self._text = text
        self._bases = {Host.FUTURES: config.fapi_base, Host.SPOT: config.spot_base}

    def answer(self, route: Route) -> Reply:
        """Return the reply to a request.

        Raises :class:`~ats_sync.errors.NotInMemory` inside :func:`~ats_sync.memory_only` where it has to wait for the
        exchange, and nothing else.
        """
        try:
            found = self._found(route)
        except NotInMemory:
            raise
        except (AtsSyncError, OSError, ValueError) as error:
            return failed(error, time.time())
        return Reply(200, found.body, source=MEMORY if found.from_memory else REST, age=found.age)

    def _found(self, route: Route) -> Text:
        text = self._text()
        if text.live and route.read is not None and (found := route.read(text)) is not None:
            return found
        return text.pass_on(self._bases[route.host] + route.target, route.lifetime(text.exchange_time()))
