"""requests and urllib3 on scoped sockets, and which proxy to use.

The classes here only replace how urllib3 opens a connection.
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
from .sockets import NO_DELAY, CancelScope, ScopedContext, ScopedSocket, open_socket

_HTTP_SCHEME = {"ws": "http", "wss": "https"}


def proxy_for(url: str, config: Config) -> str | None:
    """Return the proxy for ``url`` (http, https, ws or wss), or None: from ``config.proxies``, or if that is None
    from ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY`` and ``NO_PROXY``.

    Raises ConfigError if it is not an HTTP proxy."""
    scheme, _, rest = url.partition("://")
    url = f"{_HTTP_SCHEME.get(scheme, scheme)}://{rest}"
    proxies = get_environ_proxies(url) if config.proxies is None else dict(config.proxies)
    proxy = select_proxy(url, proxies)
    if not proxy:
        return None
    # In "host:port", requests takes the host for a scheme unless it is an IP address.
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    parts = urlsplit(proxy)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(
            f"the proxy for {urlsplit(url).hostname} must be http://host:port or https://host:port, "
            f"not {parts.scheme}://{parts.hostname or ''} (from the environment or proxies=); many programs that offer "
            "SOCKS also accept HTTP on the same port"
        )
    return proxy


def open_tunnel(
    proxy: str, host: str, port: int, scope: CancelScope, context: ScopedContext, *, timeout: float
) -> ScopedSocket:
    """Return a socket connected to ``host:port`` through the CONNECT method of ``proxy``."""
    parts = urlsplit(proxy)
    secure = parts.scheme == "https"
    connection = _TunnelConnection(
        parts.hostname or "", parts.port or (443 if secure else 80), timeout=timeout, socket_options=NO_DELAY
    )
    connection.scope = scope
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
    if not isinstance(sock, ScopedSocket):
        raise TypeError(f"the tunnel's socket is a {type(sock).__name__}")
    return sock


def _open(connection: HTTPConnection, scope: CancelScope) -> ScopedSocket:
    # The same exceptions as in the method that this replaces: urllib3 and requests tell failures apart by them.
    try:
        return open_socket(
            connection.host,
            connection.port or connection.default_port,
            scope,
            timeout=connection.timeout,
            options=connection.socket_options or (),
        )
    except socket.gaierror as error:
        raise NameResolutionError(connection.host, connection, error) from error
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, f"connecting to {connection.host} took too long") from error
    except OSError as error:
        raise NewConnectionError(connection, f"no connection to {connection.host}: {error}") from error


class ScopedHTTPConnection(HTTPConnection):
    scope: CancelScope

    def _new_conn(self) -> socket.socket:
        return _open(self, self.scope)


class ScopedHTTPSConnection(HTTPSConnection):
    scope: CancelScope

    def _new_conn(self) -> socket.socket:
        return _open(self, self.scope)


class _TunnelConnection(ScopedHTTPConnection):
    """Speaks CONNECT to a proxy, over TLS when there is a ``context``."""

    context: ScopedContext | None = None

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
    ConnectionCls = ScopedHTTPConnection
    scope: CancelScope

    def _new_conn(self) -> Any:
        connection: Any = super()._new_conn()
        connection.scope = self.scope
        return connection


class _HTTPSPool(HTTPSConnectionPool):
    ConnectionCls = ScopedHTTPSConnection
    scope: CancelScope

    def _new_conn(self) -> Any:
        connection: Any = super()._new_conn()
        connection.scope = self.scope
        return connection


class _ScopedPools(PoolManager):
    scope: CancelScope

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.pool_classes_by_scheme = {"http": _HTTPPool, "https": _HTTPSPool}

    def _new_pool(
        self, scheme: str, host: str, port: int, request_context: dict[str, Any] | None = None
    ) -> HTTPConnectionPool:
        pool: Any = super()._new_pool(scheme, host, port, request_context)
        pool.scope = self.scope
        return pool  # type: ignore[no-any-return]


class _ScopedProxyPools(_ScopedPools, ProxyManager):
    pass


class ScopedAdapter(HTTPAdapter):
    """Connects through ``scope``, verifies with ``context``, keeps one connection per host, and never retries."""

    def __init__(self, scope: CancelScope, context: ScopedContext) -> None:
        self._scope = scope
        self._context = context
        super().__init__(pool_connections=4, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        self.poolmanager = _ScopedPools(
            num_pools=connections, maxsize=maxsize, block=block, ssl_context=self._context, **pool_kwargs
        )
        self.poolmanager.scope = self._scope

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> ProxyManager:
        manager: ProxyManager | None = self.proxy_manager.get(proxy)
        if manager is None:
            made = _ScopedProxyPools(
                proxy,
                proxy_headers=self.proxy_headers(proxy),
                proxy_ssl_context=self._context,
                num_pools=4,
                maxsize=1,
                ssl_context=self._context,
                **proxy_kwargs,
            )
            made.scope = self._scope
            self.proxy_manager[proxy] = manager = made
        return manager

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._context, "cert_reqs": "CERT_REQUIRED"}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Do nothing: the context has its authorities, and requests would load its own into it each time."""


def as_proxies(proxy: str | None) -> dict[str, str]:
    """Return ``proxy`` in the form that requests expects."""
    return {} if proxy is None else {"all": proxy}
