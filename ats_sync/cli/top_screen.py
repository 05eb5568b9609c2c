"""The screen of ``top``: the page of an endpoint in the terminal, and plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..status import users
from .top_model import GOOD, Choice, Model

VERDICTS = {
    "live": ("LIVE", "Fresh. You may trade on this data.", "bold white on green"),
    "degraded": ("DEGRADED", "Not everything is fresh. Do not trade on this data.", "bold white on red"),
    "starting": ("WARMING UP", "Not all data has arrived yet. Do not trade on it.", "bold black on yellow"),
    "stopped": ("STOPPED", "Nothing is kept up to date. Do not trade on this data.", "bold white on red"),
}
EVENTS = {
    "lost": "connection {0} lost",
    "connected": "connection {0} open",
    "repaired": "{1} repaired by REST, last {0}",
    "limited": "the {0} host has rate-limited this address",
    "contract": "{0} changed its status",
}
STYLES = {"live": "green", "polled": "green", "warming up": "yellow", "degraded": "bold red", "gone": "dim"}
BAR = 18
SHOWN_EVENTS = 4
KEYS = "s sort  r reverse  / filter  ↑↓ PgUp PgDn scroll  q quit"


def plain(model: Model) -> Iterator[str]:
    """Yield the state as lines, for a pipe."""
    state = model.state
    name, verdict, _ = VERDICTS[state["state"]]
    yield f"{name} since {_clock(state['since'])}: {verdict}"
    if state["reason"]:
        yield f"  {state['reason']}"
    for each in state["connections"]:
        yield f"  {_connection(each)}"
    for kind, found in state.get("kinds", {}).items():
        parts = ", ".join(f"{count} {name}" for name, count in found["series"].items())
        oldest = "" if found["oldest"] is None else f", oldest {found['oldest']:.1f} s"
        yield f"  {kind:<12} {parts}{oldest}"
    if shared := state.get("shared"):
        yield f"  {'shared store':<12} {'; '.join((_shared(shared), *users(shared)))}"
    for host, used in state["budget"].items():
        yield f"  {host + ' weight':<12} {_weight(used)}"
    causes = ", ".join(f"{count} {cause}" for cause, count in state["requests"].items() if count)
    yield f"  requests     {causes or 'none'}"
    for symbol, status in sorted(state.get("contracts", {}).items()):
        yield f"  {symbol} is {status}"


def drawn(model: Model, choice: Choice, width: int, height: int, now: float, trouble: str, *, asks: bool) -> Group:
    """Return the whole screen. ``trouble`` is why no messages come; ``asks``: whether the filter is being typed."""
    old = bool(trouble) or model.is_old(now)
    parts: list[RenderableType] = [_banner(model, width, now, trouble, old=old)]
    kinds = list(_kinds(model.state))
    facts = list(_facts(model))
    grid = Table.grid(padding=(0, 3))
    for left, right in zip(
        [*kinds, *[Text()] * (len(facts) - len(kinds))], [*facts, *[Text()] * (len(kinds) - len(facts))], strict=True
    ):
        grid.add_row(left, right)
    events = model.events(SHOWN_EVENTS)
    room = height - 4 - max(len(kinds), len(facts)) - (len(events) + 1 if events else 0)
    parts += [grid, Text()]
    parts.append(_symbols(model, choice, max(1, room), old=old))
    if events:
        parts.append(Text("─" * width, style="dim"))
        parts += [_event(each, width) for each in events]
    parts.append(_footer(choice, width, asks=asks))
    return Group(*parts)


def _banner(model: Model, width: int, now: float, trouble: str, *, old: bool) -> Text:
    state = model.state
    if old:
        words = f" OLD DATA  No data has arrived for {model.age(now):.0f} s: do not trade on it. {trouble}"
        return Text(set_cell_size(words, width), style="bold white on red", no_wrap=True)
    name, verdict, style = VERDICTS[state["state"]]
    words = f" {name}  {verdict} {state['reason'] if state['state'] != 'live' else ''}"
    end = f" {_clock(state['at'])} "
    room = width - cell_len(end)
    return Text(
        set_cell_size(words, room) + end if room > 20 else set_cell_size(words, width), style=style, no_wrap=True
    )


def _kinds(state: Mapping[str, Any]) -> Iterator[Text]:
    for kind, found in state.get("kinds", {}).items():
        series: Mapping[str, int] = found["series"]
        total = sum(series.values())
        live = sum(series.get(name, 0) for name in GOOD)
        line = Text(f"{kind[:14]:<15}", no_wrap=True)
        drawn_to = done = 0
        for name, count in sorted(series.items(), key=lambda one: list(STYLES).index(one[0])):
            done += count
            cells = round(BAR * done / total) - drawn_to
            drawn_to += cells
            line.append("━" * cells, STYLES[name])
        line.append(f" {live}" if live == total else f" {live}/{total}", "" if live == total else "yellow")
        yield line


def _facts(model: Model) -> Iterator[Text]:
    state = model.state
    for each in state["connections"]:
        good = each["state"].startswith("open") and not each["quiet"]
        yield Text(_connection(each), style="" if good else "red", no_wrap=True)
    if shared := state.get("shared"):
        bad = shared["role"] == "lost" or (shared["role"] == "reader" and not shared["leader"])
        yield Text(f"shared store: {_shared(shared)}", style="red" if bad else "", no_wrap=True)
        if others := users(shared):
            yield Text("  " + ", ".join(others), style="yellow" if shared["alone"] else "dim", no_wrap=True)
    if model.frames_a_second is not None:
        yield Text(f"{model.frames_a_second:,.0f} frames/s", style="dim")
    for host, used in state["budget"].items():
        yield Text(f"{host} weight {_weight(used)}", style="bold red" if used["blocked_until"] else "")
    causes = ", ".join(f"{count} {cause}" for cause, count in state["requests"].items() if count)
    yield Text(f"requests: {causes or 'none'}", style="dim")
    reads = state["reads"]["memory"] + state["reads"]["rest"]
    if reads:
        yield Text(f"reads from memory: {100 * state['reads']['memory'] / reads:.1f} % of {reads}", style="dim")


def _symbols(model: Model, choice: Choice, room: int, *, old: bool) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold", pad_edge=False)
    heads = {"symbol": "symbol", "price": "price", "change": "24 h", "age": "age", "quality": "quality"}
    for name, head in heads.items():
        mark = (" ▼" if choice.down else " ▲") if choice.by == name else ""
        table.add_column(head + mark, justify="left" if name == "symbol" else "right", no_wrap=True)
    rows = model.rows(choice)
    choice.first = max(0, min(choice.first, len(rows) - room))
    for row in rows[choice.first : choice.first + room]:
        change = float(row.change or 0)
        table.add_row(
            Text("● ", style=STYLES.get(row.state, "dim")).append(row.symbol, "dim" if old else "bold"),
            Text(row.price or "–"),
            Text(
                f"{change:+.2f} %" if row.change else "–", style="green" if change > 0 else "red" if change < 0 else ""
            ),
            Text("–" if row.age is None else f"{row.age} s"),
            Text("–" if row.quality is None else str(row.quality)),
            style="dim" if old else "",
        )
    return table


def _event(event: list[Any], width: int) -> Text:
    _, at, what, subject, reason, count = event
    words = EVENTS.get(what, what).format(subject, count)
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"{_clock(at)} ", "dim").append(
        words, "red" if what in ("lost", "degraded", "limited", "stopped") else ""
    )
    if reason:
        line.append(f": {reason}", "dim")
    line.truncate(width, overflow="ellipsis")
    return line


def _footer(choice: Choice, width: int, *, asks: bool) -> Text:
    if asks:
        words = f"filter: {choice.find}▏ (Enter keeps it, Esc drops it)"
    else:
        words = KEYS + (f"   filter: {choice.find}" if choice.find else "")
    return Text(set_cell_size(words, width), style="dim", no_wrap=True)


def _shared(shared: Mapping[str, Any]) -> str:
    reign = f", epoch {shared['epoch']}" if shared["epoch"] else ""
    if shared["role"] == "reader":
        return f"reader of {shared['leader']}{reign}" if shared["leader"] else f"reader; {shared['reason']}"
    behind = f" behind {shared['leader']}" if shared["leader"] and shared["role"] == "standby" else ""
    return f"{shared['role']}{behind}{reign}"


def _connection(each: Mapping[str, Any]) -> str:
    state = "no sign of life" if each["quiet"] and each["state"].startswith("open") else each["state"]
    streams = f" {each['acknowledged']}/{each['streams']} streams since" if each["streams"] else ", last heard"
    line = f"{each['name']:<10} {state}{streams} {_clock(each['since'])}"
    return f"{line}; last disconnected: {each['last_error']}" if each["last_error"] else line


def _weight(used: Mapping[str, Any]) -> str:
    blocked = f", nothing is sent until {_clock(used['blocked_until'])}" if used["blocked_until"] else ""
    return f"{used['used']} of {used['allowed']} per minute{blocked}"


def _clock(epoch: float) -> str:
    return datetime.fromtimestamp(epoch).strftime("%H:%M:%S")
