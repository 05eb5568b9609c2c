"""The client of the shared store: one call is one round trip, and every failure is one error of ours, at once.

The connections are made by redis-py, which is imported here alone and only when one is made.
"""

from __future__ import annotations

import importlib
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Sequence
from hashlib import sha1
from typing import Any, TypeVar
from weakref import WeakSet

from .. import forks
from ..config import Config
from ..errors import AtsSyncError, ConfigError, MissingExtra, SharedStoreUnavailable
from ..logs import RateLimitedLogger
from ..store_url import StoreUrl
from .protocol import Command, pack_command
from .server import FORMAT, FORMATS_KEY, ServerInfo, check_format, checked

Redis = Any
"""A ``redis.Redis`` whose answers are bytes."""


def redis_module(name: str = "redis") -> Any:
    """Return a module of redis-py. Raises :class:`~ats_sync.errors.MissingExtra` where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtra("redis is not installed; pip install 'ats-sync[shared]'") from error


def process_label() -> str:
    """Return a name of this process for people: host and process id."""
    return f"{socket.gethostname()}:{os.getpid()}"


def client_name(role: str) -> str:
    """Return what this process is called in the server's ``CLIENT LIST``, such as ``ats_sync:reader:host:4711``."""
    return re.sub("[^!-~]", "-", f"{PROGRAM}:{role}:{process_label()}")  # the server takes nothing else


def role_in(name: str) -> str | None:
    """Return the role in what :func:`client_name` has returned, None for a client of another program."""
    program, _, rest = name.partition(":")
    role, _, process = rest.partition(":")
    return role if program == PROGRAM and process else None


class Connections:
    """The connections of one process to one shared store; made without any I/O."""

    def __init__(
        self, url: StoreUrl, *, ca_file: str | None, connect_timeout: float, answer_timeout: float, role: str | None
    ) -> None:
        redis = redis_module()
        self._sentinels: list[Redis] = []
        usual = {
            "socket_connect_timeout": connect_timeout,
            "socket_timeout": answer_timeout,
            # A retry would hide an error and take as long again.
            "retry": redis_module("redis.retry").Retry(redis_module("redis.backoff").NoBackoff(), 0),
            "protocol": 2,
            # By default it depends on the version, and what make_connection() has returned counts for ever.
            "max_connections": UNLIMITED,
        }
        options = {
            **usual,
            "db": url.database,
            "username": url.username,
            "password": url.password,
            "client_name": client_name(role) if role is not None else None,
        }
        tls: dict[str, Any] = {}
        if url.tls:
            # Both are said, since the defaults of redis-py differ from version to version.
            tls = {"ssl_cert_reqs": "required", "ssl_check_hostname": True, **url.files}
            if ca_file is not None:
                tls.setdefault("ssl_ca_certs", ca_file)
        if url.path:
            connection = redis_module("redis.connection")
            pool = redis.ConnectionPool(
                connection_class=connection.UnixDomainSocketConnection, path=url.path, **options
            )
        elif url.service:
            sentinel = redis_module("redis.sentinel")
            own = {"username": url.sentinel_username, "password": url.sentinel_password}
            manager = sentinel.Sentinel(
                url.addresses, sentinel_kwargs={**usual, **own, "ssl": url.tls, **tls}, **options
            )
            self._sentinels = list(manager.sentinels)
            pool = sentinel.SentinelConnectionPool(url.service, manager, ssl=url.tls, **options, **tls)
        else:
            host, port = url.addresses[0]
            connection_class = redis.SSLConnection if url.tls else redis.Connection
            pool = redis.ConnectionPool(connection_class=connection_class, host=host, port=port, **options, **tls)
        self.redis: Redis = redis.Redis(connection_pool=pool)
        known = redis_module("redis.exceptions")
        self.absent = known.NoScriptError
        self._refused, self._gone = known.ResponseError, (known.ConnectionError, OSError)
        self._idle: list[Any] = []  # connections of execute() that nobody uses; each change of it is one step
        self._lock = threading.Lock()  # guards what is below
        self._own: WeakSet[Any] = WeakSet()  # all of them
        self._closes = 0

    def execute(self, command: Command, *, repeatable: bool) -> Any:
        """Return the answer to a command, which is sent as one piece.

        What redis-py does around each command takes as long as the round trip: retries and statistics are left out. So
        is the look whether the server has closed the connection meanwhile, where the command is ``repeatable``: then it
        is sent again on a new one.
        """
        text, closes = pack_command(command), self._closes
        try:
            connection, used = self._idle.pop(), True
        except IndexError:
            connection, used = self._made(), False
        if used and not repeatable:
            self._look_at(connection)
        try:
            return self._answer(connection, text)
        except self._gone:
            if not (used and repeatable) or closes != self._closes:
                raise
        return self._answer(self._made(), text)

    def _answer(self, connection: Any, text: bytes) -> Any:
        try:
            connection.send_packed_command([text])
            answer = connection.read_response()
        except self._refused:
            self._idle.append(connection)
            raise
        except BaseException:
            connection.disconnect()  # an answer may be on its way
            raise
        self._idle.append(connection)
        return answer

    def _made(self) -> Any:
        connection = self.redis.connection_pool.make_connection()
        with self._lock:
            self._own.add(connection)
        return connection

    def _look_at(self, connection: Any) -> None:
        """Let a connection be made again that the server has closed, or that leads to another server than the one that
        counts by now."""
        try:
            usable = self.redis.connection_pool.owns_connection(connection) and not connection.can_read()
        except self._gone:
            usable = False
        if not usable:
            connection.disconnect()

    def close(self) -> None:
        """Close every connection, also those in use by other threads."""
        self._idle.clear()
        with self._lock:
            self._closes += 1
            own = list(self._own)
        pools = [self.redis.connection_pool, *(sentinel.connection_pool for sentinel in self._sentinels)]
        for each in [*own, *pools]:
            each.disconnect()


T = TypeVar("T")

CONNECT_TIMEOUT, ANSWER_TIMEOUT = 1.0, 1.0
"""Seconds."""
PAUSE, LONGEST_PAUSE = 0.25, 2.0
"""Seconds for which nothing is sent after a failure, doubled at each further one up to the second value."""
UNLIMITED = 2**31
"""Connections: each thread has one at most, and how many threads there are is up to the program."""
PREFIX = f"ats:{FORMAT}:"
PROGRAM = "ats_sync"


class Script:
    """A Lua script, and the name under which a server that has seen it knows it. ``repeatable``: it makes no difference
    whether it runs once or twice."""

    def __init__(self, text: str, *, repeatable: bool = False) -> None:
        self.text = text
        self.repeatable = repeatable
        self.sha = sha1(text.encode(), usedforsecurity=False).hexdigest()


class SharedStore:
    """A shared store, Valkey or Redis. Thread-safe; after a fork the child has connections of its own.

    After a failure calls fail at once, without a round trip, for a pause that grows up to 2 s; then one of them tries
    again. So a store that is away delays nobody for long, and its return is noticed by itself.
    """

    def __init__(
        self,
        url: str,
        *,
        ca_file: str | None = None,
        connect_timeout: float = CONNECT_TIMEOUT,
        answer_timeout: float = ANSWER_TIMEOUT,
        role: str | None = None,
    ) -> None:
        """Check the URL; nothing is sent. ``role`` is what this process is to those who look at the server's clients
        (see :func:`client_name`); None: it does not say.

        Raises :class:`~ats_sync.errors.ConfigError` and :class:`~ats_sync.errors.MissingExtra`."""
        self.url = StoreUrl.parse(url)
        self._options: dict[str, Any] = {
            "ca_file": ca_file,
            "connect_timeout": connect_timeout,
            "answer_timeout": answer_timeout,
            "role": role,
        }
        self._lock = threading.Lock()  # guards everything below
        self._pause = 0.0
        self._away_until = 0.0
        self._why = ""
        self._warned = False
        self._round_trips = self._failures = 0
        self._closes = 0  # how often it was closed
        self._log = RateLimitedLogger(logging.getLogger(__name__))
        self._connections = Connections(self.url, **self._options)
        forks.register(self)

    @classmethod
    def of(cls, config: Config, *, answer_timeout: float = ANSWER_TIMEOUT) -> SharedStore:
        """Return the store that the settings name, which they must."""
        if config.shared is None:
            raise ConfigError("no shared store is set: give Config(shared=…) or ATS_SYNC_SHARED its URL")
        return cls(config.shared, ca_file=config.ca_file, answer_timeout=answer_timeout, role=config.role)

    def __repr__(self) -> str:
        return f"SharedStore({str(self.url)!r})"

    def __str__(self) -> str:
        return f"the shared store {self.url}"

    @staticmethod
    def key(*parts: str) -> str:
        """Return the name of a key: ``ats:1:`` and the parts."""
        return PREFIX + ":".join(parts)

    # --- calls -----------------------------------------------------------------------------------------

    def run(self, call: Callable[[Redis], T], *, insist: bool = False) -> T:
        """Return ``call(redis)``, which should be one round trip: a command, or a pipeline.

        ``insist``: try also during the pause after a failure. Raises
        :class:`~ats_sync.errors.SharedStoreUnavailable` where the store does not answer in time or refuses, and
        :class:`~ats_sync.errors.ConfigError` where it never will as things are set.
        """
        connections = self._connections
        return self._run(lambda: call(connections.redis), insist=insist)

    def _run(self, call: Callable[[], T], *, insist: bool = False) -> T:
        closes = self._closes
        if self._away_until:
            self._check_pause(insist)
        with self._lock:
            self._round_trips += 1
        try:
            value = call()
        except AtsSyncError:
            raise
        except Exception as error:
            if closes != self._closes:  # whatever comes of a connection that is closed while another thread reads
                raise SharedStoreUnavailable(f"{self} was left while it was to answer") from error
            with self._lock:
                self._failures += 1
            raise self._failed(error) from error
        if self._away_until:
            self._returned()
        return value

    def evaluate(
        self, script: Script, keys: Sequence[str | bytes], args: Sequence[Any], *, insist: bool = False
    ) -> Any:
        """Return what a script answers, in one round trip but for the first one of a server's life."""
        connections, repeatable = self._connections, script.repeatable

        def call() -> Any:
            try:
                return connections.execute(("EVALSHA", script.sha, len(keys), *keys, *args), repeatable=repeatable)
            except connections.absent:
                return connections.execute(("EVAL", script.text, len(keys), *keys, *args), repeatable=repeatable)

        return self._run(call, insist=insist)

    def evaluate_all(self, script: Script, calls: Sequence[tuple[Sequence[str | bytes], Sequence[Any]]]) -> list[Any]:
        """Return what a script answers to each of several calls (keys and arguments), all in one round trip."""
        absent = self._connections.absent

        def send(redis: Redis, *, known: bool) -> list[Any]:
            with redis.pipeline(transaction=False) as pipeline:
                for keys, args in calls:
                    if known:
                        pipeline.evalsha(script.sha, len(keys), *keys, *args)
                    else:
                        pipeline.eval(script.text, len(keys), *keys, *args)
                return list(pipeline.execute())

        def call(redis: Redis) -> list[Any]:
            try:
                return send(redis, known=True)
            except absent:
                return send(redis, known=False)

        return self.run(call)

    def connect(self, *, writes: bool, insist: bool = True) -> ServerInfo:
        """Return what the server says of itself, after checking that it will do; ``writes``: the caller will write, and
        its format counts as in use from now on; ``insist`` as in :meth:`run`.

        Raises :class:`~ats_sync.errors.ConfigError` for a server that is too old, a cluster or a Sentinel, and where
        programs of another format use the store.
        """

        def look(redis: Redis) -> tuple[ServerInfo, int, dict[bytes, bytes]]:
            with redis.pipeline(transaction=False) as pipeline:
                pipeline.info().time().hgetall(FORMATS_KEY)
                answers = pipeline.execute(raise_on_error=False)
            if isinstance(answers[0], Exception):
                raise answers[0]
            server = checked(answers[0], str(self))  # A Sentinel knows none of the other commands.
            for answer in answers:
                if isinstance(answer, Exception):
                    raise answer
            _, (seconds, micros), formats = answers
            return server, int(seconds) * 1000 + int(micros) // 1000, formats

        server, now_ms, formats = self.run(look, insist=insist)
        check_format(formats, now_ms, str(self), writes=writes)
        if writes:
            self.run(lambda redis: redis.hset(FORMATS_KEY, str(FORMAT), now_ms), insist=True)
        if server.evicts and not self._warned:
            self._warned = True
            self._log.warning(
                "policy",
                "%s deletes keys when its memory is full (maxmemory-policy %s); set it to noeviction, or data and the "
                "account of requests may vanish",
                self,
                server.policy,
            )
        return server

    # --- failures --------------------------------------------------------------------------------------

    def _check_pause(self, insist: bool) -> None:
        """Raise during a pause; else begin the next one, so that others wait for how this caller's attempt ends."""
        now = time.monotonic()
        with self._lock:
            if insist or not self._away_until:
                return
            if now < self._away_until:
                raise SharedStoreUnavailable(self._why)
            self._away_until = now + self._pause

    def _returned(self) -> None:
        with self._lock:
            self._away_until = self._pause = 0.0
        self._log.info("back", "%s answers again", self)

    def _failed(self, error: Exception) -> Exception:
        """Return the error of ours for one of redis-py."""
        known = redis_module("redis.exceptions")
        if isinstance(error, (known.AuthenticationError, known.NoPermissionError)):
            return ConfigError(f"{self} refuses this program: {error}; check user, password and ACL")
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            return ConfigError(
                f"the certificate of {self} does not verify ({error}); set ca_file, or ?ssl_ca_certs= in the URL, to "
                "the file of its authority"
            )
        refused = isinstance(error, known.ResponseError) and not isinstance(error, (known.ReadOnlyError,))
        if not refused and not isinstance(error, (known.RedisError, OSError)):
            return error  # a mistake of the caller
        detail = str(error) or type(error).__name__
        text = f"{self} {'answered' if refused else 'does not answer'}: {detail}"
        if not refused:
            with self._lock:
                now = time.monotonic()
                if now >= self._away_until:  # else another thread has noticed the same failure
                    self._pause = min(LONGEST_PAUSE, max(PAUSE, self._pause * 2))
                    self._away_until = now + self._pause
                self._why = text
        unavailable = SharedStoreUnavailable(text)
        unavailable.refused = refused
        return unavailable

    @property
    def away(self) -> bool:
        """Whether the last call failed for want of an answer."""
        return bool(self._away_until)

    def calls(self) -> tuple[int, int]:
        """Return how many calls went to the server since this object was made, and how many of them failed."""
        with self._lock:
            return self._round_trips, self._failures

    # --- life ------------------------------------------------------------------------------------------

    def serve_as(self, role: str) -> None:
        """Go on as a process of this role, on connections of its own: a forked child of another one."""
        self._options["role"] = role
        self._connections = Connections(self.url, **self._options)

    def after_fork(self) -> None:
        # The sockets belong to the parent, and another of its threads may have had the lock.
        self._lock = threading.Lock()
        self._pause = self._away_until = 0.0
        self._connections = Connections(self.url, **self._options)

    def close(self) -> None:
        """Close the connections, under those who wait for an answer, too. A later call opens one again."""
        with self._lock:
            self._closes += 1
        self._connections.close()
