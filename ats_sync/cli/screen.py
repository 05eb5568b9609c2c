"""The demo's output: bars and tables on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable
from rich.text import Text

PLAIN_EVERY = 2.0
"""Seconds between two lines of plain progress."""

Counts = Mapping[str, tuple[int, int]]
"""What is counted, how many are done, and how many there are."""


@dataclass(frozen=True)
class Table:
    """Texts in columns; the first column is a name, the others are figures."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


class Meter(Protocol):
    """Shows progress."""

    def show(self, counts: Counts) -> None: ...


class Screen:
    """Where the demo writes to."""

    def __init__(self, out: TextIO) -> None:
        self._console = Console(file=out, highlight=False)
        self.terminal = self._console.is_terminal

    def line(self, text: str = "") -> None:
        """One line."""
        self._console.print(Text(text), soft_wrap=True)

    def heading(self, text: str) -> None:
        """Write a line that begins a part."""
        self.line()
        self._console.print(Text(text, style="bold"), soft_wrap=True)

    def table(self, table: Table) -> None:
        """Write a table with its title above it."""
        if not self.terminal:
            self.line(table.title)
            for row in _rows(table):
                self.line("  " + "  ".join(_plain_cells(table, row)).rstrip())
            return
        drawn = RichTable(
            title=table.title,
            title_justify="left",
            show_header=any(table.columns),
            box=None,
            padding=(0, 1, 0, 0),
        )
        for index, column in enumerate(table.columns):
            drawn.add_column(column, justify="right" if index else "left", overflow="fold")
        for row in table.rows:
            drawn.add_row(*map(Text, row))
        self._console.print(drawn)

    @contextmanager
    def meter(self, what: str) -> Iterator[Meter]:
        """Show progress while the context is open."""
        if not self.terminal:
            plain = _PlainMeter(self, what)
            yield plain
            plain.last()
            return
        columns = (
            TextColumn(f"{what}: {{task.description}}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._console) as progress:
            yield _Bars(progress)


class _Bars:
    """One bar for each thing that is counted."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def show(self, counts: Counts) -> None:
        for name, (done, total) in counts.items():
            if name not in self._tasks:
                self._tasks[name] = self._progress.add_task(name, total=total)
            self._progress.update(self._tasks[name], completed=done, total=total)


class _PlainMeter:
    """Writes a line now and then."""

    def __init__(self, screen: Screen, what: str) -> None:
        self._screen = screen
        self._what = what
        self._shown_at = time.monotonic()
        self._text = self._shown = ""

    def show(self, counts: Counts) -> None:
        self._text = ", ".join(f"{name} {done}/{total}" for name, (done, total) in counts.items())
        if time.monotonic() - self._shown_at >= PLAIN_EVERY:
            self.last()

    def last(self) -> None:
        """Show the newest state unless it has been shown."""
        if self._text != self._shown:
            self._screen.line(f"  {self._what}: {self._text}")
            self._shown, self._shown_at = self._text, time.monotonic()


def _rows(table: Table) -> list[Sequence[str]]:
    return [table.columns, *table.rows] if any(table.columns) else [*table.rows]


def _plain_cells(table: Table, row: Sequence[str]) -> list[str]:
    cells = []
    for index, text in enumerate(row):
        width = max(cell_len(each[index]) for each in _rows(table))
        pad = " " * (width - cell_len(text))
        cells.append(pad + text if index else text + pad)
    return cells
