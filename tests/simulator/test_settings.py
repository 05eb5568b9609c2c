from __future__ import annotations

import json
from typing import Any

import pytest

from ats_sync.simulator import Settings


def test_it_survives_json() -> None:
    weights = ((100, 1), (1500, 9))
    settings = Settings(symbols=("BTCUSDT", "币安人生USDT"), start=5, ports=(1, 2, 3, 4), kline_weights=weights)
    assert Settings.from_json(json.loads(json.dumps(settings.to_json()))) == settings


def test_the_limits_are_the_documented_or_measured_ones() -> None:
    settings = Settings()
    assert (settings.weight_limit, settings.spot_weight_limit) == (2400, 6000)
    assert (settings.funding_limit, settings.oi_limit) == (500, 1000)
    assert (settings.max_streams, settings.messages_per_second, settings.spot_messages_per_second) == (1024, 15, 5)
    assert (settings.connection_attempts, settings.attempts_window) == (300, 300)
    assert (settings.ping_interval, settings.ping_deadline) == (180, 600)
    assert (settings.spot_ping_interval, settings.spot_ping_deadline) == (20, 60)
    assert settings.max_age == 86_400


@pytest.mark.parametrize(
    "bad",
    [
        {"symbols": 0},
        {"symbols": ()},
        {"oversized": "ignore"},
        {"latency": -1},
        {"weight_header_lag": -1},
        {"tick": 0},
        {"ports": (0,)},
        {"kline_weights": ()},
        {"messages_per_second": 0},
    ],
)
def test_bad_values_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Settings(**bad)


def test_an_unknown_name_is_named() -> None:
    with pytest.raises(TypeError, match="weigth_limit"):
        Settings.from_json({"weigth_limit": 5})
