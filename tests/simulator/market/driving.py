"""Helpers that advance a market and collect what it sends."""

from __future__ import annotations

import json
from typing import Any

from ats_sync.simulator.market import Frame, Market

# Saturday 2026-11-21 23:58:20.500 UTC
START = 1_795_305_500_500
MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


def run(market: Market, until: int, step: int = 137) -> list[Frame]:
    """Advance to ``until`` in steps of ``step`` ms."""
    frames: list[Frame] = []
    while market.now < until:
        frames += market.advance(min(until, market.now + step))
    return frames


def data(frames: list[Frame], stream: str) -> list[dict[str, Any]]:
    """Return the payloads of one stream, in order."""
    return [json.loads(frame.payload) for frame in frames if frame.stream == stream]


def row(event: dict[str, Any]) -> list[Any]:
    """Return a kline event as the REST row that it should equal."""
    k = event["k"]
    return [k["t"], k["o"], k["h"], k["l"], k["c"], k["v"], k["T"], k["q"], k["n"], k["V"], k["Q"], k["B"]]
