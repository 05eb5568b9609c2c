"""Who is let in: this machine's programs, others by a token, and never a page in a browser or a key."""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
from collections.abc import Mapping

from ..errors import ConfigError
from ..venue.endpoints import API_KEY_HEADER, MILLISECONDS, TIME_UNIT_HEADER
from .replies import Reply, refused

METHODS = ("GET", "HEAD")
TOKEN_VARIABLE = "ATS_SYNC_TOKEN"
"""The environment's token, for the commands."""
_OWN_PAGES = frozenset({"none", "same-origin"})
"""What a browser writes where the user or our own page asks; other programs do not write it."""
_OWN_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


def is_loopback(host: str) -> bool:
    """Return whether only programs of this machine reach a server that listens on ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Admission:
    """Decides from a request's method and headers alone.

    Raises :class:`~ats_sync.errors.ConfigError` for a ``host`` that other machines reach, without a ``token``.
    """

    def __init__(self, host: str, token: str | None) -> None:
        if token is not None and not (8 <= len(token) <= 200 and token.isascii() and token.isprintable()):
            raise ConfigError("the token must be 8 to 200 printable ASCII characters")
        if token is None and not is_loopback(host):
            raise ConfigError(
                f"{host} may be reached from other machines, which would spend the request weight of this address: "
                "set a token, or listen on 127.0.0.1"
            )
        self._token = token.encode() if token is not None else None
        self._names = _OWN_NAMES | {host.lower()}

    def refusal(self, method: str, headers: Mapping[str, str], *, holds_data: bool = True) -> Reply | None:
        """Return why a request is refused, None where it is not. ``headers`` look names up without regard to case.

        What ``holds_data`` is false of, the page that asks for the token, is given without it, and to whoever follows a
        link to it.
        """
        if method not in METHODS:
            return Reply(
                405,
                refused(405, f"{method[:20]} is not answered here: only public reads by GET.").body,
                allow="GET, HEAD",
            )
        if holds_data and headers.get("Sec-Fetch-Site", "none") not in _OWN_PAGES:
            return refused(403, "a page of another origin must not use this endpoint")
        if self._token is not None:
            if holds_data and not self._is_known(headers.get("Authorization", "")):
                return refused(401, "this endpoint needs its token: Authorization: Bearer …, or http://any:token@host")
        elif _host_name(headers.get("Host", "")) not in self._names:
            # A page of a browser that reaches us by a name of its own (DNS rebinding) would read everything.
            return refused(403, "the Host header must name this machine: 127.0.0.1 or localhost")
        if headers.get(API_KEY_HEADER, ""):  # the official SDK sends an empty one where it has no key
            return refused(403, "an API key must not be sent here: this endpoint answers public market data only")
        if headers.get(TIME_UNIT_HEADER, "").upper() not in ("", MILLISECONDS):
            return refused(400, f"times are in milliseconds here: leave {TIME_UNIT_HEADER} out")
        return None

    def _is_known(self, authorization: str) -> bool:
        assert self._token is not None
        scheme, _, value = authorization.partition(" ")
        given = value.strip().encode("utf-8", "replace")
        if scheme.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).partition(b":")[2]
            except (binascii.Error, ValueError):
                given = b""
        elif scheme.lower() != "bearer":
            given = b""
        return hmac.compare_digest(given, self._token)


def _host_name(host: str) -> str:
    """Return the name in a Host header, without the port and the brackets of IPv6."""
    host = host.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
