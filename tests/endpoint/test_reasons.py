"""Every reason that the library gives has a translation on the page."""

from __future__ import annotations

import ast
import errno
import os
import re
from collections.abc import Iterator
from importlib import resources
from itertools import product
from pathlib import Path

import pytest

import ats_sync
from ats_sync.endpoint import journal
from ats_sync.venue.listings import PHASES
from ats_sync.venue.responses import classify

ROOT = Path(ats_sync.__file__).parent
GIVING = (
    *("store/*.py", "engine/*.py", "look.py", "status.py", "shared_lifecycle.py"),
    *("endpoint/page.py", "endpoint/journal.py"),
    *(
        "runtime/streams.py",
        "runtime/runtime.py",
        "shared/client.py",
        "shared/replica.py",
        "shared/pull.py",
        "shared/sources.py",
        "shared/layout.py",
    ),
    *("transport/failures.py", "transport/frames.py", "transport/rest.py", "transport/stream.py"),
)
"""Where reasons come from: every sentence in these modules is one, but for those below."""
OTHERS = {
    # errors that nobody is shown as a reason
    *(
        "there are {} shards",
        "bad dump",
        "the dump's rows are unusable: {}",
        "a stream that is not followed",
        "{} in merging",
    ),
    # names
    *("repairs and probes", "warm-up, polls", "audits of candles", "trades, full books to come"),
    *("move to another connection", "warming up", "not connected", "given up"),
    # forms of what is written elsewhere, and parts of it
    *("%H:%M:%S UTC", "GET {}", "WebSocket {}://{}{}", "{}: {}", "{} {}", "{} {}: {}", "User-Agent: ats-sync"),
    *("missing: {}", "the collector is warming up", "Tunnel connection failed: (407|403|405|501)\\b"),
    # the users of a shared store, for which the page has words of its own
    *("standbys: {}", "readers: {}", "readers: unknown", "{} MB", "requests are counted without it"),
    # the page's own headers
    *("default-src 'none'", "style-src {}", "script-src {}", "connect-src 'self'", "img-src data:"),
    *("base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'", "text/html; charset=utf-8"),
    # of a call of its own
    "a quality is malformed: {}",
}
FILLED = ("", "7", "GET /fapi/v1/klines", "the shared store redis://127.0.0.1:6379/0")
"""What may stand where a reason has something of the moment."""

PAGE = resources.files("ats_sync.endpoint").joinpath("page.html").read_text("utf-8")
PATTERNS = [re.compile(each) for each in re.findall(r"^    \[/(\^.*?)/, \(", PAGE, re.MULTILINE)]
REQUEST = re.compile(r"((?:WebSocket|GET) \S+): (.*)")


def is_translated(text: str) -> bool:
    """Return whether the page translates a reason."""
    if found := REQUEST.fullmatch(text):
        return is_translated(found[2])
    return any(pattern.search(text) for pattern in PATTERNS)


def template(node: ast.AST) -> str | None:
    """Return a string's text, with ``{}`` for what is filled in; None for what is not a string."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add) and (left := template(node.left)) is not None:
        return left + (template(node.right) or "")
    return None


def sentences(node: ast.AST) -> Iterator[str]:
    """Yield the strings with spaces in a piece of a program that are neither logged nor documentation."""
    called = node.func if isinstance(node, ast.Call) else None
    if isinstance(called, ast.Attribute):
        owner = called.value
        if {"log", "_log"} & {getattr(owner, "id", ""), getattr(owner, "attr", "")}:
            return
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        name = getattr(node.exc.func, "id", "")
        if name not in ("StreamClosed", "MalformedAnswer", "MalformedFeed"):
            return
    if isinstance(node, ast.FunctionDef) and node.name in ("__str__", "__repr__"):
        return
    if isinstance(node, (ast.Assert, ast.Expr)) and not isinstance(getattr(node, "value", None), (ast.Call, ast.Yield)):
        return
    text = template(node)
    if text is not None:
        # What begins with a space is a part of one, and what has several lines a program.
        if " " in text.strip() and "\n" not in text and not text.startswith(" "):
            yield text
        return
    for child in ast.iter_child_nodes(node):
        yield from sentences(child)


def reasons() -> Iterator[str]:
    """Yield every reason in the library."""
    for pattern in GIVING:
        for path in sorted(ROOT.glob(pattern)):
            yield from sentences(ast.parse(path.read_text("utf-8")))


def filled(reason: str) -> Iterator[str]:
    """Yield a reason with its variable parts filled in."""
    for fillings in product(FILLED, repeat=reason.count("{}")):
        yield reason.format(*fillings)


def shown_reasons() -> list[str]:
    """Return each reason as the page may get it."""
    return [next(filter(is_translated, filled(reason))) for reason in sorted(set(reasons()) - OTHERS)]


def test_every_reason_is_translated() -> None:
    unsaid = [reason for reason in set(reasons()) - OTHERS if not any(map(is_translated, filled(reason)))]
    assert not unsaid, "say it in Chinese in page.html, or in OTHERS that it is not a reason"


def test_the_texts_that_are_left_out_exist() -> None:
    assert OTHERS - set(reasons()) == set()


@pytest.mark.parametrize("status", PHASES)
def test_every_status_of_a_contract_is_translated(status: str) -> None:
    assert is_translated(status)


@pytest.mark.parametrize("status", [200, 302, 403, 407, 418, 429, 451])
def test_errors_about_an_answer_are_translated(status: int) -> None:
    error = classify(status, b"<html>", {}, now_wall=0.0, what="GET /fapi/v1/klines")
    assert is_translated(str(error)), str(error)


@pytest.mark.parametrize("how", ["does not answer: Connection refused", "answered: OOM command not allowed"])
def test_a_shared_store_that_fails_is_translated(how: str) -> None:
    assert is_translated(f"the shared store redis://127.0.0.1:6379/0 {how}")


@pytest.mark.parametrize("number", ["ECONNREFUSED", "ECONNRESET", "ETIMEDOUT", "EPIPE", "ENETUNREACH", "EHOSTUNREACH"])
def test_errors_of_the_system_about_connections_are_translated(number: str) -> None:
    code = getattr(errno, number)
    error = OSError(code, os.strerror(code))
    for text in (error.strerror, str(error), f"GET /fapi/v1/klines: {error.strerror}"):
        assert is_translated(text or ""), text


def test_how_long_a_connection_was_away_is_translated() -> None:
    assert journal.MOST == 50
    assert is_translated("after 3 s")


def test_other_texts_stay_as_they_are() -> None:
    assert not is_translated("something that nobody has said yet")
