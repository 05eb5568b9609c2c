"""The results of a run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from .accounts import Resources
from .options import Options
from .tally import Promise


@dataclass
class Report:
    """The figures; ``broken`` names the promises that were broken."""

    options: Options
    seconds: float = 0.0
    """How long faults were made."""
    streams: int = 0
    connections: int = 0
    connections_most: int = 0
    messages_per_second: float = 0.0
    reconnects: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    reads: int = 0
    from_memory: int = 0
    by_rest: int = 0
    raised: dict[str, int] = field(default_factory=dict)
    checks: dict[str, int] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    """By cause."""
    weight_most: int = 0
    """Highest weight used in a minute, futures host."""
    weight_allowed: int = 0
    recovery: dict[str, float] = field(default_factory=dict)
    """The slowest recovery, by fault; seconds."""
    exchange_behind: float = 0.0
    """Longest time in seconds that the simulated exchange was behind its clock; above one, the machine was too slow."""
    delayed: int = 0
    """How many recoveries had to wait for budget that had been used before the fault's end."""
    trades_recovery: float = 0.0
    """The slowest recovery of trades that was observed to its end."""
    unsuspected: dict[str, float] = field(default_factory=dict)
    """The longest time a silent stream went unsuspected, by kind of data; seconds."""
    at_start: Resources = field(default_factory=lambda: Resources(0, None, None))
    at_end: Resources = field(default_factory=lambda: Resources(0, None, None))
    broken: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    interrupted: bool = False

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return not self.broken

    def rows(self) -> list[tuple[str, str]]:
        """Return the table: names and figures."""
        rows = [
            ("faults made for", f"{self.seconds:.0f} s, seed {self.options.seed}"),
            ("streams", f"{self.streams}"),
            ("connections", f"{self.connections}, at most {self.connections_most} at once"),
            ("messages per second", f"{self.messages_per_second:.0f}"),
            ("exchange behind its clock at most", f"{self.exchange_behind:.1f} s"),
            ("reconnects", f"{self.reconnects}"),
            ("faults", f"{sum(self.faults.values())}"),
            *((f"  {name}", f"{count}") for name, count in sorted(self.faults.items())),
            ("reads", f"{self.reads}"),
            ("  from memory", f"{self.from_memory}"),
            ("  by REST", f"{self.by_rest}"),
            ("  raised", ", ".join(f"{count} {name}" for name, count in sorted(self.raised.items())) or "0"),
            ("  compared with the truth", f"{sum(self.checks.values())}"),
            ("requests", f"{sum(self.requests.values())}"),
            *((f"  {cause}", f"{count}") for cause, count in self.requests.items()),
            ("highest weight used in a minute", f"{self.weight_most} of {self.weight_allowed}"),
            (Promise.STALE.value, f"{self.broken.get(Promise.STALE.value, 0)}"),
            (Promise.DIVERGENCE.value, f"{self.broken.get(Promise.DIVERGENCE.value, 0)}"),
            ("slowest recovery", f"{max(self.recovery.values(), default=0.0):.1f} s"),
            *((f"  after {name}", f"{seconds:.1f} s") for name, seconds in sorted(self.recovery.items())),
            ("  that waited for the minute's budget", f"{self.delayed}"),
            ("  trades (weight 20 each)", f"{self.trades_recovery:.1f} s"),
            ("longest time a dead stream went unsuspected", ""),
            *((f"  {kind}", f"{seconds:.1f} s") for kind, seconds in sorted(self.unsuspected.items())),
            ("threads, sockets, memory at the start", _shown(self.at_start)),
            ("threads, sockets, memory at the end", _shown(self.at_end)),
        ]
        rows += [(f"BROKEN: {name}", f"{count}") for name, count in self.broken.items()]
        return rows

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"kept": self.kept}


def _shown(used: Resources) -> str:
    memory = f"{used.memory:.0f} MB" if used.memory is not None else "-"
    return f"{used.threads}, {used.sockets if used.sockets is not None else '-'}, {memory}"
