"""HTTP responses of the exchange: bans, pauses, strange bodies, used weight."""

from __future__ import annotations

import pytest
from requests.structures import CaseInsensitiveDict

from ats_sync.errors import MalformedAnswer, RateLimited, RequestRejected
from ats_sync.venue.responses import classify, used_weight

NOW = 1_700_000_000.0


@pytest.mark.parametrize(("text", "used"), [("17", 17), ("0", 0), ("", None), ("-1", None), ("1.5", None), ("²", None)])
def test_used_weight(text: str, used: int | None) -> None:
    assert used_weight(CaseInsensitiveDict({"x-mbx-used-weight-1m": text})) == used
    assert used_weight({}) is None


@pytest.mark.parametrize(
    ("header", "pause"),
    [
        ("5", 5),
        (" 7 ", 7),
        ("1.5", 1.5),
        ("0.2", 1),
        ("0", 60),
        ("31536000", 3 * 86400),
        ("99999999999999", 3 * 86400),
        ("Tue, 14 Nov 2023 22:16:50 GMT", 210),
        ("Tue, 14 Nov 2023 22:16:50 -0000", 210),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 60),
        ("Tue, 14 Nov 2023 22:00:00 GMT", 60),
        ("Tue, 14 Nov 9999 22:00:00 GMT", 3 * 86400),
        ("soon", 60),
        ("-5", 60),
        ("", 60),
    ],
)
def test_retry_after(header: str, pause: float) -> None:
    error = classify(429, b"", CaseInsensitiveDict({"retry-after": header}), now_wall=NOW)
    assert isinstance(error, RateLimited)
    assert error.retry_at == pytest.approx(NOW + pause)


BAN = b'{"code":-1003,"msg":"Way too many requests; IP(1.2.3.4) banned until %d. Please use the websocket."}'


def banned(until: float, *, ahead: float, headers: dict[str, str] | None = None, known: bool = True) -> RateLimited:
    """Return what a ban until ``until`` (exchange, seconds) means on a machine whose clock is ``ahead``."""
    error = classify(
        418,
        BAN % round(until * 1000),
        CaseInsensitiveDict(headers or {}),
        now_wall=NOW + ahead,
        now_exchange=NOW if known else NOW + ahead,
    )
    assert isinstance(error, RateLimited)
    return error


@pytest.mark.parametrize("ahead", [600.0, 0.0, -600.0])
@pytest.mark.parametrize("lasts", [300.0, 7_200.0])
def test_the_end_of_a_ban_is_measured_by_the_exchanges_clock(ahead: float, lasts: float) -> None:
    assert banned(NOW + lasts, ahead=ahead).retry_at == pytest.approx(NOW + ahead + lasts)


@pytest.mark.parametrize("ahead", [600.0, -600.0])
def test_the_answers_own_date_counts_until_the_exchanges_clock_is_known(ahead: float) -> None:
    date = {"Date": "Tue, 14 Nov 2023 22:13:20 GMT"}
    assert banned(NOW + 300, ahead=ahead, headers=date, known=False).retry_at == pytest.approx(NOW + ahead + 300)


@pytest.mark.parametrize("until", [NOW - 5, NOW + 30, 10_000_000.0])
def test_a_ban_that_seems_to_be_over_is_waited_out_for_the_usual_time(until: float) -> None:
    assert banned(until, ahead=0.0).retry_at == NOW + 120
    # The clock is unknown and ten minutes ahead: the next request once followed after a second.
    assert banned(until, ahead=600.0, known=False).retry_at == NOW + 600 + 120


def test_a_ban_that_never_ends_is_tested_after_three_days() -> None:
    assert banned(NOW + 365 * 86400, ahead=0.0).retry_at == NOW + 3 * 86400


def test_where_both_forms_are_given_the_seconds_count() -> None:
    assert banned(NOW + 900, ahead=600.0, headers={"Retry-After": "300"}).retry_at == NOW + 600 + 300
    assert banned(NOW + 900, ahead=600.0, headers={"Retry-After": "0"}).retry_at == NOW + 600 + 900


def test_a_refusal_without_a_time_has_the_usual_pause() -> None:
    error = classify(429, b"", CaseInsensitiveDict(), now_wall=NOW + 600, now_exchange=NOW)
    assert isinstance(error, RateLimited)
    assert error.retry_at == NOW + 660


@pytest.mark.parametrize(
    "body", [b'{"code":"text","msg":5}', b"[1]", b"[" * 100_000, b"\xff\xfe", b'{"msg":"no code"}', b"null"]
)
def test_strange_error_bodies_are_still_classified(body: bytes) -> None:
    error = classify(400, body, {}, now_wall=NOW)
    assert isinstance(error, RequestRejected)
    assert error.code is None
    assert len(str(error)) < 400


@pytest.mark.parametrize("body", [b"{}", b"[]", b"[1]\n", b' {"a":1} '])
def test_json_like_bodies_pass(body: bytes) -> None:
    assert classify(200, body, {}, now_wall=NOW) is None


@pytest.mark.parametrize("body", [b"", b"{", b"[}", b"{]", b"null", b"<html>}", b"}{"])
def test_other_bodies_do_not_pass(body: bytes) -> None:
    assert isinstance(classify(200, body, {}, now_wall=NOW), MalformedAnswer)
