"""Figures with their targets, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone

from .machine import description, load

OURS = "ats_sync"


@dataclass(frozen=True)
class Figure:
    """One measurement. ``target`` is the most it may be, None if there is no target."""

    section: str
    case: str
    subject: str
    value: float
    unit: str
    target: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        return None if self.target is None else self.value <= self.target


class Report:
    """Collects figures and prints each section when it is complete."""

    def __init__(self) -> None:
        self.figures: list[Figure] = []
        self.notes: list[str] = []
        self.begun = datetime.now(timezone.utc)
        self.loads = {"begin": load()}
        """The machine's load at the beginning, and at the end of each section: above 2 or 3, other programs affected
        the measurement."""

    def add(
        self,
        section: str,
        case: str,
        subject: str,
        value: float,
        unit: str,
        target: float | None = None,
        note: str = "",
    ) -> None:
        self.figures.append(Figure(section, case, subject, value, unit, target, note))

    def ratio(
        self, section: str, case: str, over: str, under: str, target: float | None = None, note: str = ""
    ) -> float | None:
        """Add the figure of ``over`` as a multiple of that of ``under``, and return it; None if one is missing."""
        values = [self.value(section, case, subject) for subject in (over, under)]
        if values[0] is None or not values[1]:
            return None
        self.add(section, case, f"{over} ÷ {under}", values[0] / values[1], "×", target, note)
        return values[0] / values[1]

    def spread(self, section: str, case: str, subjects: Sequence[str], target: float | None = None) -> float | None:
        """Add the greatest of some figures ÷ the least, and return it; None if there are fewer than two."""
        values = [value for subject in subjects if (value := self.value(section, case, subject)) is not None]
        if len(values) < 2 or not min(values):
            return None
        self.add(section, case, "greatest ÷ least", max(values) / min(values), "×", target)
        return max(values) / min(values)

    def note(self, text: str) -> None:
        """Print what was left out, and why."""
        self.notes.append(text)
        print(f"  ({text})", flush=True)

    def value(self, section: str, case: str, subject: str) -> float | None:
        """Return a figure that was added before."""
        for figure in self.figures:
            if (figure.section, figure.case, figure.subject) == (section, case, subject):
                return figure.value
        return None

    def show(self, section: str) -> None:
        """Print a section. Other clients are shown with their multiple of ours."""
        own = [figure for figure in self.figures if figure.section == section]
        if not own:
            return
        self.loads[section] = load()
        print(f"\n{section}\n{'-' * len(section)}\n  (load of the machine {self.loads[section]:.1f})")
        for case in dict.fromkeys(figure.case for figure in own):
            figures = [figure for figure in own if figure.case == case]
            ours = next((figure.value for figure in figures if figure.subject.startswith(OURS)), None)
            print(f"  {case}")
            for figure in figures:
                print("    " + _line(figure, ours, figures))
        print(flush=True)

    def to_json(self) -> str:
        return json.dumps(
            {
                "date": self.begun.isoformat(timespec="seconds"),
                "machine": description(),
                "loads": self.loads,
                "figures": [{**asdict(figure), "met": figure.met} for figure in self.figures],
                "notes": self.notes,
            },
            indent=1,
        )

    def summary(self) -> str:
        judged = [figure for figure in self.figures if figure.met is not None]
        missed = [figure for figure in judged if not figure.met]
        lines = [f"{len(judged) - len(missed)} of {len(judged)} targets met"]
        for figure in missed:
            assert figure.target is not None
            over = f"{figure.value / figure.target:.2f} times the target" if figure.target else "it should be none"
            lines.append(
                f"  not met: {figure.section}, {figure.case}, {figure.subject}: "
                f"{_number(figure.value)} {figure.unit} ({over})"
            )
        return "\n".join(lines)


def _line(figure: Figure, ours: float | None, figures: Sequence[Figure]) -> str:
    text = f"{figure.subject:44} {_number(figure.value):>9} {figure.unit:9}"
    if figure.target is not None:
        text += f" target {_number(figure.target):>7}  {'met' if figure.met else 'NOT MET'}"
    elif ours and figure.unit != "×" and len(figures) > 1 and not figure.subject.startswith(OURS):
        text += f" {figure.value / ours:6.1f} × ours"
    return f"{text}  {figure.note}".rstrip()


def _number(value: float) -> str:
    if value == int(value) and abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"
