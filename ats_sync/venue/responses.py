"""HTTP responses of the exchange: error codes, bans, used weight; and our own errors in the same form."""

from __future__ import annotations

import email.utils
import re
from collections.abc import Mapping
from datetime import timezone

import orjson

from ..errors import (
    AccessDenied,
    ExchangeFailure,
    MalformedAnswer,
    ProxyRefused,
    RateLimited,
    RequestError,
    RequestRejected,
)

USED_WEIGHT_HEADER = "X-MBX-USED-WEIGHT-1M"
UNKNOWN = -1000
DISCONNECTED = -1001
UNAUTHORIZED = -1002
TOO_MANY_REQUESTS = -1003
_SERVER_CODES = frozenset((UNKNOWN, DISCONNECTED, -1007))
"""The server failed, was disconnected, or timed out."""
_BANNED_UNTIL = re.compile(r"banned until (\d{10,16})")
_DEFAULT_PAUSE = {429: 60.0, 418: 120.0}
_LONGEST_BAN = 3 * 86400.0


def used_weight(headers: Mapping[str, str]) -> int | None:
    """Return the weight that this address has used in the minute, None if the response does not say.

    Lookups in ``headers`` must ignore case.
    """
    text = headers.get(USED_WEIGHT_HEADER, "")
    return int(text) if text.isdecimal() else None


def classify(
    status: int,
    body: bytes,
    headers: Mapping[str, str],
    *,
    now_wall: float,
    now_exchange: float | None = None,
    what: str = "the request",
) -> RequestError | None:
    """Return the error that a response means, None for a good status with a JSON-like body.

    Lookups in ``headers`` must ignore case. ``now_wall`` is this machine's clock and ``now_exchange`` the
    exchange's, None if unknown, both in epoch seconds: times from the exchange are compared with its own clock, and
    ``retry_at`` is a time of this machine. Only the first and last character of the JSON are checked.
    """
    code, message = _exchange_error(status, body)
    text = f"{what}: HTTP {status}" + ("" if code is None else f", code {code}") + f": {message}"
    if status in (403, 451):
        reason = "a firewall blocks this address" if status == 403 else "the exchange does not serve this country"
        return AccessDenied(f"{text} ({reason}; retrying does not help)", status=status, code=code)
    if status == 407:
        return ProxyRefused(
            f"{text} (set a user name and password for the proxy: http://user:password@host:port)", status=status
        )
    if status in (429, 418) or code == TOO_MANY_REQUESTS:
        now_there = _date(headers.get("Date"))
        if now_there is None:
            now_there = now_wall if now_exchange is None else now_exchange
        pause = _pause(status, message, headers.get("Retry-After"), now_there)
        text += f" (retry in {pause:.0f} s)"
        return RateLimited(text, retry_at=now_wall + pause, status=status, code=code)
    # 408 is how the exchange reports a timeout behind its front end.
    if status >= 500 or status == 408 or code in _SERVER_CODES:
        return ExchangeFailure(text, status=status, code=code)
    if status >= 400 or code is not None:
        return RequestRejected(text, status=status, code=code)
    if 300 <= status < 400:
        location = headers.get("Location", "nowhere")
        return RequestRejected(
            f"{what}: HTTP {status}, redirected to {location}: is the base URL right?", status=status
        )
    if not _looks_like_json(body):
        return MalformedAnswer(f"{what}: HTTP {status}, but not JSON: {_excerpt(body)}", status=status)
    return None


def _exchange_error(status: int, body: bytes) -> tuple[int | None, str]:
    """Return the exchange's code and message; for a good answer, only if the body is plainly an error object."""
    if status >= 400 or body.startswith(b'{"code":-'):
        try:
            value = orjson.loads(body)
        except (ValueError, RecursionError):
            return None, _excerpt(body)
        if isinstance(value, dict):
            code, message = value.get("code"), value.get("msg")
            if isinstance(code, int) and not isinstance(code, bool):
                return code, str(message)
            if message is not None:
                return None, str(message)
    return None, _excerpt(body)


def _excerpt(body: bytes) -> str:
    if not body:
        return "an empty body"
    text = " ".join(body[:400].decode("utf-8", "replace").split())
    return repr(text[:160] + ("…" if len(text) > 160 or len(body) > 400 else ""))


def _looks_like_json(body: bytes) -> bool:
    body = body if body[-1:] in b"}]" else body.strip()
    return (body[:1] == b"{" and body[-1:] == b"}") or (body[:1] == b"[" and body[-1:] == b"]")


def _pause(status: int, message: str, retry_after: str | None, now_there: float) -> float:
    """Return the seconds to wait after a refusal. ``now_there`` is the exchange's time, epoch seconds.

    A number of seconds is used as it is. A date is compared with a clock that may be wrong, so it may lengthen the
    default pause but never shortens it. Zero and garbage are ignored.
    """
    seconds = _seconds(retry_after)
    if seconds is not None and seconds > 0:
        return min(max(seconds, 1.0), _LONGEST_BAN)
    pause = _DEFAULT_PAUSE.get(status, _DEFAULT_PAUSE[429])
    until = _date(retry_after)
    if until is None and (banned := _BANNED_UNTIL.search(message)):
        until = int(banned[1]) / 1000
    if until is not None:
        pause = max(pause, until - now_there)
    return min(pause, _LONGEST_BAN)


def _seconds(value: str | None) -> float | None:
    """Return the number in a header, None if there is none."""
    if value is None or not re.fullmatch(r"-?\d{1,18}(\.\d{1,18})?", value.strip()):
        return None
    return float(value)


def _date(value: str | None) -> float | None:
    """Return the date in a header as epoch seconds, None if there is none."""
    if value is None:
        return None
    try:
        date = email.utils.parsedate_to_datetime(value.strip())
        return (date if date.tzinfo is not None else date.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return None


def error_body(code: int, message: str) -> bytes:
    """Return an error in the form that clients of the exchange can read: ``{"code": …, "msg": …}``."""
    return orjson.dumps({"code": code, "msg": message})
