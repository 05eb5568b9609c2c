"""Closed candles, and trading decisions on paper."""

from __future__ import annotations

import re

from .running import output


def test_it_decides_when_a_candle_closes() -> None:
    out = output("auto_trader.py", "--simulate", "--candles", "1")
    assert re.search(r"^\d\d:\d\d:59  closed at [\d.]+: (would buy at [\d.]+|flat, stays flat)$", out, re.MULTILINE)
