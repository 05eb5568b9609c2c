"""Connections to the shared store, made by redis-py, which is imported here alone and only when one is made."""

from __future__ import annotations

import importlib
from typing import Any

from ..errors import MissingExtra
from ..store_url import StoreUrl

Redis = Any
"""A ``redis.Redis`` whose answers are bytes."""


def redis_module(name: str = "redis") -> Any:
    """Return a module of redis-py. Raises :class:`~ats_sync.errors.MissingExtra` where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingExtra("redis is not installed; pip install 'ats-sync[shared]'") from error


class Pool:
    """The connections of one process to one shared store; made without any I/O."""

    def __init__(
        self, url: StoreUrl, *, ca_file: str | None, connect_timeout: float, answer_timeout: float, label: str | None
    ) -> None:
        redis = redis_module()
        self._sentinels: list[Redis] = []
        timeouts = {
            "socket_connect_timeout": connect_timeout,
            "socket_timeout": answer_timeout,
            # A retry would hide an error and take as long again.
            "retry": redis_module("redis.retry").Retry(redis_module("redis.backoff").NoBackoff(), 0),
            "protocol": 2,
        }
        options = {
            **timeouts,
            "db": url.database,
            "username": url.username,
            "password": url.password,
            "client_name": label,
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
                url.addresses, sentinel_kwargs={**timeouts, **own, "ssl": url.tls, **tls}, **options
            )
            self._sentinels = list(manager.sentinels)
            pool = sentinel.SentinelConnectionPool(url.service, manager, ssl=url.tls, **options, **tls)
        else:
            host, port = url.addresses[0]
            connection_class = redis.SSLConnection if url.tls else redis.Connection
            pool = redis.ConnectionPool(connection_class=connection_class, host=host, port=port, **options, **tls)
        self.redis: Redis = redis.Redis(connection_pool=pool)

    def close(self) -> None:
        """Close every connection, also those in use by other threads."""
        self.redis.connection_pool.disconnect()
        for each in self._sentinels:
            each.connection_pool.disconnect()
