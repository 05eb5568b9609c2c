"""requests and urllib3 on guarded sockets, and which proxy to use.

The classes here only replace how a connection is opened; what urllib3 does with it stays as it is.
"""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

from requests.adapters import HTTPAdapter
from requests.utils import get_auth_from_url, get_environ_proxies, select_proxy
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager, ProxyManager, make_headers
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from ..config import Config
from ..errors import ConfigError
from .sockets import NO_DELAY, Guard, GuardedContext, GuardedSocket, open_socket

_HTTP_SCHEME = {"ws": "http", "wss": "https"}


def proxy_for(url: str, config: Config) -> str | None:
    """The proxy for ``url`` (http, https, ws or wss): from ``config.proxies``, or if that is None from
    ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``.

    Raises ConfigError when it is not an HTTP proxy."""
    scheme, _, rest = url.partition("://")
    url = f"{_HTTP_SCHEME.get(scheme, scheme)}://{rest}"
    proxies = get_environ_proxies(url) if config.proxies is None else dict(config.proxies)
    proxy = select_proxy(url, proxies)
    if not proxy:
        return None
    # requests takes the host of "host:port" for a scheme unless it is an IP address.
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    parts = urlsplit(proxy)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"the proxy for {urlsplit(url).hostname} must be http://host:port or https://host:port, "
            f"not {parts.scheme}://{parts.hostname or ''} (from the environment or proxies=); many programs that offer "
            "SOCKS take HTTP on the same port"
        )
    return proxy


def open_tunnel(
    proxy: str, host: str, port: int, guard: Guard, context: GuardedContext, *, timeout: float
) -> GuardedSocket:
    """A socket that reaches ``host:port`` by the CONNECT method of ``proxy``."""
    parts = urlsplit(proxy)
    secure = parts.scheme == "https"
    connection = _TunnelConnection(
        parts.hostname or "", parts.port or (443 if secure else 80), timeout=timeout, socket_options=NO_DELAY
    )
    connection.guard = guard
    connection.context = context if secure else None
    user, password = get_auth_from_url(proxy)
    headers = make_headers(proxy_basic_auth=f"{user}:{password}") if user else {}
    connection.set_tunnel(host, port, headers=headers)
    try:
        connection.connect()
        sock = connection.sock
        connection.sock = None
    finally:
        connection.close()
    if not isinstance(sock, GuardedSocket):
        raise TypeError(f"the tunnel's socket is a {type(sock).__name__}")
    return sock


def _open(connection: HTTPConnection, guard: Guard) -> GuardedSocket:
    # The exceptions are those of urllib3's own method: its callers and requests tell failures apart by them.
    try:
        return open_socket(
            connection.host,
            connection.port or connection.default_port,
            guard,
            timeout=connection.timeout,
            options=connection.socket_options or (),
        )
    except socket.gaierror as error:
        raise NameResolutionError(connection.host, connection, error) from error
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, f"connecting to {connection.host} took too long") from error
    except OSError as error:
        raise NewConnectionError(connection, f"no connection to {connection.host}: {error}") from error


class GuardedHTTPConnection(HTTPConnection):
    guard: Guard

    def _new_conn(self) -> socket.socket:
        return _open(self, self.guard)


class GuardedHTTPSConnection(HTTPSConnection):
    guard: Guard

    def _new_conn(self) -> socket.socket:
        return _open(self, self.guard)


class _TunnelConnection(GuardedHTTPConnection):
    """Speaks CONNECT to a proxy, over TLS when there is a ``context``."""

    context: GuardedContext | None = None

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        if self.context is None:
            return sock
        try:
            return self.context.wrap_socket(sock, server_hostname=self.host)
        except BaseException:
            sock.close()
            raise


class _HTTPPool(HTTPConnectionPool):
    ConnectionCls = GuardedHTTPConnection
    guard: Guard

    def _new_conn(self) -> Any:
        connection: Any = super()._new_conn()
        connection.guard = self.guard
        return connection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = GuardedHTTPSConnection
    guard: Guard

    def _new_conn(self) -> Any:
        connection: Any = super()._new_conn()
        connection.guard = self.guard
        return connection


class _GuardedPools(PoolManager):
    guard: Guard

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}

    def _new_pool(
        self, scheme: str, host: str, port: int, request_context: dict[str, Any] | None = None
    ) -> HTTPConnectionPool:
        pool: Any = super()._new_pool(scheme, host, port, request_context)
        pool.guard = self.guard
        return pool  # type: ignore[no-any-return]


class _GuardedProxyPools(_GuardedPools, ProxyManager):
    pass


class GuardedAdapter(HTTPAdapter):
    """Connects through ``guard``, verifies by ``context``, keeps one connection a host, retries nothing."""

    def __init__(self, guard: Guard, context: GuardedContext) -> None:
        self._guard = guard
        self._context = context
        super().__init__(pool_connections=4, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        self.poolmanager = _GuardedPools(
            num_pools=connections, maxsize=maxsize, block=block, ssl_context=self._context, **pool_kwargs
        )
        self.poolmanager.guard = self._guard

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> ProxyManager:
        manager: ProxyManager | None = self.proxy_manager.get(proxy)
        if manager is None:
            made = _GuardedProxyPools(
                proxy,
                proxy_headers=self.proxy_headers(proxy),
                proxy_ssl_context=self._context,
                num_pools=4,
                maxsize=1,
                ssl_context=self._context,
                **proxy_kwargs,
            )
            made.guard = self._guard
            self.proxy_manager[proxy] = manager = made
        return manager

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._context, "cert_reqs": "CERT_REQUIRED"}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing: the context has its authorities. requests would load its own into it, each time."""


def as_proxies(proxy: str | None) -> dict[str, str]:
    """``proxy`` the way requests wants it."""
    return {} if proxy is None else {"all": proxy}
