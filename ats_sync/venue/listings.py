"""What the exchange says about itself: its contracts, its limits, its time.

Statuses, contract types and underlying types are open lists: the exchange adds to them without notice.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from dataclasses import field as attribute
from decimal import Decimal
from enum import Enum
from typing import Any

from ..errors import MalformedAnswer
from .contracts import SymbolInfo, symbol_infos
from .envelope import frame_data
from .payload import DecodeError, field, json_answer, text_of, whole

LEAST_WEIGHT_LIMIT = 100
"""A limit per minute below this is taken for a mistake: almost nothing could be requested with it."""


TEXTS = 5
"""How many fields of a contract's rules after its symbol are texts; the others are decimals."""
COIN_MARGINED = 2
"""The ``st`` of rows that belong to the COIN-M market; all-market streams contain both markets."""


class Phase(str, Enum):
    """What a contract's status means for readers of its data."""

    TRADING = "trading"
    PAUSED = "paused"
    """It does not trade for now; its last candles, book and mark are served unchanged."""
    PENDING = "pending"
    """It is announced and has not traded yet."""
    GONE = "gone"
    """It will not trade again."""


PHASES: Mapping[str, Phase] = {
    "TRADING": Phase.TRADING,
    "PENDING_TRADING": Phase.PENDING,
    "PRE_TRADING": Phase.PENDING,
    "TRADING_HALT": Phase.PAUSED,
    "TRADING_CANCEL_ONLY": Phase.PAUSED,
    "PRE_SETTLE": Phase.PAUSED,
    "PRE_DELIVERING": Phase.PAUSED,
    "HALT": Phase.PAUSED,
    "BREAK": Phase.PAUSED,
    "AUCTION_MATCH": Phase.PAUSED,
    "POST_TRADING": Phase.PAUSED,
    "END_OF_DAY": Phase.PAUSED,
    "SETTLING": Phase.GONE,
    "DELIVERING": Phase.GONE,
    "DELIVERED": Phase.GONE,
    "CLOSE": Phase.GONE,
}


def phase_of(status: str) -> Phase:
    """Return what a status means; an unknown one counts as trading, and its data decides."""
    return PHASES.get(status, Phase.TRADING)


def is_perpetual(contract_type: str) -> bool:
    """Return whether a contract type (``PERPETUAL``, ``TRADIFI_PERPETUAL``, …) has no delivery date."""
    return contract_type.endswith("PERPETUAL")


def is_coin_margined(row: object) -> bool:
    """Return whether a row of a stream belongs to the COIN-M market."""
    return isinstance(row, dict) and row.get("st") == COIN_MARGINED


@dataclass(frozen=True, slots=True)
class ExchangeInfo:
    """Which symbols exist, and the weight that the exchange allows per minute (None if it does not say)."""

    trading: frozenset[str]
    """Symbols that trade, are paused, or have an unknown status: their data is served."""
    listed: frozenset[str]
    weight_limit: int | None
    statuses: Mapping[str, str] = attribute(default_factory=dict)
    """Statuses by symbol, as the exchange writes them."""
    onboarded: Mapping[str, int] = attribute(default_factory=dict)
    """When (exchange ms) each symbol began or will begin to trade, if known."""
    rules: Mapping[str, SymbolInfo] = attribute(default_factory=dict)
    """The trading rules of each symbol, if they can be read."""

    def phase(self, symbol: str) -> Phase:
        """Return the phase of a symbol; one that is not listed is gone."""
        if symbol in self.trading:
            return phase_of(self.statuses.get(symbol, ""))
        if symbol in self.listed and phase_of(self.statuses.get(symbol, "")) is Phase.PENDING:
            return Phase.PENDING
        return Phase.GONE

    def is_mostly_gone(self) -> bool:
        """Return whether most listed symbols are not served, as during maintenance."""
        return 2 * len(self.trading) < len(self.listed)


def exchange_info(body: bytes) -> ExchangeInfo:
    """Return the parts of an exchangeInfo answer that are needed here."""
    values = json_answer(body, dict)
    symbols = values.get("symbols")
    if not isinstance(symbols, list):
        raise MalformedAnswer("exchangeInfo came without its symbols", status=200)
    rows = [row for row in symbols if isinstance(row, dict) and isinstance(row.get("symbol"), str)]
    statuses = {row["symbol"]: _status(row) for row in rows}
    if not statuses:
        raise MalformedAnswer("exchangeInfo listed no symbol", status=200)
    served = frozenset(
        symbol for symbol, status in statuses.items() if phase_of(status) in (Phase.TRADING, Phase.PAUSED)
    )
    onboarded = {row["symbol"]: row["onboardDate"] for row in rows if type(row.get("onboardDate")) is int}
    limit = _weight_limit(values.get("rateLimits"))
    return ExchangeInfo(served, frozenset(statuses), limit, statuses, onboarded, symbol_infos(rows))


def info_text(info: ExchangeInfo) -> bytes:
    """Return everything in ``info``, as :func:`info_of` reads it."""
    whole = {
        "trading": sorted(info.trading),
        "listed": sorted(info.listed),
        "weight": info.weight_limit,
        "statuses": dict(info.statuses),
        "onboarded": dict(info.onboarded),
        "rules": [[str(getattr(rules, each.name)) for each in fields(rules)] for rules in info.rules.values()],
    }
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()


def info_of(text: bytes) -> ExchangeInfo:
    """Return what :func:`info_text` wrote."""
    whole = json.loads(text)
    rules = {}
    for symbol, *words in whole["rules"]:
        rules[symbol] = SymbolInfo(symbol, *words[:TEXTS], *map(Decimal, words[TEXTS:]))
    trading, listed = frozenset(whole["trading"]), frozenset(whole["listed"])
    return ExchangeInfo(trading, listed, whole["weight"], whole["statuses"], whole["onboarded"], rules)


def listing_text(info: ExchangeInfo) -> bytes:
    """Return an exchangeInfo answer that :func:`exchange_info` reads as ``info``."""
    symbols: list[dict[str, Any]] = [
        {"symbol": symbol, "status": info.statuses.get(symbol, "")} for symbol in sorted(info.listed)
    ]
    for row in symbols:
        if (onboarded := info.onboarded.get(row["symbol"])) is not None:
            row["onboardDate"] = onboarded
    limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": info.weight_limit}]
    answer = {"rateLimits": limits, "symbols": symbols}
    return json.dumps(answer, ensure_ascii=False, separators=(",", ":")).encode()


def _status(listed: dict[str, Any]) -> str:
    status = listed.get("status", listed.get("contractStatus"))
    return status if isinstance(status, str) else ""


def _weight_limit(limits: object) -> int | None:
    limit = None
    for rule in limits if isinstance(limits, list) else ():
        if not isinstance(rule, dict):
            continue
        what = (rule.get("rateLimitType"), rule.get("interval"), rule.get("intervalNum"))
        if what == ("REQUEST_WEIGHT", "MINUTE", 1):
            number = rule.get("limit")
            if isinstance(number, int) and number >= LEAST_WEIGHT_LIMIT and not isinstance(number, bool):
                limit = number
    return limit


@dataclass(frozen=True, slots=True)
class ContractEvent:
    """One contract's status as ``!contractInfo`` reported it; ``time`` is the event's, ms."""

    symbol: str
    status: str
    time: int
    onboarded: int = 0
    """When (exchange ms) it began or will begin to trade, 0 if that is not known."""


def stream_contract(frame: bytes) -> ContractEvent | None:
    """Return the event of a ``!contractInfo`` frame, None if it belongs to the COIN-M market."""
    data = frame_data(frame)
    if is_coin_margined(data):
        return None
    symbol, status, event = text_of(field(data, "s")), text_of(field(data, "cs")), whole(field(data, "E"))
    onboarded = data.get("ot")
    return ContractEvent(symbol, status, event, onboarded if type(onboarded) is int else 0)


def server_time(body: bytes) -> int:
    """Return the exchange's time of a ``/time`` answer, ms."""
    try:
        return whole(field(json_answer(body, dict), "serverTime"))
    except DecodeError as error:
        raise MalformedAnswer(f"/time came without the time: {error}", status=200) from None
