"""Foreign exceptions, bare and wrapped by requests and urllib3."""

from __future__ import annotations

import http.client
import socket
import ssl
from typing import Any

import pytest
import requests
from urllib3.exceptions import IncompleteRead, ProtocolError, ReadTimeoutError

from ats_sync.errors import (
    CertificateRejected,
    ConnectionFailed,
    HostNotFound,
    MalformedAnswer,
    ProxyRefused,
    RequestError,
    RequestRejected,
    RequestTimeout,
)
from ats_sync.transport.failures import translated

WRAPPED = requests.exceptions


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


POOL: Any = None
CASES: list[tuple[Exception, type[RequestError]]] = [
    (socket.gaierror(socket.EAI_NONAME, "unknown"), HostNotFound),
    (WRAPPED.ConnectionError(caused(OSError("wrapped"), socket.gaierror(socket.EAI_AGAIN, "later"))), HostNotFound),
    (TimeoutError("slow"), RequestTimeout),
    (WRAPPED.ConnectTimeout("slow"), RequestTimeout),
    (WRAPPED.ConnectionError(caused(ReadTimeoutError(POOL, "/", "slow"), TimeoutError("slow"))), RequestTimeout),
    (WRAPPED.ProxyError("no"), ConnectionFailed),
    (WRAPPED.ChunkedEncodingError(ProtocolError("broken", IncompleteRead(5, 6))), MalformedAnswer),
    (WRAPPED.ChunkedEncodingError(ProtocolError("ended prematurely")), MalformedAnswer),
    (WRAPPED.ChunkedEncodingError(ProtocolError("broken", ConnectionResetError(104, "reset"))), ConnectionFailed),
    (WRAPPED.ContentDecodingError("not gzip"), MalformedAnswer),
    (WRAPPED.ConnectionError(ProtocolError("aborted", http.client.BadStatusLine("garbage"))), MalformedAnswer),
    (WRAPPED.ConnectionError(ProtocolError("aborted", http.client.RemoteDisconnected("gone"))), ConnectionFailed),
    (WRAPPED.InvalidURL("what"), RequestRejected),
    (WRAPPED.SSLError(ssl.SSLCertVerificationError(1, "certificate verify failed")), CertificateRejected),
    (ssl.SSLCertVerificationError(1, "certificate verify failed"), CertificateRejected),
    (WRAPPED.ProxyError(OSError("Tunnel connection failed: 407 Proxy Authentication Required")), ProxyRefused),
    (ConnectionRefusedError(111, "refused"), ConnectionFailed),
]


@pytest.mark.parametrize(("error", "kind"), CASES)
def test_what_it_means(error: Exception, kind: type[RequestError]) -> None:
    found = translated(error, "GET /x", "h.example")
    assert type(found) is kind
    assert str(found).startswith("GET /x: ")


def test_the_systems_message_comes_through_the_wrapping() -> None:
    error = WRAPPED.ConnectionError(ProtocolError("aborted", ConnectionResetError(104, "Connection reset by peer")))
    assert str(translated(error, "GET /x", "h")) == "GET /x: Connection reset by peer"


def test_the_exception_that_the_caller_was_handling_is_ignored() -> None:
    error = ConnectionRefusedError(111, "refused")
    error.__context__ = TimeoutError("of something else")
    assert type(translated(error, "GET /x", "h")) is ConnectionFailed


def test_a_circle_of_causes_ends() -> None:
    error, other = OSError("a"), OSError("b")
    error.__cause__, other.__cause__ = other, error
    assert type(translated(error, "GET /x", "h")) is ConnectionFailed
