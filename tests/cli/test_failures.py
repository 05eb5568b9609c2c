"""The command's own errors."""

from __future__ import annotations

import sys

import pytest

from ats_sync import DataUnavailableError, InvalidSymbol, RequestTimeout
from ats_sync.cli.failures import CommandFailed, asking, need


def test_need_names_every_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(CommandFailed, match=r"demo needs rich and aiohttp; install with: .* rich aiohttp$") as caught:
        need("demo", "rich", "json", "aiohttp")
    assert caught.value.status == 2
    need("demo", "json")


@pytest.mark.parametrize("error", [RequestTimeout("too late"), DataUnavailableError("too late")])
def test_a_failed_request_names_its_host(error: Exception) -> None:
    with pytest.raises(CommandFailed, match=r"^http://host: too late$") as caught, asking("http://host"):
        raise error
    assert caught.value.status == 1
    assert caught.value.__cause__ is error


def test_other_errors_pass_through() -> None:
    with pytest.raises(InvalidSymbol), asking("http://host"):
        raise InvalidSymbol("no such symbol")
