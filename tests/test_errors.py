from __future__ import annotations

import inspect
import pickle
import re

import pytest

from ats_sync import errors
from ats_sync.errors import AtsSyncError

TREE = {
    "ConfigError": ("AtsSyncError", ValueError),
    "InvalidArgument": ("AtsSyncError", ValueError),
    "InvalidSymbol": ("InvalidArgument", ValueError),
    "InvalidInterval": ("InvalidArgument", ValueError),
    "NotRunning": ("AtsSyncError", RuntimeError),
    "ReentrantCall": ("AtsSyncError", RuntimeError),
    "NoSpotPair": ("AtsSyncError", LookupError),
    "MissingExtra": ("AtsSyncError", ImportError),
    "DataError": ("AtsSyncError", OSError),
    "StartTimeout": ("DataError", TimeoutError),
    "StaleDataError": ("DataError", OSError),
    "DataUnavailableError": ("DataError", OSError),
    "NotInMemory": ("DataError", OSError),
    "SharedStoreUnavailable": ("DataError", ConnectionError),
    "RequestError": ("AtsSyncError", OSError),
    "RequestRejected": ("RequestError", OSError),
    "RateLimited": ("RequestError", OSError),
    "AccessDenied": ("RequestError", OSError),
    "ExchangeFailure": ("RequestError", OSError),
    "MalformedAnswer": ("RequestError", ValueError),
    "ConnectionFailed": ("RequestError", ConnectionError),
    "HostNotFound": ("ConnectionFailed", ConnectionError),
    "CertificateRejected": ("ConnectionFailed", ConnectionError),
    "ProxyRefused": ("ConnectionFailed", ConnectionError),
    "RequestTimeout": ("ConnectionFailed", TimeoutError),
    "ThreadUnavailable": ("RequestError", RuntimeError),
}
RETRYABLE = {
    "ReentrantCall",
    "DataError",
    "StartTimeout",
    "StaleDataError",
    "DataUnavailableError",
    "NotInMemory",
    "SharedStoreUnavailable",
    "RateLimited",
    "ExchangeFailure",
    "MalformedAnswer",
    "ConnectionFailed",
    "HostNotFound",
    "RequestTimeout",
    "ThreadUnavailable",
}


def kinds() -> dict[str, type[AtsSyncError]]:
    return {
        name: kind
        for name, kind in inspect.getmembers(errors, inspect.isclass)
        if issubclass(kind, AtsSyncError) and kind is not AtsSyncError
    }


def made(kind: type[AtsSyncError]) -> AtsSyncError:
    if issubclass(kind, errors.RateLimited):
        return kind("text", retry_at=5.0)
    if issubclass(kind, errors.StaleDataError):
        return kind("text", age=3.0, bound=1.0, data=[1])
    return kind("text")


def test_the_tree_is_complete() -> None:
    assert set(kinds()) == set(TREE)


@pytest.mark.parametrize(("name", "parents"), TREE.items())
def test_every_error_has_its_parents(name: str, parents: tuple[str, type]) -> None:
    kind = kinds()[name]
    ours, builtin = parents
    assert issubclass(kind, getattr(errors, ours))
    assert issubclass(kind, builtin)
    assert kind.retryable is (name in RETRYABLE)
    assert kind.__doc__


@pytest.mark.parametrize("name", TREE)
def test_every_error_shows_its_text(name: str) -> None:
    assert str(made(kinds()[name])) == "text"


def test_the_tree_in_the_docstring_is_the_real_one() -> None:
    assert errors.__doc__ is not None
    drawn = dict(re.findall(r"[├└]── (\w+)(?: \((\w+)\))?", errors.__doc__))
    assert set(drawn) == set(TREE)
    for name, builtin in drawn.items():
        if builtin:
            assert builtin in {base.__name__ for base in kinds()[name].__mro__}


def test_errors_carry_their_figures() -> None:
    stale = errors.StaleDataError("x", age=3.0, bound=1.0, data=[1])
    assert (stale.age, stale.bound, stale.data, stale.retry_at) == (3.0, 1.0, [1], None)
    late = errors.StartTimeout("x", ["BTCUSDT klines 1h"])
    assert late.missing == ("BTCUSDT klines 1h",)
    assert errors.StartTimeout("x").missing == ()
    limited = errors.RateLimited("x", retry_at=7.0, status=429, code=-1003)
    assert (limited.retry_at, limited.status, limited.code) == (7.0, 429, -1003)
    rejected = errors.RequestRejected("x", status=400, code=-1121)
    assert (rejected.status, rejected.code) == (400, -1121)
    assert (errors.RequestError("x").status, errors.RequestError("x").code) == (None, None)


def test_code_written_for_urllib_catches_them() -> None:
    with pytest.raises(OSError, match="cut"):
        raise errors.ConnectionFailed("cut")
    with pytest.raises(TimeoutError):
        raise errors.RequestTimeout("late")
    with pytest.raises(ValueError, match="html"):
        raise errors.MalformedAnswer("html")


@pytest.mark.parametrize("name", [name for name in TREE if name not in ("RateLimited", "StaleDataError")])
def test_errors_can_be_pickled(name: str) -> None:
    error = pickle.loads(pickle.dumps(made(kinds()[name])))
    assert type(error) is kinds()[name]
    assert str(error) == "text"


@pytest.mark.parametrize("name", ["RateLimited", "StaleDataError"])
def test_errors_that_carry_figures_can_be_pickled_too(name: str) -> None:
    error = pickle.loads(pickle.dumps(made(kinds()[name])))
    assert vars(error) == vars(made(kinds()[name]))
