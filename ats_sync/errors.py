"""The exception tree.

Every error raised on purpose by this library is an :class:`AtsSyncError`. Each says what to do and
carries ``retryable``: whether the same call may succeed later without a change by the caller.
Network errors are also :class:`OSError` and bad input is also :class:`ValueError`, so code written
for ``urllib`` keeps working::

    AtsSyncError
    ├── ConfigError (ValueError)              a setting is wrong
    ├── InvalidArgument (ValueError)          an argument is wrong: limit, type, empty list
    │   ├── InvalidSymbol                     malformed, or not listed by the exchange
    │   └── InvalidInterval
    ├── NotRunning (RuntimeError)             the manager is closed
    ├── ReentrantCall (RuntimeError)
    ├── NoSpotPair (LookupError)              a perpetual without a spot market of the same name
    ├── MissingExtra (ImportError)            a read needs a package that is not installed; names the extra
    ├── DataError (OSError)
    │   ├── StartTimeout (TimeoutError)       start() ran out of time; names what is missing
    │   ├── StaleDataError                    too old and could not be refreshed; carries age, bound, data
    │   ├── DataUnavailableError              nothing is known and nothing could be fetched
    │   ├── NotInMemory                       not fresh in memory, and the read must not wait
    │   └── SharedStoreUnavailable (ConnectionError)  Valkey or Redis does not answer
    └── RequestError (OSError)                one REST request failed
        ├── RequestRejected                   4xx: the request is wrong
        ├── RateLimited                       429, 418, or our own budget; carries retry_at
        ├── AccessDenied                      403, 451: the exchange blocks this address
        ├── ExchangeFailure                   5xx and the codes that mean the same
        ├── ThreadUnavailable (RuntimeError)
        ├── MalformedAnswer (ValueError)      not the expected JSON
        └── ConnectionFailed (ConnectionError)
            ├── HostNotFound
            ├── CertificateRejected           the server's certificate does not verify
            ├── ProxyRefused                  the proxy refuses the connection (407, …)
            └── RequestTimeout (TimeoutError)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class AtsSyncError(Exception):
    """Root of the tree. ``retryable`` says whether trying again later can help."""

    retryable: bool = False


class ConfigError(AtsSyncError, ValueError):
    """A setting is unusable; the message names it and what it must look like."""


class InvalidArgument(AtsSyncError, ValueError):
    """An argument is unusable; nothing was sent."""


class InvalidSymbol(InvalidArgument):
    """A symbol is malformed, or the exchange does not list it (any more)."""


class InvalidInterval(InvalidArgument):
    """A kline interval or open interest period does not exist on the exchange."""


class NotRunning(AtsSyncError, RuntimeError):
    """The manager was closed (or never started), and this call needs it running."""


class ReentrantCall(AtsSyncError, RuntimeError):
    """A signal handler called the library while it had interrupted another call of it; that call must end first."""

    retryable = True


class NoSpotPair(AtsSyncError, LookupError):
    """This perpetual has no spot market of the same name (remembered: the next call sends nothing)."""


class MissingExtra(AtsSyncError, ImportError):
    """A read needs a package that is not installed; the text names the extra that includes it."""


class DataError(AtsSyncError, OSError):
    """No answer within its freshness bound was available.

    ``retry_at`` is the epoch time in seconds from which requests are allowed again, if the exchange said to wait.
    """

    retryable = True
    retry_at: float | None = None


class StartTimeout(DataError, TimeoutError):
    """``start(timeout=…)`` ran out of time. The manager keeps warming up; ``missing`` names what is not ready."""

    def __init__(self, message: str, missing: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.missing = tuple(missing)


class StaleDataError(DataError):
    """The last known data is older than its bound and REST could not refresh it.

    ``age`` and ``bound`` are seconds, ``data`` is what the read would have returned.
    """

    def __init__(self, message: str, *, age: float = 0.0, bound: float = 0.0, data: Any = None) -> None:
        super().__init__(message)
        self.age = age
        self.bound = bound
        self.data = data


class DataUnavailableError(DataError):
    """Nothing is known yet and REST could not answer. The cause is chained."""


class NotInMemory(DataError):
    """Memory had no fresh answer, and reads inside ``memory_only()`` send no requests."""


class SharedStoreUnavailable(DataError, ConnectionError):
    """The shared store (Valkey or Redis) does not answer in time, or refuses; the text names it without a password."""

    refused = False
    """Whether the store answered with a refusal; its memory may be full."""


class RequestError(AtsSyncError, OSError):
    """One REST request failed.

    ``status`` is the HTTP status (None if there was no answer), ``code`` the exchange's own error number (such as
    -1121), both also in the text. ``body`` is the answer as received, empty if there was none.
    """

    body: bytes = b""

    def __init__(self, message: str, *, status: int | None = None, code: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class RequestRejected(RequestError):
    """The exchange refused the request as wrong (4xx); sending it again cannot help."""


class RateLimited(RequestError):
    """Too many requests (429), a ban (418), or no budget left before the deadline.

    ``retry_at`` is the epoch time in seconds from which requests to the host are allowed again.
    """

    retryable = True

    def __init__(
        self, message: str, *, retry_at: float = 0.0, status: int | None = None, code: int | None = None
    ) -> None:
        super().__init__(message, status=status, code=code)
        self.retry_at = retry_at


class AccessDenied(RequestError):
    """Access is blocked by a firewall (403) or for this country (451): nothing this program sends can change it."""


class ExchangeFailure(RequestError):
    """The exchange failed (5xx, -1000, -1001, -1007); the next request may succeed."""

    retryable = True


class MalformedAnswer(RequestError, ValueError):
    """The body is not as expected: HTML, empty, truncated, or of another shape."""

    retryable = True


class ConnectionFailed(RequestError, ConnectionError):
    """No connection was made, or it broke before the answer was complete."""

    retryable = True
    unsent: bool = False
    """Whether the request certainly never reached the exchange."""


class HostNotFound(ConnectionFailed):
    """The host name does not resolve; ``temporary`` if the name server could not be reached just now."""

    temporary: bool = False


class CertificateRejected(ConnectionFailed):
    """The server's certificate does not verify: a proxy intercepts TLS (set ``ca_file`` to its authority), or the
    clock or host name is wrong."""

    retryable = False


class ProxyRefused(ConnectionFailed):
    """The proxy refuses the connection, for example with 407 if it needs a user name and password."""

    retryable = False


class ThreadUnavailable(RequestError, RuntimeError):
    """The system refused to start a thread (a limit on processes, an interpreter at shutdown).

    Nothing of ours is left behind; the next call tries again.
    """

    retryable = True


class RequestTimeout(ConnectionFailed, TimeoutError):
    """The answer was not complete when its deadline passed."""
