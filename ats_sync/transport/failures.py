"""Translates exceptions of sockets, urllib3 and requests to our own."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections.abc import Iterator

import requests
from urllib3.exceptions import (
    ConnectTimeoutError,
    IncompleteRead,
    InvalidChunkLength,
    NameResolutionError,
    NewConnectionError,
)

from ..errors import (
    CertificateRejected,
    ConnectionFailed,
    HostNotFound,
    MalformedAnswer,
    ProxyRefused,
    RequestError,
    RequestRejected,
    RequestTimeout,
)

_REFUSED_TUNNEL = re.compile(r"Tunnel connection failed: (407|403|405|501)\b")
_UNCONNECTED = (NewConnectionError, ConnectTimeoutError, NameResolutionError, socket.gaierror, ConnectionRefusedError)
_DAMAGED = (IncompleteRead, InvalidChunkLength, requests.exceptions.ContentDecodingError)


def translated(error: BaseException, what: str, host: str) -> RequestError:
    """Return our error for ``error``. ``what`` names the request, ``host`` its destination."""
    chain = list(_causes(error))
    failure = _translated(chain, error, what, host)
    if isinstance(failure, ConnectionFailed):
        failure.unsent = any(isinstance(each, _UNCONNECTED) for each in chain)
    return failure


def _translated(chain: list[BaseException], error: BaseException, what: str, host: str) -> RequestError:
    text = f"{what}: {_innermost(chain)}"
    if any(isinstance(each, (NameResolutionError, socket.gaierror)) for each in chain):
        unknown = HostNotFound(f"{what}: the name of the host (or proxy) does not resolve: {host}")
        unknown.temporary = any(isinstance(each, socket.gaierror) and each.errno == socket.EAI_AGAIN for each in chain)
        return unknown
    for each in chain:
        if isinstance(each, ssl.SSLCertVerificationError):
            return CertificateRejected(
                f"{what}: the certificate of {host} does not verify: {_why(each)}; if a proxy intercepts TLS, "
                "set ca_file (or REQUESTS_CA_BUNDLE) to the file of its authority"
            )
        if isinstance(each, OSError) and (refusal := _REFUSED_TUNNEL.search(str(each))):
            return ProxyRefused(
                f"{what}: the proxy refuses the connection: HTTP {refusal[1]}"
                + (", set a user name and password: http://user:password@host:port" if refusal[1] == "407" else "")
            )
    if any(isinstance(each, (requests.Timeout, TimeoutError)) for each in chain):
        return RequestTimeout(f"{what}: no connection to {host} in time, or no answer: {_innermost(chain)}")
    if any(isinstance(each, requests.exceptions.ProxyError) for each in chain):
        return ConnectionFailed(f"{what}: via proxy: {_innermost(chain)}")
    for each in chain:
        if isinstance(each, _DAMAGED):
            return MalformedAnswer(f"{what}: the body is truncated or damaged: {each}")
        if isinstance(each, http.client.HTTPException) and not isinstance(
            each, (http.client.RemoteDisconnected, ConnectionError)
        ):
            return MalformedAnswer(f"{what}: not an HTTP answer: {type(each).__name__} {each}")
    if isinstance(error, requests.exceptions.ChunkedEncodingError) and not any(map(_of_the_system, chain)):
        return MalformedAnswer(f"{what}: the body is truncated: {error}")
    if isinstance(error, requests.RequestException) and isinstance(error, ValueError):
        return RequestRejected(text)
    return ConnectionFailed(text)


def _why(error: ssl.SSLCertVerificationError) -> str:
    return getattr(error, "verify_message", "") or str(error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error, what it wraps (requests and urllib3 keep that in ``args`` or ``reason``), and its causes."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop(0)
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        # Not __context__, which may be an unrelated error that the caller was handling.
        inner = [*each.args, getattr(each, "reason", None), each.__cause__]
        waiting.extend(one for one in inner if isinstance(one, BaseException))


def _innermost(chain: list[BaseException]) -> str:
    """Return the message of the operating system's error, if there is one; the wrappers' messages show objects."""
    for each in reversed(chain):
        if isinstance(each, OSError) and each.strerror and _of_the_system(each):
            return each.strerror
    return f"{type(chain[0]).__name__} {chain[0]}"


def _of_the_system(error: BaseException) -> bool:
    return isinstance(error, OSError) and not isinstance(error, requests.RequestException)
