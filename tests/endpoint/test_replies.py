"""What a failed read looks like to a client of the exchange."""

from __future__ import annotations

import orjson
import pytest

from ats_sync.endpoint.replies import Reply, failed
from ats_sync.errors import (
    AccessDenied,
    DataUnavailableError,
    ExchangeFailure,
    InvalidSymbol,
    MalformedAnswer,
    NotRunning,
    RateLimited,
    RequestRejected,
    RequestTimeout,
    StaleDataError,
)

NOW = 1_000.0
BANNED = b'{"code":-1003,"msg":"Way too many requests; IP banned until 1."}'


def code_of(reply: Reply) -> int:
    return int(orjson.loads(reply.body)["code"])


def test_an_answer_of_the_exchange_goes_back_as_it_came() -> None:
    error = RequestRejected("GET: HTTP 400", status=400, code=-1120)
    error.body = b'{"code":-1120,"msg":"Invalid interval."}'
    assert failed(error, NOW) == Reply(400, error.body)
    page = RequestRejected("GET: HTTP 404", status=404)
    page.body = b"<html>"
    assert failed(page, NOW) == Reply(404, b"<html>", "text/html")
    barred = AccessDenied("GET: HTTP 451", status=451)
    barred.body = b'{"code":0,"msg":"restricted"}'
    assert failed(barred, NOW) == Reply(451, barred.body)


def test_a_refusal_that_is_known_beforehand_reads_as_the_exchange_writes_it() -> None:
    expected = Reply(400, b'{"code":-1121,"msg":"Invalid symbol."}')
    assert failed(RequestRejected("known beforehand", status=400, code=-1121), NOW) == expected
    assert failed(InvalidSymbol("no such contract"), NOW) == expected


def test_too_many_requests_say_when_to_retry() -> None:
    ours = failed(RateLimited("the budget is used up", retry_at=NOW + 3.2), NOW)
    assert (ours.status, code_of(ours), ours.retry_after) == (429, -1003, 4)
    ban = RateLimited("HTTP 418", retry_at=NOW + 120, status=418, code=-1003)
    ban.body = BANNED
    assert failed(ban, NOW) == Reply(418, BANNED, retry_after=120)
    past = failed(RateLimited("just over", retry_at=NOW - 5), NOW)
    assert past.retry_after == 1


def test_stale_data_that_nothing_could_refresh_say_when_to_retry() -> None:
    try:
        raise StaleDataError("9 s old", age=9.0, bound=5.0, data=[1]) from RateLimited("budget", retry_at=NOW + 7)
    except StaleDataError as error:
        error.retry_at = NOW + 7
        reply = failed(error, NOW)
    assert (reply.status, code_of(reply), reply.retry_after) == (429, -1003, 7)


@pytest.mark.parametrize(
    "error",
    [
        RequestTimeout("no answer"),
        MalformedAnswer("a page", status=200),
        ExchangeFailure("HTTP 502: a page", status=502),
        DataUnavailableError("nothing known"),
        NotRunning("closed"),
        RequestRejected("HTTP 302, redirected", status=302),
    ],
)
def test_what_only_time_can_cure_is_503(error: Exception) -> None:
    reply = failed(error, NOW)
    assert (reply.status, code_of(reply)) == (503, -1001)
