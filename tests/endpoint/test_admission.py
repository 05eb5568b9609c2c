"""Who is let in."""

from __future__ import annotations

import base64

import pytest

from ats_sync import ConfigError
from ats_sync.endpoint.admission import Admission, is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert is_loopback(host)
    assert Admission(host, None).refusal("GET", {"Host": "localhost:8787"}) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])
def test_any_other_host_needs_a_token(host: str) -> None:
    with pytest.raises(ConfigError, match="token"):
        Admission(host, None)
    Admission(host, "a long secret")


@pytest.mark.parametrize("token", ["", "short", "not ascii é", "line\nbreak"])
def test_a_token_is_long_and_printable(token: str) -> None:
    with pytest.raises(ConfigError, match="8 to 200"):
        Admission("127.0.0.1", token)


@pytest.mark.parametrize(("unit", "status"), [("MICROSECOND", 400), ("millisecond", None), ("", None)])
def test_times_in_units_other_than_milliseconds_are_refused(unit: str, status: int | None) -> None:
    refusal = Admission("127.0.0.1", None).refusal("GET", {"Host": "127.0.0.1", "X-MBX-TIME-UNIT": unit})
    assert (refusal.status if refusal is not None else None) == status


@pytest.mark.parametrize("name", ["127.0.0.1", "127.0.0.1:8787", "LOCALHOST:1", "[::1]:8787"])
def test_names_of_this_machine(name: str) -> None:
    assert Admission("127.0.0.1", None).refusal("GET", {"Host": name}) is None


@pytest.mark.parametrize("name", ["", "evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8787", "[::2]"])
def test_other_names(name: str) -> None:
    refusal = Admission("127.0.0.1", None).refusal("GET", {"Host": name})
    assert refusal is not None
    assert refusal.status == 403


@pytest.mark.parametrize(
    ("authorization", "admitted"),
    [
        ("Bearer a long secret", True),
        ("bearer a long secret", True),
        ("Basic " + base64.b64encode(b"any:a long secret").decode(), True),
        ("Basic " + base64.b64encode(b"a long secret:").decode(), False),
        ("Basic ###", False),
        ("Bearer a long secre", False),
        ("a long secret", False),
        ("", False),
    ],
)
def test_the_token(authorization: str, admitted: bool) -> None:
    refusal = Admission("0.0.0.0", "a long secret").refusal("GET", {"Authorization": authorization, "Host": "x"})
    assert (refusal is None) is admitted


def test_an_empty_key_counts_as_none() -> None:
    admission = Admission("127.0.0.1", None)
    assert admission.refusal("GET", {"Host": "localhost", "X-MBX-APIKEY": ""}) is None
    refusal = admission.refusal("GET", {"Host": "localhost", "X-MBX-APIKEY": "k"})
    assert refusal is not None
    assert refusal.status == 403
