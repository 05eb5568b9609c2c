"""The first steps."""

from __future__ import annotations

from .running import output


def test_it_reads_everything_without_a_request() -> None:
    out = output("quick_start.py", "--simulate", "btcusdt", "1000PEPEUSDT")
    assert "btcusdt: 300 candles" in out
    assert "spot price none" in out
    assert "requests that these reads caused: 0" in out
    assert "klines       4 live" in out
