"""The REST side of both hosts over HTTP: limits, headers, error bodies, faults."""

from __future__ import annotations

import asyncio
import json
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Protocol

from aiohttp import web

from .endpoints import DAPI, ENDPOINTS, FAPI, LIVE_PATHS, Endpoints, answer
from .errors import ApiError
from .faulty_transport import FaultyTransport
from .limits import Refusal
from .literals import Host
from .market import Market
from .request_log import LoggedRequest, RequestLog
from .rest_faults import CODES, RestFault, RestFaults
from .settings import Settings

_JSON = "application/json"
_HTML = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"
_TRICKLE_EVERY = 0.05


class Replica(Protocol):
    """A source of answers from an older state."""

    async def answer(self, host: Host, path: str, params: Mapping[str, str]) -> tuple[int, bytes]:
        """Return status and body."""


@dataclass(frozen=True)
class Reply:
    """One answer before it is written."""

    status: int
    body: bytes
    content_type: str = _JSON


def encode(value: Any) -> bytes:
    """Return JSON as the exchange writes it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def error_body(code: int, msg: str) -> bytes:
    """Return an error in the exchange's shape."""
    return encode({"code": code, "msg": msg})


def html(title: str) -> bytes:
    """Return the page that a proxy or firewall would send."""
    return _HTML.format(title).encode()


def compute(
    host: Host, path: str, params: Mapping[str, str], market: Market, now: int, endpoints: Endpoints = ENDPOINTS
) -> tuple[int, bytes]:
    """Return status and body of one request at the market's present state; ``now`` is the time of the clock."""
    if path.endswith("/time"):
        return 200, encode({"serverTime": now})
    try:
        return 200, encode(answer(host, path, params, market, endpoints))
    except ApiError as error:
        return error.status, error_body(error.code, error.msg)


class RestService:
    """Answers HTTP requests. Everything runs on the event loop's thread."""

    def __init__(
        self,
        market: Market,
        log: RequestLog,
        now: Callable[[], int],
        settings: Settings,
        endpoints: Endpoints = ENDPOINTS,
    ) -> None:
        self._market = market
        self._log = log
        self._now = now
        self._endpoints = endpoints
        self._reports_weight = settings.weight_header
        self.latency = settings.latency
        self.faults = RestFaults()
        self.replica: Replica | None = None
        self.replica_share = 1.0
        self._random = random.Random(settings.seed)
        self.release = asyncio.Event()
        """Set, and then replaced, to cut the requests that are never answered."""

    def let_go(self) -> None:
        """Cut the requests that a fault leaves waiting."""
        self.release.set()
        self.release = asyncio.Event()

    async def handle(self, request: web.BaseRequest, host: Host) -> web.StreamResponse:
        """Answer one request."""
        path, params = request.path, dict(request.query)
        if host == FAPI and path.startswith("/dapi/"):
            host = DAPI
        endpoint = self._endpoints[host].get(path)
        now = self._now()
        weight = endpoint.weight(params) if endpoint is not None else 1
        entry = self._log.arrive(now, host, path, params, weight)
        limits = self._log.hosts[host].limits
        refusal = limits.admit(now, weight, endpoint.bucket if endpoint is not None else None)
        entry.used_weight = limits.weight.add(now, 0)
        fault = None if refusal is not None else self.faults.take(host, path)
        if self.latency:
            await asyncio.sleep(self.latency / 2)
        wrong = endpoint is not None and endpoint.wrong_weight_header
        headers = self._headers(entry, limits.reported(now), wrong)
        if refusal is not None:
            reply = self._refused(entry, refusal, headers)
        elif endpoint is None:
            reply = Reply(404, html("404 Not Found"), "text/html")
        elif request.method != "GET":
            reply = Reply(405, html("405 Method Not Allowed"), "text/html")
        elif fault is not None:
            failed = await self._failed(request, entry, fault, headers)
            if not isinstance(failed, Reply):
                return failed
            reply = failed
        else:
            reply = await self._answer(entry)
        if self.latency:
            await asyncio.sleep(self.latency / 2)
        entry.status = reply.status
        return web.Response(status=reply.status, body=reply.body, content_type=reply.content_type, headers=headers)

    def _headers(self, entry: LoggedRequest, used: int, wrong: bool) -> dict[str, str]:
        date = {"Date": formatdate(self._now() / 1000, usegmt=True)}
        if not self._reports_weight:
            return date
        if wrong:
            limit = self._log.hosts[entry.host].limits.weight.limit
            used = (used + limit // 2) % limit
        headers = {"X-MBX-USED-WEIGHT-1M": str(used), **date}
        if entry.host == "spot":
            headers["X-MBX-USED-WEIGHT"] = str(used)
        return headers

    async def _answer(self, entry: LoggedRequest) -> Reply:
        replica = self.replica if entry.path not in LIVE_PATHS else None
        if replica is not None and self._random.random() < self.replica_share:
            return Reply(*await replica.answer(entry.host, entry.path, entry.params))
        return Reply(*compute(entry.host, entry.path, entry.params, self._market, self._now(), self._endpoints))

    def _refused(self, entry: LoggedRequest, refusal: Refusal, headers: dict[str, str]) -> Reply:
        now = self._now()
        headers["Retry-After"] = str(refusal.retry_after(now))
        self._log.hosts[entry.host].refuse(now, refusal.until)
        if refusal.status == 418:
            return Reply(418, _banned_body(refusal.until))
        unit = "request weight per minute" if refusal.per_minute else "requests per 5 minutes"
        return Reply(
            429,
            error_body(
                -1003,
                f"Too many requests; current limit of IP(127.0.0.1) is {refusal.limit} {unit}. "
                "Please use the websocket for live updates to avoid polling the API.",
            ),
        )

    async def _failed(
        self, request: web.BaseRequest, entry: LoggedRequest, fault: RestFault, headers: dict[str, str]
    ) -> Reply | web.StreamResponse:
        kind = fault.kind
        if kind in ("429", "418"):
            return self._limited(entry, fault, headers)
        if kind in ("403", "451"):
            headers.clear()
            title = "403 Forbidden" if kind == "403" else "451 Unavailable For Legal Reasons"
            if kind == "451":
                return Reply(
                    451,
                    error_body(
                        0,
                        "Service unavailable from a restricted location according to 'b. Eligibility' in "
                        "https://www.binance.com/en/terms. Please contact customer service if you believe you "
                        "received this message in error.",
                    ),
                )
            return Reply(403, html(title), "text/html")
        if kind in ("500", "502", "503", "504"):
            return Reply(int(kind), html(f"{kind} Server Error"), "text/html")
        if kind == "html":
            return Reply(200, html("Under maintenance"), "text/html")
        if kind == "empty":
            return Reply(200, b"")
        if kind == "wrong_shape":
            return Reply(200, encode({"unexpected": [None, {"t": "x"}]}))
        if kind == "code":
            status = fault.status or (408 if fault.code == -1007 else 400)
            return Reply(status, error_body(fault.code, CODES.get(fault.code, "Error.")))
        if kind == "slow":
            await asyncio.sleep(fault.delay)
            return await self._answer(entry)
        return await self._broken(request, entry, kind, headers)

    def _limited(self, entry: LoggedRequest, fault: RestFault, headers: dict[str, str]) -> Reply:
        now = self._now()
        seconds = max(1, math.ceil(fault.retry_after))
        headers["Retry-After"] = str(seconds)
        requests = self._log.hosts[entry.host]
        if fault.kind == "429":
            requests.limits.refused[429] += 1
            requests.refuse(now, now + seconds * 1000)
            return Reply(429, error_body(-1003, "Too many requests; please use the websocket for live updates."))
        until = requests.limits.ban(now, seconds)
        requests.limits.refused[418] += 1
        requests.refuse(now, until)
        return Reply(418, _banned_body(until))

    async def _broken(
        self, request: web.BaseRequest, entry: LoggedRequest, kind: str, headers: dict[str, str]
    ) -> web.StreamResponse:
        transport = request.transport
        assert isinstance(transport, FaultyTransport)
        release = self.release
        if kind == "timeout":
            await release.wait()
            transport.abort()
            return web.Response(status=503)
        response = web.StreamResponse(headers=headers)
        response.content_type = _JSON
        if kind == "trickle":
            response.enable_chunked_encoding()
            await response.prepare(request)
            await response.write(b"[")
            while not release.is_set() and transport.alive:
                await asyncio.sleep(_TRICKLE_EVERY)
                await response.write(b" ")
            transport.abort()
            return response
        body = (await self._answer(entry)).body
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        if kind == "reset":
            transport.abort()
        else:
            transport.close()
        return response


def _banned_body(until: int) -> bytes:
    return error_body(
        -1003,
        f"Way too many requests; IP(127.0.0.1) banned until {until}. "
        "Please use the websocket for live updates to avoid bans.",
    )
