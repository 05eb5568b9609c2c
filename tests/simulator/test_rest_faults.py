from __future__ import annotations

import json
import threading
from typing import Any

import pytest
import requests

from ats_sync.simulator import SimulatedExchange

from .plain import rest, until

KLINES: dict[str, Any] = {"symbol": "BTCUSDT", "interval": "1h", "limit": 500}


@pytest.mark.parametrize("kind", ["500", "502", "503", "504", "403"])
def test_pages_with_a_status(ex: SimulatedExchange, kind: str) -> None:
    ex.fail_rest(kind, count=1)  # type: ignore[arg-type]
    with rest(ex) as client:
        response = client.get("/fapi/v1/time")
        assert response.status_code == int(kind)
        assert response.headers["Content-Type"].startswith("text/html")
        assert client.get("/fapi/v1/time").status_code == 200


def test_the_barred_country(ex: SimulatedExchange) -> None:
    ex.fail_rest("451", count=1)
    with rest(ex) as client:
        response = client.get("/fapi/v1/time")
    assert response.status_code == 451
    assert "restricted location" in response.json()["msg"]
    assert "X-MBX-USED-WEIGHT-1M" not in response.headers


def test_429_says_when(ex: SimulatedExchange) -> None:
    ex.fail_rest("429", count=1, retry_after=7)
    with rest(ex) as client:
        response = client.get("/fapi/v1/time")
        assert (response.status_code, response.headers["Retry-After"]) == (429, "7")
        assert response.json()["code"] == -1003
        client.get("/fapi/v1/time")
    assert ex.request_log()[-2].waited is None
    assert ex.request_log()[-1].waited is not None


def test_418_is_a_real_ban_of_that_host(ex: SimulatedExchange) -> None:
    ex.fail_rest("418", host="fapi", count=1, retry_after=30)
    with rest(ex) as client:
        first = client.get("/fapi/v1/time")
        assert (first.status_code, first.headers["Retry-After"]) == (418, "30")
        until_ms = int(first.json()["msg"].split("banned until ")[1].split(".")[0])
        assert 25_000 < until_ms - ex.now() <= 30_000
        assert client.get("/fapi/v1/time").status_code == 418
        assert client.get("/api/v3/time").status_code == 200
        ex.pardon()
        assert client.get("/fapi/v1/time").status_code == 200


@pytest.mark.parametrize(("code", "status"), [(-1000, 400), (-1001, 400), (-1007, 408)])
def test_codes(ex: SimulatedExchange, code: int, status: int) -> None:
    ex.fail_rest("code", code=code, count=1)
    with rest(ex) as client:
        assert client.code("/fapi/v1/time") == (status, code)


def test_bodies_that_are_not_json(ex: SimulatedExchange) -> None:
    with rest(ex) as client:
        for kind in ("html", "empty"):
            ex.fail_rest(kind, count=1)
            response = client.get("/fapi/v1/klines", **KLINES)
            assert response.status_code == 200
            with pytest.raises(requests.exceptions.JSONDecodeError):
                response.json()
        ex.fail_rest("wrong_shape", count=1)
        assert isinstance(client.get("/fapi/v1/klines", **KLINES).json(), dict)


def test_never_answered_until_cleared(ex: SimulatedExchange) -> None:
    ex.fail_rest("timeout", path="/fapi/v1/time")
    with rest(ex) as client:
        with pytest.raises(requests.exceptions.ReadTimeout):
            client.get("/fapi/v1/time", timeout=0.3)
        assert client.get("/fapi/v1/ping").status_code == 200
        outcome: list[BaseException] = []

        def ask() -> None:
            try:
                client.get("/fapi/v1/time", timeout=30)
            except requests.exceptions.ConnectionError as error:
                outcome.append(error)

        asked = ex.stats().fapi.requests
        waiting = threading.Thread(target=ask)
        waiting.start()
        until(lambda: ex.stats().fapi.requests > asked)
        ex.clear_faults()
        waiting.join(10)
        assert len(outcome) == 1
    assert ex.request_log()[-1].status == 0


def test_reset_in_the_middle_of_the_body(ex: SimulatedExchange) -> None:
    ex.fail_rest("reset", count=1)
    with rest(ex) as client, client.session.get(ex.fapi_url + "/fapi/v1/klines", params=KLINES, stream=True) as answer:
        assert answer.status_code == 200
        assert answer.raw.read(1) == b"["
        with pytest.raises(Exception, match="reset by peer") as caught:
            answer.raw.read()
    assert "ConnectionResetError" in repr(caught.value)


def test_truncated_body(ex: SimulatedExchange) -> None:
    ex.fail_rest("truncated", count=1)
    with rest(ex) as client, client.session.get(ex.fapi_url + "/fapi/v1/klines", params=KLINES, stream=True) as answer:
        promised = int(answer.headers["Content-Length"])
        with pytest.raises(Exception, match="IncompleteRead") as caught:
            answer.raw.read()
    assert f"IncompleteRead({promised // 2} bytes read" in str(caught.value)


def test_a_body_that_trickles_for_ever(ex: SimulatedExchange) -> None:
    ex.fail_rest("trickle", count=1)
    with rest(ex) as client:
        # Every byte comes well within the socket's time-out, so the time-out alone never ends it.
        with client.session.get(ex.fapi_url + "/fapi/v1/klines", params=KLINES, stream=True, timeout=2) as answer:
            chunks = answer.iter_content(1)
            assert [next(chunks) for _ in range(6)] == [b"["] + [b" "] * 5
        until(lambda: ex.request_log()[-1].status == 0)


def test_slow(ex: SimulatedExchange) -> None:
    ex.fail_rest("slow", delay=0.5, count=1)
    begun = ex.now()
    with rest(ex) as client:
        assert client.get("/fapi/v1/time").json()["serverTime"] >= begun + 500


def test_rules_can_be_for_a_path_a_host_or_a_while(ex: SimulatedExchange) -> None:
    ex.fail_rest("500", path="/fapi/v1/depth")
    ex.fail_rest("503", host="spot", seconds=0.3)
    with rest(ex) as client:
        assert client.get("/fapi/v1/time").status_code == 200
        assert client.get("/fapi/v1/depth", symbol="BTCUSDT").status_code == 500
        assert client.get("/api/v3/time").status_code == 503
        until(lambda: client.get("/api/v3/time").status_code == 200)
        assert ex.stats().faults_active == ["rest 500 /fapi/v1/depth"]
        ex.clear_faults()
        assert client.get("/fapi/v1/depth", symbol="BTCUSDT").status_code == 200


def test_weight_is_spent_by_failures_too(ex: SimulatedExchange) -> None:
    with rest(ex) as client:
        ex.fail_rest("500", count=1)
        used = [int(client.get("/fapi/v1/time").headers["X-MBX-USED-WEIGHT-1M"]) for _ in range(2)]
    assert used[1] in (used[0] + 1, 1)


def test_unknown_kinds_are_refused(ex: SimulatedExchange) -> None:
    with pytest.raises(ValueError, match="kind must be one of"):
        ex.fail_rest("418.5")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="host"):
        ex.fail_rest("500", host="both")  # type: ignore[arg-type]
    assert json.dumps(ex.stats().faults_active) == "[]"
