"""What the exchange says of itself: who trades there, what it allows, what time it is."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import MalformedAnswer
from .payload import DecodeError, field, json_answer, whole

LEAST_WEIGHT_LIMIT = 100
"""A limit a minute below this is no limit but a mistake: with it, next to nothing could be asked."""


@dataclass(frozen=True, slots=True)
class ExchangeInfo:
    """Which symbols trade, and the weight the exchange allows a minute (None where it does not say)."""

    trading: frozenset[str]
    listed: frozenset[str]
    weight_limit: int | None


def exchange_info(body: bytes) -> ExchangeInfo:
    """The parts of an exchangeInfo answer that matter here."""
    values = json_answer(body, dict)
    symbols = values.get("symbols")
    if not isinstance(symbols, list):
        raise MalformedAnswer("exchangeInfo came without its symbols", status=200)
    listed = {s["symbol"]: s.get("status") for s in symbols if isinstance(s, dict) and isinstance(s.get("symbol"), str)}
    if not listed:
        raise MalformedAnswer("exchangeInfo listed no symbol", status=200)
    limits = values.get("rateLimits")
    limit = None
    for rule in limits if isinstance(limits, list) else ():
        if not isinstance(rule, dict):
            continue
        what = (rule.get("rateLimitType"), rule.get("interval"), rule.get("intervalNum"))
        if what == ("REQUEST_WEIGHT", "MINUTE", 1):
            number = rule.get("limit")
            if isinstance(number, int) and number >= LEAST_WEIGHT_LIMIT and not isinstance(number, bool):
                limit = number
    trading = frozenset(symbol for symbol, status in listed.items() if status == "TRADING")
    return ExchangeInfo(trading, frozenset(listed), limit)


def server_time(body: bytes) -> int:
    """The exchange's time of a ``/time`` answer, ms."""
    try:
        return whole(field(json_answer(body, dict), "serverTime"))
    except DecodeError as error:
        raise MalformedAnswer(f"/time came without the time: {error}", status=200) from None
