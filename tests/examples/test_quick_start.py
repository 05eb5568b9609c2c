"""The first steps."""

from __future__ import annotations

from ..support import until
from .running import output


def test_it_reads_everything_without_a_request() -> None:
    """On a machine that is busy with other things the streams may lag for a moment, and then a read rightly goes to
    REST."""

    def from_memory() -> bool:
        out = output("quick_start.py", "--simulate", "btcusdt", "1000PEPEUSDT")
        assert "btcusdt: 300 candles" in out
        assert "spot price none" in out
        assert "klines       4 live" in out
        return "requests that these reads caused: 0" in out

    until(from_memory)
