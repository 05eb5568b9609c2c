"""The server on an event loop: as the main program of a child process, or in a thread."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import secrets
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from .control_server import ControlServer
from .controls import CONTROLS, controls_in
from .errors import SimulatorError
from .server import ExchangeServer
from .settings import Settings

_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 5.0


async def run(
    settings: Settings,
    token: str,
    ready: Callable[[dict[str, Any]], None],
    stop: asyncio.Event,
    *,
    may_fork: bool,
) -> None:
    """Serve until ``stop`` is set; pass the addresses to ``ready`` once everything answers."""
    added = controls_in(*map(importlib.import_module, settings.extensions))
    server = ExchangeServer(settings, may_fork=may_fork, stop=stop.set)
    control = ControlServer(server, {**CONTROLS, **added}, token)
    stopped: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
    try:
        await server.open()
        await control.open(settings.control_port)
        ready(
            {
                "urls": server.urls(),
                "ca_file": server.ca_file,
                "symbols": list(server.market.symbols),
                "control": control.url,
            }
        )
        failure: asyncio.Future[Any] | None = server.failure
        assert failure is not None
        await asyncio.wait((stopped, failure), return_when=asyncio.FIRST_COMPLETED)
        if failure.done():
            failure.result()
    finally:
        stopped.cancel()
        await control.close()
        await server.close()


def child_main() -> None:
    """Run the child process: settings on the first line of stdin, addresses on stdout; it ends when stdin does."""
    asyncio.run(_child())


async def _child() -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    with os.fdopen(os.dup(0), "rb", buffering=0) as stdin:
        given = json.loads(stdin.readline())

        def watch() -> None:
            if not stdin.read(4096):
                loop.remove_reader(stdin)
                stop.set()

        def ready(addresses: dict[str, Any]) -> None:
            # This process belongs to the exchange: all objects so far stay, and the collector can skip them.
            gc.collect()
            gc.freeze()
            gc.enable()
            os.write(1, json.dumps(addresses).encode() + b"\n")

        loop.add_reader(stdin, watch)
        try:
            await run(Settings.from_json(given["settings"]), given["token"], ready, stop, may_fork=True)
        finally:
            loop.remove_reader(stdin)


class ThreadHost:
    """The server in a daemon thread of this process: for small tests, since it shares the interpreter."""

    def __init__(self, settings: Settings) -> None:
        self.token = secrets.token_hex(16)
        self._settings = settings
        self._ready: Future[dict[str, Any]] = Future()
        self._stop: Callable[[], None] = lambda: None
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name="simulated-exchange", daemon=True)
        self._thread.start()
        try:
            self.addresses = self._ready.result(_START_TIMEOUT)
        except BaseException as error:
            self.stop(lambda: None)
            if isinstance(error, Exception):
                raise SimulatorError(f"the simulated exchange did not start: {error}") from error
            raise

    @property
    def pid(self) -> int:
        """This process's id."""
        return os.getpid()

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:  # noqa: BLE001 -- failure() or the start passes it to the program's threads
            self._failure = error
            if not self._ready.done():
                self._ready.set_exception(error)

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()

        def ask() -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(stop.set)

        self._stop = ask
        await run(self._settings, self.token, self._ready.set_result, stop, may_fork=False)

    def failure(self, patience: float = 0.0) -> str | None:
        """Return why the thread has ended by itself, or None if it still runs after ``patience`` seconds."""
        self._thread.join(patience)
        return None if self._thread.is_alive() else repr(self._failure)

    def wait(self) -> None:
        """Wait until the thread ends."""
        self._thread.join()

    def stop(self, ask: Callable[[], None]) -> None:
        """End the thread and join it."""
        if self._thread.is_alive():
            self._stop()
            self._thread.join(_STOP_TIMEOUT)
