"""The facts that the client rests on, each with its source and how it is checked."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

from .probe_looks import MARKET, PUBLIC, REQUESTS, SILENT, SYMBOL, Seen

Verdict = tuple[bool, str]
"""Whether the fact is kept, and what was seen."""


class Fact(NamedTuple):
    """One line of the probe."""

    name: str
    source: str
    check: Callable[[Seen], Verdict]


MEASURED = "measured 2026-10-07"
DOCUMENTED = "documentation"


def _weighs(name: str) -> Callable[[Seen], Verdict]:
    def check(seen: Seen) -> Verdict:
        grew = seen.answers[name].grew
        return grew == REQUESTS[name][2], "no header showed it" if grew is None else f"the header grew by {grew}"

    return check


def _refused(name: str, code: int) -> Callable[[Seen], Verdict]:
    def check(seen: Seen) -> Verdict:
        found = seen.answers[name].code
        return found == code, "it was answered" if found is None else f"refused with {found}"

    return check


def _delivers(route: str, *streams: str) -> Callable[[Seen], Verdict]:
    def check(seen: Seen) -> Verdict:
        silent = [name for name in streams if not seen.frames.get((route, name))]
        return not silent, f"silent: {', '.join(silent)}" if silent else "all of them came"

    return check


def _silent(route: str, *streams: str) -> Callable[[Seen], Verdict]:
    def check(seen: Seen) -> Verdict:
        heard = [name for name in streams if seen.frames.get((route, name))]
        return not heard, f"delivered: {', '.join(heard)}" if heard else "silent"

    return check


def _fields(route: str, stream: str, fields: str) -> Callable[[Seen], Verdict]:
    def check(seen: Seen) -> Verdict:
        frames = seen.frames.get((route, stream), [])
        if not frames:
            return False, "no frame came"
        data = frames[-1][0] if isinstance(frames[-1], list) else frames[-1]
        data = data.get("k", data)
        lacking = [name for name in fields.split() if name not in data]
        return not lacking, f"lacking: {' '.join(lacking)}" if lacking else "all there"

    return check


def _acknowledged(identity: int) -> Callable[[Seen], Verdict]:
    def check(seen: Seen) -> Verdict:
        bad = [route for route, replies in seen.replies.items() if {"result": None, "id": identity} not in replies]
        return not bad, f"not on {', '.join(bad)}" if bad else "on every route"

    return check


def _header(seen: Seen) -> Verdict:
    lacking = sum(used is None for used in seen.used)
    return not lacking, f"{lacking} of {len(seen.used)} answers without it" if lacking else "in every answer"


def _minute(seen: Seen) -> Verdict:
    before, after = seen.before_turn, seen.after_turn
    found = f"{before} before the turn of the minute, {after} after it"
    return before is not None and after is not None and after < before, found


def _rows(seen: Seen) -> Verdict:
    rows = seen.answers["klines 500"].body or [[]]
    return len(rows[-1]) == 12, f"{len(rows)} rows of {len(rows[-1])}"


def _without_limit(seen: Seen) -> Verdict:
    body = seen.answers["depth"].body or {}
    levels = max(len(body.get("bids", ())), len(body.get("asks", ())))
    return 0 < levels <= 500 and "lastUpdateId" in body, f"{levels} levels at most on a side"


def _trade_ids(seen: Seen) -> Verdict:
    ids = [data["a"] for data in seen.frames.get(("market", f"{SYMBOL}@aggTrade"), [])]
    holes = sum(b != a + 1 for a, b in itertools.pairwise(ids))
    return len(ids) > 1 and not holes, f"{len(ids)} trades, {holes} holes"


def _diffs(seen: Seen) -> Verdict:
    diffs = seen.frames.get(("public", f"{SYMBOL}@depth@100ms"), [])
    holes = sum(b["pu"] != a["u"] for a, b in itertools.pairwise(diffs))
    return len(diffs) > 1 and not holes, f"{len(diffs)} diffs, {holes} holes"


def _pongs(seen: Seen) -> Verdict:
    deaf = [route for route, ponged in seen.ponged.items() if not ponged]
    return not deaf, f"no pong on {', '.join(deaf)}" if deaf else "on every route"


_WEIGHTS = {
    **dict.fromkeys(("klines 100", "klines 500", "klines 1000", "klines 1001"), MEASURED),
    **dict.fromkeys(("depth", "aggTrades of no symbol"), MEASURED),
    **dict.fromkeys(("depth 20", "depth 100", "aggTrades", "premiumIndex"), DOCUMENTED),
}
FACTS = (
    Fact("each answer tells the used weight", DOCUMENTED, _header),
    Fact("the weight falls at the UTC minute", MEASURED, _minute),
    *(Fact(f"{name} weighs {REQUESTS[name][2]}", source, _weighs(name)) for name, source in _WEIGHTS.items()),
    Fact("a kline row has 12 fields", DOCUMENTED, _rows),
    Fact("depth without limit has up to 500 levels", MEASURED, _without_limit),
    Fact("an unknown symbol is -1121", DOCUMENTED, _refused("aggTrades of no symbol", -1121)),
    Fact("klines of 1s are -1120", DOCUMENTED, _refused("klines 1s", -1120)),
    Fact("a depth limit that does not exist is -4021", DOCUMENTED, _refused("depth 7", -4021)),
    Fact("/market delivers candles, trades, marks, tickers", DOCUMENTED, _delivers("market", *MARKET)),
    Fact("/market is silent on books", DOCUMENTED, _silent("market", *PUBLIC)),
    Fact("/public delivers books", DOCUMENTED, _delivers("public", *PUBLIC)),
    Fact("/public is silent on the rest", DOCUMENTED, _silent("public", *MARKET)),
    Fact("without a route books come", DOCUMENTED, _delivers("unrouted", *PUBLIC)),
    Fact("without a route the rest is silent", DOCUMENTED, _silent("unrouted", *MARKET)),
    Fact("spot delivers candles", DOCUMENTED, _delivers("spot", f"{SYMBOL}@kline_1m")),
    Fact("nonsense, upper case and @250ms are silent on /market", MEASURED, _silent("market", *SILENT)),
    Fact("nonsense, upper case and @250ms are silent on /public", MEASURED, _silent("public", *SILENT)),
    Fact("SUBSCRIBE is acknowledged, nonsense included", MEASURED, _acknowledged(1)),
    Fact("UNSUBSCRIBE of nonsense is acknowledged", MEASURED, _acknowledged(2)),
    Fact("fields of a kline", DOCUMENTED, _fields("market", MARKET[0], "t T s i f L o c h l v n x q V Q")),
    Fact("fields of aggTrade", DOCUMENTED, _fields("market", MARKET[1], "E a p q f l T m")),
    Fact("fields of markPrice", DOCUMENTED, _fields("market", MARKET[2], "E s p i P r T")),
    Fact("fields of a depth diff", DOCUMENTED, _fields("public", PUBLIC[1], "E T U u pu b a")),
    Fact("fields of bookTicker", DOCUMENTED, _fields("public", PUBLIC[2], "u b B a A")),
    Fact("ids of aggregated trades are consecutive", DOCUMENTED, _trade_ids),
    Fact("each diff begins where the last one ended", DOCUMENTED, _diffs),
    Fact("a ping is answered by a pong", DOCUMENTED, _pongs),
)
"""Every fact, as it is printed."""
