"""An obstacle is what is wrong now, in the place where it is wrong."""

from __future__ import annotations

import pytest

from ats_sync.engine.obstacles import ATTEMPTS, Obstacles
from ats_sync.errors import (
    AccessDenied,
    AtsSyncError,
    CertificateRejected,
    ConnectionFailed,
    ExchangeFailure,
    HostNotFound,
    ProxyRefused,
    RequestRejected,
)
from ats_sync.venue.endpoints import Host, Route


def not_found(*, temporary: bool) -> HostNotFound:
    error = HostNotFound("it does not resolve")
    error.temporary = temporary
    return error


NEVER = [
    CertificateRejected("it does not verify"),
    ProxyRefused("407"),
    not_found(temporary=False),
    RequestRejected("no such path", status=404),
    RequestRejected("redirected", status=301),
]
PERHAPS = [
    ConnectionFailed("reset"),
    ExchangeFailure("busy", status=502),
    not_found(temporary=True),
    RequestRejected("Invalid symbol.", status=400, code=-1121),
]


@pytest.mark.parametrize("where", [Host.FUTURES, Route.MARKET])
@pytest.mark.parametrize("error", NEVER, ids=str)
def test_a_permanent_failure_is_hopeless_after_a_few_attempts(where: Host | Route, error: AtsSyncError) -> None:
    obstacles = Obstacles()
    for _ in range(ATTEMPTS):
        assert obstacles.hopeless() is None
        obstacles.failed(where, error)
    assert obstacles.hopeless() is error


@pytest.mark.parametrize("error", PERHAPS, ids=str)
def test_a_temporary_failure_is_never_hopeless(error: AtsSyncError) -> None:
    obstacles = Obstacles()
    for _ in range(100):
        obstacles.failed(Host.FUTURES, error)
    assert obstacles.hopeless() is None
    assert obstacles.present(Host.FUTURES) is error


def test_a_success_ends_the_trouble_of_its_host_and_of_no_other() -> None:
    obstacles = Obstacles()
    for where in (Host.FUTURES, Host.SPOT):
        for _ in range(ATTEMPTS):
            obstacles.failed(where, NEVER[0])
    assert obstacles.succeeded(Host.FUTURES) == ATTEMPTS
    assert obstacles.succeeded(Host.FUTURES) == 0
    assert obstacles.present(Host.FUTURES) is None
    assert obstacles.hopeless() is NEVER[0]
    obstacles.succeeded(Host.SPOT)
    assert obstacles.hopeless() is None


def test_only_failures_in_a_row_count() -> None:
    obstacles = Obstacles()
    for _ in range(ATTEMPTS):
        obstacles.failed(Host.FUTURES, NEVER[0])
        obstacles.failed(Host.FUTURES, PERHAPS[0])
    assert obstacles.hopeless() is None


def test_rest_that_bars_the_address_is_hopeless_at_once_and_streams_leave_rest_to_serve() -> None:
    barred = AccessDenied("firewall", status=403)
    obstacles = Obstacles()
    for _ in range(10):
        obstacles.failed(Route.MARKET, barred)
    assert obstacles.hopeless() is None
    obstacles.failed(Host.FUTURES, barred)
    assert obstacles.hopeless() is barred


def test_one_refusal_of_a_host_that_has_answered_before_is_not_hopeless() -> None:
    barred = AccessDenied("firewall", status=403)
    obstacles = Obstacles()
    obstacles.succeeded(Host.FUTURES)
    for _ in range(ATTEMPTS - 1):
        obstacles.failed(Host.FUTURES, barred)
        assert obstacles.hopeless() is None
    obstacles.failed(Host.FUTURES, barred)
    assert obstacles.hopeless() is barred


def test_only_the_places_that_are_waited_for_count() -> None:
    obstacles = Obstacles()
    for _ in range(ATTEMPTS):
        obstacles.failed(Host.SPOT, NEVER[0])
    assert obstacles.hopeless({Host.FUTURES, Route.MARKET}) is None
    assert obstacles.hopeless({Host.FUTURES, Host.SPOT}) is NEVER[0]
