"""REST: a single request, and retries."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import urlsplit

import requests
import tenacity
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import HTTPError

from ..clock import Clock
from ..config import Config
from ..errors import (
    ConnectionFailed,
    MalformedAnswer,
    NotRunning,
    RateLimited,
    RequestError,
    RequestTimeout,
)
from ..venue.responses import classify
from .adapter import ScopedAdapter, as_proxies, proxy_for
from .answer import Answer
from .failures import translated
from .genuine import Session
from .sockets import CancelScope, tls_context

T = TypeVar("T")

MAX_BODY = 64 * 1024 * 1024
"""The maximum size of a body, after decompression."""

_CHUNK = 64 * 1024
_LONGEST_ERROR = 64 * 1024
_WAIT_MIN, _WAIT_MAX = 0.2, 2.0


class RestClient:
    """Sends GET requests, one at a time. Belongs to one thread; others may only call ``scope.shutdown()``, which ends
    the request in progress and refuses all later ones."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self.scope = CancelScope(clock)
        self._config = config
        self._clock = clock
        self._proxies: dict[str, str | None] = {}
        self._session = Session()
        # proxy_for() reads the environment once per host; requests would read it, and a .netrc, for each request.
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
        """Send one request and return its answer, within ``timeout`` seconds from the connection to the last byte.

        Raises a RequestError, also for a redirect.
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
            if len(body) <= _LONGEST_ERROR:
                problem.body = body
            raise problem
        sent_at = started if self.scope.sent_at is None else self.scope.sent_at
        return Answer(body, response.status_code, response.headers, sent_at, received_at)

    def close(self) -> None:
        """Close the idle connections. The client may be used again."""
        self._session.close()

    def _proxy(self, url: str) -> str | None:
        parts = urlsplit(url)
        host = f"{parts.scheme}://{parts.netloc}"
        if host not in self._proxies:
            self._proxies[host] = proxy_for(url, self._config)
        return self._proxies[host]

    def _failure(self, error: Exception, what: str, url: str, timeout: float) -> RequestError:
        if self.scope.stopped:
            return ConnectionFailed(f"{what}: ended because this client was shut down")
        if self.scope.expired:
            return RequestTimeout(f"{what}: not answered within {timeout:g} s")
        return translated(error, what, urlsplit(url).hostname or url)


def retrying(attempt: Callable[[], T], *, deadline: float, clock: Clock, stop: threading.Event, attempts: int = 3) -> T:
    """Return the result of ``attempt()``, repeated after a retryable RequestError other than RateLimited: at most
    ``attempts`` times, and never waiting past ``deadline`` (seconds of ``clock.now()``).

    Raises the last error unchanged, and NotRunning if ``stop`` is set before or between attempts.
    """

    def wait(seconds: float) -> None:
        if clock.wait(stop, seconds):
            raise NotRunning("closed while waiting to retry a request")

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
