"""What is sent and answered on a stream connection."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ats_sync.venue.endpoints import BYTES_PER_MESSAGE, NAMES_PER_SUBSCRIBE
from ats_sync.venue.subscriptions import (
    announces_shutdown,
    is_acknowledgement,
    is_error,
    is_refusal,
    message_text,
    names_that_fit,
    refusal_text,
)


def test_a_message_has_the_form_that_the_exchange_accepts() -> None:
    text = message_text(["btcusdt@trade", "spot/btcusdt@aggTrade", "币usdt@trade"], 7, subscribes=True)
    assert text == '{"method":"SUBSCRIBE","params":["btcusdt@trade","btcusdt@aggTrade","币usdt@trade"],"id":7}'
    assert json.loads(message_text([], 1, subscribes=False))["method"] == "UNSUBSCRIBE"


def test_names_that_fit_counts_what_is_sent() -> None:
    assert names_that_fit([]) == ()
    assert names_that_fit(["x" * 5000, "y"]) == ("x" * 5000,)
    assert len(names_that_fit(f"s{i}" for i in range(300))) == NAMES_PER_SUBSCRIBE
    taken = names_that_fit(f'"{i:040}' for i in range(300))
    text = message_text(taken, 12, subscribes=False)
    assert BYTES_PER_MESSAGE - 80 < len(text.encode()) <= BYTES_PER_MESSAGE


@pytest.mark.parametrize(
    ("message", "acknowledges", "error", "refuses"),
    [
        ({"result": None, "id": 1}, True, False, False),
        ({"result": ["x"], "id": 1}, False, False, False),
        ({"error": {"code": 2, "msg": "Invalid request"}, "id": 1}, False, True, True),
        ({"code": 2, "msg": "Invalid request"}, False, True, True),
        ({"error": {"code": 4, "msg": "Too many subscriptions"}}, False, True, False),
        ({"result": None, "error": {"code": 2}}, False, True, True),
        ({"error": "text"}, False, True, False),
        ({"e": "serverShutdown"}, False, False, False),
        ({}, False, False, False),
    ],
)
def test_what_an_answer_means(message: dict[str, Any], acknowledges: bool, error: bool, refuses: bool) -> None:
    assert (is_acknowledgement(message), is_error(message), is_refusal(message)) == (acknowledges, error, refuses)


def test_a_refusal_is_shown_by_its_message() -> None:
    assert refusal_text({"error": {"code": 2, "msg": "Invalid request"}}) == "Invalid request"
    assert refusal_text({"error": {"code": 2}}) == '{"error": {"code": 2}}'
    assert len(refusal_text({"error": {"msg": "x" * 1000}})) == 200


@pytest.mark.parametrize(
    ("message", "announced"),
    [({"e": "serverShutdown"}, True), ({"event": {"e": "serverShutdown"}}, True), ({"e": "trade"}, False), ({}, False)],
)
def test_an_announced_shutdown(message: dict[str, Any], announced: bool) -> None:
    assert announces_shutdown(message) is announced
