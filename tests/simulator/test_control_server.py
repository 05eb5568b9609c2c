"""The controls over HTTP, as a program in another language uses them."""

from __future__ import annotations

import http.client
import json
import threading
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

import pytest

from ats_sync.simulator import SimulatedExchange, SimulatorError
from ats_sync.simulator.controls import CONTROLS

from .controls.remembering import count_words
from .plain import stream, until


def curl(
    ex: SimulatedExchange, name: str = "", body: bytes | None = None, *, token: str | None = None, method: str = ""
) -> tuple[int, Any]:
    """Return what ``curl -H "Authorization: Bearer $TOKEN" [-d BODY] $CONTROL/NAME`` gets: status and JSON."""
    request = urllib.request.Request(
        ex.control_url + (f"/{name}" if name else ""),
        data=body,
        headers={"Authorization": f"Bearer {ex.control_token if token is None else token}"},
        method=method or None,
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_a_fault_by_curl(ex: SimulatedExchange) -> None:
    with stream(ex, "/market/stream", "btcusdt@kline_1h") as client:
        until(lambda: client.data("btcusdt@kline_1h"))
        [number] = [each.number for each in ex.stats().connections if each.open]
        assert curl(ex, "subscriptions", json.dumps({"connection": number}).encode()) == (
            200,
            {"result": ["btcusdt@kline_1h"]},
        )
        assert curl(ex, "cut", b'{"how": "drop", "route": "market"}') == (200, {"result": 1})
        until(lambda: not any(each.open for each in ex.stats().connections))


def test_a_control_without_arguments_needs_no_body(ex: SimulatedExchange) -> None:
    status, answer = curl(ex, "now", b"")
    assert status == 200
    assert abs(answer["result"] - ex.now()) < 60_000


def test_the_list_names_every_control_with_its_arguments(ex: SimulatedExchange) -> None:
    status, answer = curl(ex)
    assert status == 200
    assert [each["name"] for each in answer["controls"]] == list(CONTROLS)
    cut = next(each for each in answer["controls"] if each["name"] == "cut")
    assert cut["doc"].startswith("Cut the open stream connections")
    assert "\n" not in cut["doc"]
    assert cut["arguments"][1] == {
        "name": "how",
        "type": "'close', 'drop', 'reset' or 'half_open'",
        "default": "close",
    }
    assert "default" not in next(each for each in answer["controls"] if each["name"] == "delist")["arguments"][0]
    status, answer = curl(ex, "cut")
    assert status == 200
    assert '"half_open"' in answer["doc"]


@pytest.mark.parametrize(
    ("name", "body", "status", "kind", "words"),
    [
        ("cut", b'{"how": "gently"}', 400, "ValueError", "how must be one of"),
        ("cut", b'{"route": 5}', 400, "TypeError", "route must be"),
        ("cut", b'{"when": 5}', 400, "TypeError", "cut has no argument 'when'"),
        ("delist", b"{}", 400, "TypeError", "delist needs the argument 'symbol'"),
        ("delist", b'{"symbol": "NOSUCHUSDT"}', 400, "ValueError", "NOSUCHUSDT"),
        ("lag", b'{"seconds": -1}', 400, "ValueError", "seconds must be"),
        ("lag", b'{"seconds": NaN}', 400, "ValueError", "seconds must be"),
        ("now", b"[]", 400, "TypeError", "must be an object"),
        ("now", b"{", 400, "ValueError", "not JSON"),
        ("now", b"\xff\xfe{", 400, "ValueError", "not JSON"),
        ("fly", b"{}", 404, "NotFound", "no such control: 'fly'"),
        ("_answered", b"{}", 404, "NotFound", "no such control"),
    ],
)
def test_a_mistake_is_explained_in_words(
    ex: SimulatedExchange, name: str, body: bytes, status: int, kind: str, words: str
) -> None:
    given, answer = curl(ex, name, body)
    assert (given, answer["error"]["type"]) == (status, kind)
    assert words in answer["error"]["message"]


def test_an_error_of_the_exchange_keeps_its_code(ex: SimulatedExchange) -> None:
    body = json.dumps({"path": "/fapi/v1/depth", "params": {"symbol": "NOSUCHUSDT"}}).encode()
    status, answer = curl(ex, "rest", body)
    error = answer["error"]
    assert (status, error["type"], error["code"], error["status"]) == (400, "ApiError", -1121, 400)


@pytest.mark.parametrize("token", ["", "guess", "币安"])
def test_without_the_token_nothing_is_done(ex: SimulatedExchange, token: str) -> None:
    parts = urlsplit(ex.control_url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    before = ex.now()
    try:
        headers = {"Authorization": f"Bearer {token}".encode()} if token else {}
        connection.request("POST", f"{parts.path}/jump_clock", b'{"milliseconds": 86400000}', headers)  # type: ignore[arg-type]
        answer = connection.getresponse()
        assert answer.status == 401
        assert "Bearer" in json.load(answer)["error"]["message"]
    finally:
        connection.close()
    assert ex.now() - before < 60_000


def test_other_methods_and_paths(ex: SimulatedExchange) -> None:
    assert curl(ex, "cut", method="DELETE")[0] == 405
    assert curl(ex, "", b"{}")[0] == 404
    parts = urlsplit(ex.control_url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        connection.request("GET", "/controlled", headers={"Authorization": f"Bearer {ex.control_token}"})
        assert connection.getresponse().status == 404
    finally:
        connection.close()


def test_faults_of_the_ports_do_not_touch_it(ex: SimulatedExchange) -> None:
    ex.freeze(what="all")
    ex.refuse(what="all")
    ex.fail_rest("timeout")
    assert curl(ex, "now", b"{}")[0] == 200
    assert len(ex.stats().faults_active) >= 9
    assert curl(ex, "clear_faults", b"{}") == (200, {"result": None})
    assert ex.stats().faults_active == []


def test_any_text_arrives_unchanged(ex: SimulatedExchange) -> None:
    name = '币安人生usdt@depth"\\\n\x00 \ud83d'
    ex.refuse_stream(name, "silence")
    assert f"refused {name}" in ex.stats().faults_active
    ex.refuse_stream(name, None)
    assert ex.stats().faults_active == []


def test_a_long_answer_arrives_whole(ex: SimulatedExchange) -> None:
    rows = ex.rest("/fapi/v1/klines", symbol="BTCUSDT", interval="1m", limit=1500)
    info = ex.rest("/fapi/v1/exchangeInfo")
    assert len(rows) == 1500
    assert len(info["symbols"]) >= 12


def test_a_program_gives_it_controls_of_its_own() -> None:
    with SimulatedExchange(["BTCUSDT", "ETHUSDT"], extensions=(count_words.__module__,)) as ex:
        assert count_words(ex, "fresh or loud") == 3
        assert count_words(ex, "fresh or loud", per_symbol=True) == 1.5
        with pytest.raises(TypeError, match="text must be a text, not 5"):
            count_words(ex, 5)  # type: ignore[arg-type]
        assert curl(ex, "count_words", b'{"text": "never banned"}') == (200, {"result": 2.0})
    with SimulatedExchange(["BTCUSDT"], in_thread=True) as plain, pytest.raises(SimulatorError, match="count_words"):
        count_words(plain, "fresh or loud")


def test_an_extension_that_cannot_be_imported_is_named() -> None:
    with pytest.raises(SimulatorError, match="no_such_module"):
        SimulatedExchange(["BTCUSDT"], extensions=("no_such_module",), in_thread=True)


def test_a_wrong_token_of_the_program_is_an_error_in_words(ex: SimulatedExchange) -> None:
    from ats_sync.simulator.control_client import ControlClient

    client = ControlClient(ex.control_url, "guess")
    try:
        with pytest.raises(SimulatorError, match="Authorization"):
            client.call("now", {})
    finally:
        client.close()


def test_stopping_by_curl_ends_it() -> None:
    ex = SimulatedExchange(["BTCUSDT"])
    try:
        ended: list[BaseException] = []

        def wait() -> None:
            try:
                ex.wait()
            except SimulatorError as error:
                ended.append(error)

        waiting = threading.Thread(target=wait)
        waiting.start()
        assert curl(ex, "stop", b"") == (200, {"result": None})
        waiting.join(10)
        assert len(ended) == 1
    finally:
        ex.close()
