"""The control channel: one JSON line asked, one answered, over loopback TCP."""

from __future__ import annotations

import asyncio
import hmac
import inspect
import json
from typing import Any

from .commands import Commands
from .market import UnknownInterval, UnknownSymbol

_LONGEST_QUESTION = 4 * 1024 * 1024


class ControlServer:
    """Answers those who know the token."""

    def __init__(self, commands: Commands, token: str) -> None:
        self._commands = commands
        self._token = token.encode()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def open(self) -> None:
        """Listen on a free loopback port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_LONGEST_QUESTION)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and hang up."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            given = await reader.readline()
            if not hmac.compare_digest(given.strip(), self._token):
                return
            while line := await reader.readline():
                writer.write(json.dumps(await self._carry_out(json.loads(line))).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            # The program that asked has gone.
            return
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _carry_out(self, question: dict[str, Any]) -> dict[str, Any]:
        name = question["call"]
        method = None if name.startswith("_") else getattr(self._commands, name, None)
        if method is None:
            return {"error": ["SimulatorError", f"no such command: {name}"]}
        try:
            result = method(**question["args"])
            if inspect.isawaitable(result):
                result = await result
        except (UnknownSymbol, UnknownInterval) as error:
            return {"error": ["ValueError", f"{type(error).__name__}: {error}"]}
        except Exception as error:  # noqa: BLE001 -- whatever went wrong is told to the one who asked
            return {"error": [type(error).__name__, str(error)]}
        return {"result": result}
