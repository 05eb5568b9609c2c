"""A lagging replica: REST answered from the state that the market had some seconds ago.

The replica is a copy of the market that first stands still, then follows at a distance. A forked process keeps the copy
if the operating system can fork cheaply and safely, which is true for the simulator's own single-threaded process;
otherwise the market is copied in memory.
"""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import socket
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from .endpoints import ENDPOINTS, Endpoints
from .literals import Host
from .market import Market
from .rest import compute

# The market moves in steps of this length while the copy catches up, so that no step takes long.
_STEP = 1000


Change = tuple[int, str, dict[str, Any]]
"""A change made to the market: its time, the method of Market, and its keyword arguments."""


class Follower:
    """A market that follows another at a distance, including changes made to it."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self._changes: deque[Change] = deque()
        market.subscribed.clear()
        market.spot_subscribed.clear()

    def add(self, changes: Iterable[Change]) -> None:
        """Make ``changes`` when their time comes."""
        self._changes.extend(changes)

    def follow(self, until: int) -> None:
        """Advance to ``until``, unless the market is there already."""
        while self._changes and self._changes[0][0] <= until:
            at, method, arguments = self._changes.popleft()
            self._advance(at)
            getattr(self.market, method)(**arguments)
        self._advance(until)

    def _advance(self, until: int) -> None:
        while self.market.now < until:
            self.market.advance(min(until, self.market.now + _STEP))


class LocalReplica:
    """A copy in this process's memory. (By pickle: a deep copy would share bound built-in methods.)"""

    def __init__(self, market: Market, lag: int, now: Callable[[], int], endpoints: Endpoints) -> None:
        self._follower = Follower(pickle.loads(pickle.dumps(market, pickle.HIGHEST_PROTOCOL)))
        self.lag = lag
        self._now = now
        self._endpoints = endpoints

    def change(self, change: Change) -> None:
        """Make the same change when its time comes."""
        self._follower.add([change])

    async def answer(self, host: Host, path: str, params: Mapping[str, str]) -> tuple[int, bytes]:
        """Return status and body at the replica's state."""
        now = self._now()
        self._follower.follow(now - self.lag)
        return compute(host, path, params, self._follower.market, now, self._endpoints)

    def stop(self) -> None:
        """Do nothing: a copy in memory has nothing to stop."""


class ForkedReplica:
    """A copy in a forked process, reached over a socket pair."""

    def __init__(self, market: Market, lag: int, now: Callable[[], int], endpoints: Endpoints) -> None:
        self.lag = lag
        self._now = now
        ours, theirs = socket.socketpair()
        self._pid = os.fork()
        if self._pid == 0:
            _serve(theirs.fileno(), market, endpoints)
        theirs.close()
        ours.setblocking(False)
        self._sock = ours
        self._turn = asyncio.Lock()
        """Guards the order of questions and answers on the socket."""
        self._buffer = b""
        self._changes: list[Change] = []

    def change(self, change: Change) -> None:
        """Make the same change when its time comes."""
        self._changes.append(change)

    async def answer(self, host: Host, path: str, params: Mapping[str, str]) -> tuple[int, bytes]:
        """Return status and body at the replica's state."""
        loop = asyncio.get_running_loop()
        now = self._now()
        changes, self._changes = self._changes, []
        question = json.dumps([changes, now - self.lag, now, host, path, dict(params)]).encode() + b"\n"
        # A client that hangs up must not leave half an answer on the socket.
        return await asyncio.shield(loop.create_task(self._request(question)))

    async def _request(self, question: bytes) -> tuple[int, bytes]:
        loop = asyncio.get_running_loop()
        async with self._turn:
            await loop.sock_sendall(self._sock, question)
            head = await self._read(8)
            status, size = int.from_bytes(head[:4], "big"), int.from_bytes(head[4:], "big")
            return status, await self._read(size)

    async def _read(self, size: int) -> bytes:
        loop = asyncio.get_running_loop()
        while len(self._buffer) < size:
            data = await loop.sock_recv(self._sock, 256 * 1024)
            if not data:
                raise ConnectionError("the lagging replica has ended")
            self._buffer += data
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def stop(self) -> None:
        """End the process."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        self._sock.close()


LaggingReplica = LocalReplica | ForkedReplica


def make_lagging_replica(
    market: Market, lag: int, now: Callable[[], int], *, may_fork: bool, endpoints: Endpoints = ENDPOINTS
) -> LaggingReplica:
    """Return a replica of ``market`` that falls up to ``lag`` ms behind ``now()``."""
    if may_fork and hasattr(os, "fork") and sys.platform != "darwin":
        return ForkedReplica(market, lag, now, endpoints)
    return LocalReplica(market, lag, now, endpoints)


def _serve(fileno: int, market: Market, endpoints: Endpoints) -> NoReturn:
    """Answer, as the forked process, until the other end is closed; never return into the caller's code."""
    status = 1
    try:
        for number in range(3):
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
        os.closerange(3, fileno)
        os.closerange(fileno + 1, max(fileno + 1, os.sysconf("SC_OPEN_MAX")))
        follower = Follower(market)
        with socket.socket(fileno=fileno) as sock, sock.makefile("rb") as lines:
            sock.setblocking(True)
            for line in lines:
                sock.sendall(_reply(follower, json.loads(line), endpoints))
        status = 0
    finally:
        os._exit(status)


def _reply(follower: Follower, question: list[Any], endpoints: Endpoints) -> bytes:
    changes, until, now, host, path, params = question
    follower.add(tuple(change) for change in changes)
    follower.follow(until)
    status, body = compute(host, path, params, follower.market, now, endpoints)
    return status.to_bytes(4, "big") + len(body).to_bytes(4, "big") + body
