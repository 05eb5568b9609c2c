"""CPU time per event of the exchange, with four candle streams per symbol and with one from which the others are
derived.

Events are counted as the ordinary method receives them: no frames are sent for derived candles, so a second costs less.
"""

from __future__ import annotations

from .flood import flood
from .ingest import GENEROUS, MIXES, RATE, UNLIMITED, exchange, settings
from .machine import Child, child
from .ours import INTERVALS, Ours
from .report import Report

SECTION = "Derived intervals: µs of CPU an exchange event, 5,000 a second"
ORDINARY, DERIVED = "four candle streams a symbol", "one, the others derived"
MIX = MIXES["depth20"]
LEFT = {**MIX, "kline": MIX["kline"] / len(INTERVALS)}
"""The same mix with only one of the intervals streamed."""
TIMES = 3


def _cost(ex: object, client: Child, mix: dict[str, float], seconds: float) -> float:
    """Return the CPU seconds that ``seconds`` of the market cost."""
    rate, shares = RATE * sum(mix.values()), {name: share / sum(mix.values()) for name, share in mix.items()}
    flood(ex, None, rate, 0.3, mix=shares)  # type: ignore[arg-type]
    before, _ = client.cpu()
    flood(ex, None, rate, seconds, mix=shares)  # type: ignore[arg-type]
    return client.cpu()[0] - before


def measure(report: Report, *, quick: bool, symbols: int) -> None:
    """Measure both methods in one run, the median of three each, and their ratio."""
    seconds = 1.0 if quick else 4.0
    found: dict[str, float] = {}
    for name, derive, mix in ((ORDINARY, False, MIX), (DERIVED, True, LEFT)):
        with exchange(symbols, **UNLIMITED) as ex:
            config = settings(ex, derive_intervals=derive, warmup_klines=50, max_trades=100, **GENEROUS)
            with child(Ours, config=config, symbols=ex.symbols, wait_for_trades=True) as client:
                costs = sorted(_cost(ex, client, mix, seconds) for _ in range(TIMES))
        found[name] = costs[TIMES // 2] / (RATE * seconds) * 1e6
        report.add(SECTION, "at a rate", name, found[name], "µs")
    report.add(SECTION, "at a rate", "derived / ordinary", found[DERIVED] / found[ORDINARY], "×", 0.65)
    report.show(SECTION)
