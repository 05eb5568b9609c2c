"""Stream names and the routes that deliver them."""

from __future__ import annotations

ROUTES = ("public", "market", "private")
UNROUTED = "unrouted"
SPOT = "spot"

_PUBLIC_KINDS = frozenset({"depth", "bookTicker"})
KINDS = (
    "kline", "aggTrade", "trade", "depth", "bookTicker", "markPrice", "forceOrder", "ticker", "contractInfo",
    "tradingSession",
)  # fmt: skip


def kind_of(stream: str) -> str:
    """Return the kind of data of a stream name: one of :data:`KINDS`, or "" for a name of no known form.

    ``<s>@kline_1h`` is "kline", ``<s>@depth20@100ms`` and ``<s>@depth@100ms`` are "depth",
    ``!markPrice@arr@1s`` is "markPrice".
    """
    if stream.startswith("!"):
        found = stream[1:].split("@", 1)[0]
    elif stream == "tradingSession":
        found = stream
    else:
        symbol, _, rest = stream.partition("@")
        found = rest.split("@", 1)[0].split("_", 1)[0] if symbol else ""
        if found.startswith("depth"):
            found = "depth"
    return found if found in KINDS else ""


def delivers(route: str, stream: str) -> bool:
    """Return whether a connection on ``route`` ever receives ``stream``; if not, it stays silent without an error."""
    kind = kind_of(stream)
    if not kind:
        return False
    if route == SPOT:
        return True
    if route in ("public", UNROUTED):
        return kind in _PUBLIC_KINDS
    return route == "market" and kind not in _PUBLIC_KINDS


def matches(selector: str, stream: str) -> bool:
    """Return whether ``selector`` (a kind, a stream name, or "*") names ``stream``."""
    return selector in ("*", stream) or selector == kind_of(stream)


def check_selector(selector: str) -> str:
    """Return ``selector`` if it is a kind, a stream name or "*"; otherwise raise ValueError."""
    if selector in ("*", *KINDS) or kind_of(selector):
        return selector
    raise ValueError(f"not a kind of stream ({', '.join(KINDS)}), a stream name or '*': {selector!r}")
