"""REST: one request, what its answer means as an error, and trying again."""

from __future__ import annotations

import email.utils
import http.client
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timezone
from typing import TypeVar
from urllib.parse import urlsplit

import requests
import tenacity
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import HTTPError

from ..clock import Clock
from ..config import Config
from ..errors import (
    AccessDenied,
    ConnectionFailed,
    ExchangeFailure,
    MalformedAnswer,
    NotRunning,
    ProxyRefused,
    RateLimited,
    RequestError,
    RequestRejected,
    RequestTimeout,
)
from .adapter import ScopedAdapter, as_proxies, proxy_for
from .failures import translated
from .genuine import Session
from .sockets import CancelScope, tls_context

T = TypeVar("T")

MAX_BODY = 64 * 1024 * 1024
"""Bytes of a body, after decompression; more is not an answer of this exchange."""

_CHUNK = 64 * 1024
_LONGEST_BAN = 3 * 86400.0
_DEFAULT_PAUSE = {429: 60.0, 418: 120.0}
_TOO_MANY_REQUESTS = -1003
_SERVER_CODES = frozenset((-1000, -1001, -1007))
_BANNED_UNTIL = re.compile(r"banned until (\d{10,16})")
_WAIT_MIN, _WAIT_MAX = 0.2, 2.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer with a good status. ``sent_at`` and ``received_at`` are seconds of ``clock.now()``:
    when the request was handed to the socket and when the last byte had come."""

    body: bytes
    status: int
    headers: Mapping[str, str]
    sent_at: float
    received_at: float


class RestClient:
    """Sends GET requests, one at a time. Belongs to one thread; ``scope.shutdown()`` and only that may be
    called from others: it ends the request in progress and refuses all later ones."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self.scope = CancelScope(clock)
        self._config = config
        self._clock = clock
        self._proxies: dict[str, str | None] = {}
        self._session = Session()
        # The environment is asked for proxies by proxy_for(), once a host; requests would do it, and
        # look for a .netrc, at each request.
        self._session.trust_env = False
        self._session.headers = CaseInsensitiveDict(
            {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": "ats-sync"}
        )
        adapter = ScopedAdapter(self.scope, tls_context(config.ca_file))
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def get(
        self,
        url: str,
        params: Mapping[str, str | int] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float,
    ) -> Answer:
        """One attempt. ``timeout`` seconds are for all of it, from the connection to the last byte.

        Raises a RequestError; a redirect is one, too.
        """
        started = self._clock.now()
        self.scope.deadline = started + timeout
        self.scope.sent_at = None
        what = f"GET {urlsplit(url).path}"
        try:
            self.scope.remaining()
            with self._session.get(
                url,
                params=params,
                headers=headers,
                proxies=as_proxies(self._proxy(url)),
                timeout=(min(timeout, self._config.connect_timeout), timeout),
                allow_redirects=False,
                stream=True,
            ) as response:
                body = _read(response, what)
        except RequestError:
            raise
        except (requests.RequestException, HTTPError, OSError, http.client.HTTPException) as error:
            raise self._failure(error, what, url, timeout) from error
        finally:
            self.scope.deadline = None
        received_at = self._clock.now()
        problem = classify(
            response.status_code,
            body,
            response.headers,
            now_wall=self._clock.wall(),
            now_exchange=self._clock.exchange(),
            what=what,
        )
        if problem is not None:
            raise problem
        sent_at = started if self.scope.sent_at is None else self.scope.sent_at
        return Answer(body, response.status_code, response.headers, sent_at, received_at)

    def close(self) -> None:
        """Close the connections kept for the next request. The client may be used again."""
        self._session.close()

    def _proxy(self, url: str) -> str | None:
        parts = urlsplit(url)
        host = f"{parts.scheme}://{parts.netloc}"
        if host not in self._proxies:
            self._proxies[host] = proxy_for(url, self._config)
        return self._proxies[host]

    def _failure(self, error: Exception, what: str, url: str, timeout: float) -> RequestError:
        if self.scope.stopped:
            return ConnectionFailed(f"{what}: ended, this client is shut down")
        if self.scope.expired:
            return RequestTimeout(f"{what}: not answered within {timeout:g} s")
        return translated(error, what, urlsplit(url).hostname or url)


def classify(
    status: int,
    body: bytes,
    headers: Mapping[str, str],
    *,
    now_wall: float,
    now_exchange: float | None = None,
    what: str = "the request",
) -> RequestError | None:
    """The error that an answer means, or None for one with a JSON-like body and a good status.

    ``headers`` must look names up without regard to case. ``now_wall`` is this machine's clock and ``now_exchange``
    the exchange's, as far as it is known, both in epoch seconds: what the exchange says of time is measured by its
    own, and ``retry_at`` is a time of this machine. The JSON is not checked further than its first and last character.
    """
    code, message = _exchange_error(status, body)
    text = f"{what}: HTTP {status}" + ("" if code is None else f", code {code}") + f": {message}"
    if status in (403, 451):
        reason = "a firewall bars this address" if status == 403 else "the exchange does not serve this country"
        return AccessDenied(f"{text} ({reason}; sending it again does not help)", status=status, code=code)
    if status == 407:
        return ProxyRefused(
            f"{text} (the proxy wants a user and a password: http://user:password@host:port)", status=status
        )
    if status in (429, 418) or code == _TOO_MANY_REQUESTS:
        now_there = _date(headers.get("Date"))
        if now_there is None:
            now_there = now_wall if now_exchange is None else now_exchange
        pause = _pause(status, message, headers.get("Retry-After"), now_there)
        text += f" (to be asked again in {pause:.0f} s)"
        return RateLimited(text, retry_at=now_wall + pause, status=status, code=code)
    # 408 is how the exchange reports a time-out behind its front end.
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


def retrying(attempt: Callable[[], T], *, deadline: float, clock: Clock, stop: threading.Event, attempts: int = 3) -> T:
    """``attempt()``, again after a retryable RequestError other than RateLimited: at most ``attempts``
    times, and never waiting past ``deadline`` (seconds of ``clock.now()``).

    The last error is raised as it is; NotRunning when ``stop`` is set before or between attempts.
    """

    def wait(seconds: float) -> None:
        if clock.wait(stop, seconds):
            raise NotRunning("closed while waiting to try a request again")

    def give_up_if_too_late(state: tenacity.RetryCallState) -> None:
        if state.next_action is not None and state.outcome is not None:
            error = state.outcome.exception()
            if error is not None and clock.now() + state.next_action.sleep >= deadline:
                raise error

    if stop.is_set():
        raise NotRunning("closed")
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception(_worth_retrying),
        stop=tenacity.stop_after_attempt(attempts),
        wait=tenacity.wait_exponential(multiplier=_WAIT_MIN, max=_WAIT_MAX) + tenacity.wait_random(0, _WAIT_MIN),
        sleep=wait,
        before_sleep=give_up_if_too_late,
        reraise=True,
    )(attempt)


def _worth_retrying(error: BaseException) -> bool:
    return isinstance(error, RequestError) and error.retryable and not isinstance(error, RateLimited)


def _read(response: requests.Response, what: str) -> bytes:
    chunks = []
    size = 0
    for chunk in response.iter_content(_CHUNK):
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_BODY:
            raise MalformedAnswer(
                f"{what}: HTTP {response.status_code}, a body of more than {MAX_BODY} bytes",
                status=response.status_code,
            )
    return b"".join(chunks)


def _exchange_error(status: int, body: bytes) -> tuple[int | None, str]:
    """The exchange's code and message; of a good answer only when it plainly is an error object."""
    if status >= 400 or body.startswith(b'{"code":-'):
        try:
            value = json.loads(body)
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
    """Seconds to wait after a refusal. ``now_there`` is the exchange's time, epoch seconds.

    A number of seconds is what the exchange means. A moment is compared with a clock that may be off, so it may
    lengthen the usual pause and never shortens it. What is no time to wait (zero, garbage) counts as nothing.
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
    """The number a header holds, None if it holds none."""
    if value is None or not re.fullmatch(r"-?\d{1,18}(\.\d{1,18})?", value.strip()):
        return None
    return float(value)


def _date(value: str | None) -> float | None:
    """Epoch seconds of a header that holds a date, None if it holds none."""
    if value is None:
        return None
    try:
        date = email.utils.parsedate_to_datetime(value.strip())
        return (date if date.tzinfo is not None else date.replace(tzinfo=timezone.utc)).timestamp()
    except (ValueError, OverflowError):
        return None
