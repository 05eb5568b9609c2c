"""The results of the schedules."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from ..tally import Promise

MOST_EXAMPLES = 40


@dataclass
class Counts:
    """What was counted in one schedule, or in several."""

    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    epochs: int = 0
    """Number of reigns."""
    readers: int = 0
    checks: int = 0
    """Reads that were compared with the exchange's truth."""
    by_rest: int = 0
    raised: Counter[str] = field(default_factory=Counter)

    def count(self, other: Counts) -> None:
        """Add the counts of ``other``."""
        self.seconds += other.seconds
        self.faults.update(other.faults)
        self.epochs += other.epochs
        self.readers += other.readers
        self.checks += other.checks
        self.by_rest += other.by_rest
        self.raised.update(other.raised)


@dataclass
class Outcome(Counts):
    """One schedule."""

    seed: int = 0
    healed: float = 0.0
    """The slowest reader: seconds from the last fault's end until its reads caused no requests."""
    weight_most: int = 0
    weight_allowed: int = 0
    findings: list[tuple[str, str]] = field(default_factory=list)
    """Promises that were broken, and how."""
    logs: str = ""
    """Where the processes of a schedule with findings have written their logs."""

    def line(self) -> str:
        """Return the outcome as one line."""
        broken = "; ".join(f"{promise}: {text}" for promise, text in self.findings[:3]) or "kept"
        faults = ", ".join(f"{count} {name}" for name, count in sorted(self.faults.items()))
        return (
            f"seed {self.seed}: {self.seconds:.0f} s, {self.epochs} reigns, {self.checks} compared, {self.by_rest} by "
            f"REST, {self.raised.total()} raised, healed in {self.healed:.1f} s; {faults}; {broken}"
        )


@dataclass
class SharedReport(Counts):
    """All schedules of a run."""

    schedules: int = 0
    first_seed: int = 0
    healed: list[float] = field(default_factory=list)
    weight_most: float = 0.0
    """The largest fraction of the allowed weight that was used in a minute."""
    broken: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    interrupted: bool = False

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return not self.broken

    def add(self, outcome: Outcome) -> None:
        """Count one schedule."""
        self.count(outcome)
        self.schedules += 1
        self.healed.append(outcome.healed)
        self.weight_most = max(self.weight_most, outcome.weight_most / max(1, outcome.weight_allowed))
        for promise, text in outcome.findings:
            self.broken[promise] += 1
            if len(self.examples) < MOST_EXAMPLES:
                self.examples.append(f"seed {outcome.seed}  {promise}: {text} [{outcome.logs}]")

    def rows(self) -> list[tuple[str, str]]:
        """Return the table: names and figures."""
        healed = sorted(self.healed) or [0.0]
        rows = [
            ("schedules", f"{self.schedules}, seeds from {self.first_seed} on, {self.seconds:.0f} s"),
            ("faults", f"{self.faults.total()}"),
            *((f"  {name}", f"{count}") for name, count in sorted(self.faults.items())),
            ("reigns of collectors", f"{self.epochs}"),
            ("readers", f"{self.readers}"),
            ("reads compared with the truth", f"{self.checks}"),
            ("  by REST", f"{self.by_rest}"),
            ("reads that raised", ", ".join(f"{count} {name}" for name, count in sorted(self.raised.items())) or "0"),
            ("healed after the last fault, median", f"{healed[len(healed) // 2]:.1f} s"),
            ("healed after the last fault, slowest", f"{healed[-1]:.1f} s"),
            ("highest share of a minute's allowed weight", f"{self.weight_most:.0%}"),
            *((promise.value, f"{self.broken.get(promise.value, 0)}") for promise in SHOWN),
        ]
        others = {name: count for name, count in self.broken.items() if name not in {each.value for each in SHOWN}}
        return rows + [(f"BROKEN: {name}", f"{count}") for name, count in others.items()]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return vars(self) | {"kept": self.kept}  # (asdict makes other dictionaries of counters)


SHOWN = (Promise.STALE, Promise.DIVERGENCE, Promise.INVARIANT, Promise.OLD_EPOCH, Promise.BUDGET, Promise.WAIT)
