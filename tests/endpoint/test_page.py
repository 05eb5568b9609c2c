"""The page and its events over HTTP: what comes, what it costs the exchange, who may look, and how it ends."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import logging
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from ats_sync import DataManager
from ats_sync.endpoint import Endpoint, viewers
from ats_sync.endpoint.page import digits, page
from ats_sync.simulator import SimulatedExchange

from ..support import requests_by_cause, until

pytestmark = pytest.mark.shared_threads

SYMBOLS = 5
WHOLE = {"symbols", "interval"}
ALWAYS = {
    *("at", "state", "since", "reason", "why", "kinds", "contracts", "shared", "checked", "connections", "budget"),
    *("waiting", "requests", "reads", "frames", "reconnects", "version", "rows", "closes", "events"),
}


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(SYMBOLS, seed=5, activity=0.1) as exchange:
        yield exchange


@pytest.fixture(scope="module")
def manager(exchange: SimulatedExchange) -> Iterator[DataManager]:
    with DataManager(exchange.symbols, ["1h", "15m"], config=exchange.config()) as manager:
        yield manager


@pytest.fixture(scope="module")
def endpoint(manager: DataManager) -> Iterator[Endpoint]:
    with Endpoint(manager, port=0) as endpoint:
        yield endpoint


class Stream:
    """The events of a page."""

    def __init__(self, answer: requests.Response) -> None:
        self._lines = answer.iter_lines(chunk_size=None, decode_unicode=True)
        self.lengths: list[int] = []

    def next(self) -> dict[str, Any]:
        for line in self._lines:
            if line.startswith("data: "):
                self.lengths.append(len(line))
                return json.loads(line[6:])  # type: ignore[no-any-return]
        raise EOFError

    def rest(self) -> None:
        """Read to the end."""
        for _ in self._lines:
            pass

    def until(self, condition: Any, what: str) -> dict[str, Any]:
        message = until(lambda: message if condition(message := self.next()) else None, what=what)
        return message  # type: ignore[no-any-return]


@contextmanager
def following(endpoint: Endpoint, **headers: str) -> Iterator[Stream]:
    with requests.get(endpoint.url + "/events", stream=True, timeout=30, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "text/event-stream"
        yield Stream(answer)


def test_the_page_is_one_file_whose_policy_admits_itself_alone(endpoint: Endpoint) -> None:
    answer = requests.get(endpoint.url + "/", timeout=30)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    for element in ("style", "script"):
        (body,) = re.findall(rf"<{element}>(.*?)</{element}>", answer.text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert policy[f"{element}-src"] == f"'sha256-{digest}'"
    assert not re.findall(r"""(?:src|href)=["'](?!data:|/status)""", answer.text)
    assert set(re.findall(r"https?://[^\s'\"<]+", answer.text)) == {"http://www.w3.org/2000/svg"}
    assert "innerHTML" not in answer.text
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_both_languages_have_the_same_words() -> None:
    # (The reasons have a test of their own.)
    text = re.sub(r"\n  reason: \[\n.*?\n  \],", "\n  reason: [],", page().body.decode(), flags=re.DOTALL)
    english, chinese = (
        re.findall(r"(?:^|[{,])\s*\"?([\w-][\w -]*?)\"?: ", text.split(f"const {name} = {{")[1].split("\n};")[0])
        for name in ("ENGLISH", "CHINESE")
    )
    assert len(english) > 80
    assert set(english) == set(chinese)


def test_a_viewer_gets_the_whole_state_and_then_what_changes(endpoint: Endpoint, manager: DataManager) -> None:
    with following(endpoint) as stream:
        first = stream.next()
        assert first.keys() == WHOLE | ALWAYS
        assert first["symbols"] == list(manager.symbols)
        assert [row[0] for row in first["rows"]] == list(range(SYMBOLS))
        assert first["interval"] == "15m"
        assert [len(closes) for _, closes in first["closes"]] == [32] * SYMBOLS
        live = stream.until(lambda message: message["state"] == "live", "live")
        assert live.keys() == ALWAYS
        assert live["kinds"]["klines"]["series"]["live"] == 2 * SYMBOLS
        assert len(live["connections"]) == 2
        changed = stream.until(lambda message: message["rows"], "a price that changes")
        index, price, change, age, _, state = changed["rows"][0]
        assert abs(float(price) / manager.get_ticker(manager.symbols[index])["lastPrice"] - 1) < 0.05
        assert abs(float(change)) < 100
        assert age < 60
        assert state in ("live", "warming up", "degraded")
        assert changed["at"] > first["at"]


def test_viewing_causes_no_request_and_makes_nothing_followed(
    endpoint: Endpoint, manager: DataManager, exchange: SimulatedExchange
) -> None:
    def quietly() -> bool:
        before, series = requests_by_cause(manager), manager.status().feeds
        with following(endpoint) as stream:
            for _ in range(3):
                stream.next()
        assert {(feed.kind, feed.symbol, feed.interval) for feed in manager.status().feeds} == {
            (feed.kind, feed.symbol, feed.interval) for feed in series
        }
        after = requests_by_cause(manager)
        assert after["read"] == before["read"]
        return after == before

    until(quietly, what="a look during which nothing else is requested")


def test_a_cut_and_the_recovery_are_shown_with_their_reasons(endpoint: Endpoint, exchange: SimulatedExchange) -> None:
    with following(endpoint) as stream:
        stream.until(lambda message: message["state"] == "live", "live")
        exchange.refuse(2.0, "streams")
        exchange.cut(how="reset")
        seen: list[list[Any]] = []

        def turned(state: str) -> Any:
            def condition(message: dict[str, Any]) -> bool:
                seen.extend(message["events"])
                return bool(message["state"] == state)

            return condition

        degraded = stream.until(turned("degraded"), "degraded")
        assert degraded["reason"]
        assert degraded["why"]
        assert all(each["state"] != "open" for each in degraded["connections"])
        stream.until(turned("live"), "live again")
        what = {event[2] for event in seen}
        assert {"lost", "degraded", "connected", "live"} <= what
        assert all(event[4] for event in seen if event[2] in ("lost", "degraded", "live"))
        assert [event[0] for event in seen] == sorted(event[0] for event in seen)
    with following(endpoint) as stream:
        assert {event[2] for event in stream.next()["events"]} >= what


def test_a_limit_is_shown_with_what_the_exchange_said(exchange: SimulatedExchange) -> None:
    manager = DataManager(exchange.symbols, config=exchange.config(request_timeout=1.0, shim_timeout=1.0))
    with Endpoint(manager, port=0) as endpoint, following(endpoint) as stream:
        stream.next()
        exchange.fail_rest("429", path="/fapi/v1/depth", retry_after=5)
        requests.get(endpoint.url + "/fapi/v1/depth?symbol=BTCUSDT&limit=5", timeout=30)
        message = stream.until(lambda message: message["budget"]["futures"]["blocked_until"], "blocked")
        assert message["budget"]["futures"]["blocked_until"] > time.time()
        (event,) = message["events"]
        assert event[2:4] == ["limited", "futures"]
        assert "429" in event[4] or "limit" in event[4].lower()
    manager.close()


def test_the_token_guards_the_events_and_the_page_asks_for_it(manager: DataManager) -> None:
    with Endpoint(manager, port=0, token="a long secret") as endpoint:
        shown = requests.get(endpoint.url + "/", timeout=30)
        assert shown.status_code == 200
        assert "a long secret" not in shown.text
        assert requests.get(endpoint.url + "/events", timeout=30).status_code == 401
        assert requests.get(endpoint.url + "/events?token=a+long+secret", timeout=30).status_code == 401
        with following(endpoint, Authorization="Bearer a long secret") as stream:
            assert stream.next()["symbols"]


def test_a_page_of_another_origin_is_refused(endpoint: Endpoint) -> None:
    def status(path: str, **headers: str) -> int:
        return requests.head(endpoint.url + path, headers=headers, timeout=30).status_code

    assert status("/events", Host="evil.example") == 403
    assert status("/", Host="evil.example") == 403
    for site in ("cross-site", "same-site"):
        assert status("/events", **{"Sec-Fetch-Site": site}) == 403
        assert status("/fapi/v1/ping", **{"Sec-Fetch-Site": site}) == 403
        assert status("/", **{"Sec-Fetch-Site": site}) == 200  # a link on another page
    for site in ("none", "same-origin"):
        assert status("/events", **{"Sec-Fetch-Site": site}) == 200


def test_a_viewer_above_the_limit_is_refused_in_words(endpoint: Endpoint) -> None:
    def refused() -> bool:
        held = [requests.get(endpoint.url + "/events", stream=True, timeout=30) for _ in range(viewers.MOST + 1)]
        try:
            assert {answer.status_code for answer in held} <= {200, 503}
            last = held[-1]
            assert last.status_code == 503
            assert str(viewers.MOST) in last.json()["msg"]
            assert requests.get(endpoint.url + "/healthz", timeout=30).status_code == 200
            # (Viewers of an earlier test may still be counted for a second.)
            return sum(answer.status_code == 200 for answer in held) == viewers.MOST
        finally:
            for answer in held:
                answer.close()

    until(refused, what="as many viewers as there may be")


def test_a_viewer_that_does_not_read_is_dropped(
    manager: DataManager, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # At the usual pace it takes minutes to fill what lies between the two.
    for name, seconds in (("EVERY", 0.002), ("_LEAST_BETWEEN", 0.001), ("PATIENCE", 0.5)):
        monkeypatch.setattr(viewers, name, seconds)
    caplog.set_level(logging.INFO, "ats_sync.endpoint")
    with Endpoint(manager, port=0) as endpoint, socket.socket() as silent:
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        parts = urlsplit(endpoint.url)
        silent.connect((parts.hostname, parts.port))
        silent.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        with following(endpoint) as stream:
            stream.next()
            dropped = "a viewer of the page was dropped: it does not read"
            until(lambda: stream.next() and dropped in caplog.messages, what="that it is dropped")
            assert stream.next(), "the other one goes on"
        silent.settimeout(30)
        with contextlib.suppress(ConnectionResetError):
            while silent.recv(65536):  # TimeoutError where it was not cut
                pass


def test_the_streams_end_with_the_endpoint(manager: DataManager) -> None:
    endpoint = Endpoint(manager, port=0).start()
    with following(endpoint) as stream:
        stream.next()
        began = time.monotonic()
        endpoint.close()
        stream.rest()
        assert time.monotonic() - began < 30.0


def test_added_symbols_make_viewers_begin_again(exchange: SimulatedExchange) -> None:
    with (
        DataManager(exchange.symbols[:2], ["1h"], config=exchange.config()) as manager,
        Endpoint(manager, port=0) as endpoint,
        following(endpoint) as stream,
    ):
        assert stream.next()["symbols"] == list(exchange.symbols[:2])
        manager.watch([exchange.symbols[2]])
        message = stream.until(lambda message: "symbols" in message, "the new symbols")
        assert message["symbols"] == list(exchange.symbols[:3])
        assert len(message["rows"]) == 3


def test_a_manager_that_does_not_run_is_shown_as_stopped(exchange: SimulatedExchange) -> None:
    manager = DataManager(exchange.symbols, ["1h"], config=exchange.config())
    with Endpoint(manager, port=0) as endpoint, following(endpoint) as stream:
        message = stream.next()
        assert (message["state"], message["connections"]) == ("stopped", [])
        assert message["symbols"] == list(exchange.symbols)
        assert {row[1] for row in message["rows"]} == {""}


def test_closes_as_digits() -> None:
    assert digits([]) == ""
    assert digits([5.0]) == "h"
    assert digits([2.0, 2.0]) == "hh"
    assert digits([1.0, 3.0, 2.0]) == "0zh"
    assert digits([0.1, 0.2, 0.30000000000000004]) == "0hz"
