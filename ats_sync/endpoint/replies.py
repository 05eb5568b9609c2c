"""What goes back to a client: bodies with their status, and errors in the exchange's own form."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ..errors import (
    AccessDenied,
    DataError,
    ExchangeFailure,
    InvalidInterval,
    InvalidSymbol,
    RateLimited,
    RequestError,
    RequestRejected,
)
from ..venue.endpoints import UNKNOWN_INTERVAL, UNKNOWN_SYMBOL
from ..venue.responses import DISCONNECTED, TOO_MANY_REQUESTS, UNAUTHORIZED, UNKNOWN, error_body

JSON = "application/json"
HTML = "text/html"
MEMORY, REST = "memory", "rest"


@dataclass(frozen=True, slots=True)
class Reply:
    """A response without what only its connection knows."""

    status: int
    body: bytes
    content_type: str = JSON
    source: str = ""
    """``memory`` or ``rest``; empty for what is neither."""
    age: float | None = None
    """Seconds."""
    retry_after: int | None = None
    """Seconds."""
    allow: str = ""
    """The methods, where another one was used."""
    headers: tuple[tuple[str, str], ...] = ()
    """Further headers."""


def refused(status: int, message: str) -> Reply:
    """Return our own refusal: the sentence as the exchange would write its own."""
    return Reply(status, error_body(UNAUTHORIZED, message))


def failed(error: Exception, now: float) -> Reply:
    """Return what a client is to see of a read that failed at ``now`` (epoch seconds of this machine).

    An answer of the exchange goes back as it came. Too many requests, by its count or by our budget, are 429 (or the
    418 of a ban) with ``Retry-After``; whatever only time can mend is 503 with -1001.
    """
    cause = _request_error(error)
    if isinstance(error, RateLimited) or (isinstance(error, DataError) and error.retry_at is not None):
        status = 418 if cause is not None and cause.status == 418 else 429
        seconds = max(1, math.ceil((error.retry_at or now) - now))
        reply = _as_it_came(cause, status) or Reply(status, error_body(TOO_MANY_REQUESTS, str(error)))
        return replace(reply, retry_after=seconds)
    if isinstance(cause, (RequestRejected, AccessDenied)) and cause.status is not None and cause.status >= 400:
        message = "Invalid symbol." if cause.code == UNKNOWN_SYMBOL else str(cause)
        written = Reply(cause.status, error_body(UNKNOWN if cause.code is None else cause.code, message))
        return _as_it_came(cause, cause.status) or written
    if isinstance(cause, RequestRejected) and cause.code is not None:
        return _as_it_came(cause, 400) or Reply(400, error_body(cause.code, str(cause)))
    if isinstance(error, InvalidSymbol):
        return Reply(400, error_body(UNKNOWN_SYMBOL, "Invalid symbol."))
    if isinstance(error, InvalidInterval):
        return Reply(400, error_body(UNKNOWN_INTERVAL, "Invalid interval."))
    if isinstance(cause, ExchangeFailure) and cause.code is not None and cause.status is not None:
        came = _as_it_came(cause, cause.status if cause.status >= 400 else 503)
        if came is not None:
            return came
    return Reply(503, error_body(DISCONNECTED, f"Internal error; unable to process your request. {error}"))


def _request_error(error: BaseException) -> RequestError | None:
    """Return the failed request behind an error, None where there is none."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, RequestError):
        seen = seen.__cause__
    return seen


def _as_it_came(cause: RequestError | None, status: int) -> Reply | None:
    if cause is None or not cause.body or cause.status is None:
        return None
    return Reply(status, cause.body, JSON if cause.body[:1] in (b"{", b"[") else HTML)
