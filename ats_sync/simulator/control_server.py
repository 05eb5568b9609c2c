"""The controls over HTTP, for programs in any language: ``POST /control/<name>`` with a JSON object of arguments.

``GET /control`` lists them and ``GET /control/<name>`` documents one. The controls have their own port, which no fault
of the market's ports affects. Every request carries the token: ``Authorization: Bearer <token>``.
"""

from __future__ import annotations

import asyncio
import hmac
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from .controls import Control
from .errors import ApiError

if TYPE_CHECKING:
    from .server import ExchangeServer

PATH = "/control"
# Programs keep a connection for as long as they run.
_KEEPALIVE = 10 * 365 * 86_400.0
_SHUTDOWN_PATIENCE = 0.2


class ControlServer:
    """Carries out controls for callers that know the token."""

    def __init__(self, server: ExchangeServer, controls: Mapping[str, Control[Any, Any]], token: str) -> None:
        self._exchange = server
        self._controls = controls
        self._expected = f"Bearer {token}".encode()
        self._web = web.Server(self._handle, access_log=None, keepalive_timeout=_KEEPALIVE)
        self._server: asyncio.Server | None = None
        self.url = ""

    async def open(self, port: int) -> None:
        """Listen on a loopback port (0: a free one)."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._web, "127.0.0.1", port)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}{PATH}"

    async def close(self) -> None:
        """Stop listening and close all connections."""
        if self._server is not None:
            self._server.close()
        await self._web.shutdown(_SHUTDOWN_PATIENCE)

    async def _handle(self, request: web.BaseRequest) -> web.Response:
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self._expected):
            return _failed(401, "Unauthorized", "the header Authorization must be 'Bearer <token>'")
        root, _, name = request.path.removeprefix(PATH).partition("/")
        if root or not request.path.startswith(PATH):
            return _failed(404, "NotFound", f"no such path: {request.path}; controls are at {PATH}/<name>")
        if not name and request.method == "GET":
            return _answered({"controls": [control.to_json() for control in self._controls.values()]})
        control = self._controls.get(name)
        if control is None:
            return _failed(404, "NotFound", f"no such control: {name!r}; GET {PATH} lists them")
        if request.method == "GET":
            return _answered(control.to_json(full=True))
        if request.method != "POST":
            return _failed(405, "MethodNotAllowed", "a control is a POST, its description a GET")
        return await self._carry_out(control, await request.read())

    async def _carry_out(self, control: Control[Any, Any], body: bytes) -> web.Response:
        try:
            arguments = json.loads(body) if body else {}
        except ValueError as error:
            return _failed(400, "ValueError", f"the body is not JSON: {error}")
        try:
            return _answered({"result": await control.run(self._exchange, arguments)})
        except ApiError as error:
            details = {"code": error.code, "msg": error.msg, "status": error.status}
            return _failed(400, "ApiError", str(error), details)
        except (ValueError, TypeError) as error:
            return _failed(400, "TypeError" if isinstance(error, TypeError) else "ValueError", str(error))
        except Exception as error:  # noqa: BLE001 -- whatever went wrong is the caller's answer
            return _failed(500, type(error).__name__, str(error))


def _answered(value: Any) -> web.Response:
    return web.Response(body=json.dumps(value).encode(), content_type="application/json")


def _failed(status: int, kind: str, message: str, details: Mapping[str, Any] | None = None) -> web.Response:
    error = {"type": kind, "message": message, **(details or {})}
    return web.Response(status=status, body=json.dumps({"error": error}).encode(), content_type="application/json")
