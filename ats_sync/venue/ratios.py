"""The series of ``/futures/data`` that describe positions: long/short ratios, taker volumes, the basis."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..errors import InvalidArgument, MalformedAnswer
from .payload import DecodeError, decimal, field, json_answer, whole

PERPETUAL = "PERPETUAL"


class Ratio(NamedTuple):
    """How one of the series is requested and written."""

    numbers: tuple[str, ...]
    """Its decimals."""
    empty: str = ""
    """The field that may be the empty string."""
    by_pair: bool = False
    """Whether it is requested by ``pair`` and ``contractType`` instead of ``symbol``."""


_ACCOUNTS = Ratio(("longShortRatio", "longAccount", "shortAccount"))
RATIOS = {
    "globalLongShortAccountRatio": _ACCOUNTS,
    "topLongShortAccountRatio": _ACCOUNTS,
    "topLongShortPositionRatio": _ACCOUNTS,
    "takerlongshortRatio": Ratio(("buySellRatio", "buyVol", "sellVol")),
    "basis": Ratio(
        ("basis", "basisRate", "annualizedBasisRate", "futuresPrice", "indexPrice"),
        empty="annualizedBasisRate",  # for a perpetual, which has no term
        by_pair=True,
    ),
}
"""The series by the last part of their path, which is their name."""


def check_ratio(kind: object) -> str:
    """Return the name of a series if it exists; otherwise raise
    :class:`~ats_sync.errors.InvalidArgument`."""
    if isinstance(kind, str) and kind in RATIOS:
        return kind
    raise InvalidArgument(f"there is no ratio {kind!r}; choose one of {', '.join(RATIOS)}")


def pair_of(symbol: str) -> str:
    """Return the pair of a contract: its name without the delivery date."""
    return symbol.partition("_")[0]


def rest_ratios(kind: str, body: bytes) -> list[dict[str, Any]]:
    """Return the rows of an answer, oldest first, as the exchange wrote them."""
    ratio, rows = RATIOS[kind], json_answer(body, list)
    try:
        for row in rows:
            for name in ratio.numbers:
                if name != ratio.empty or field(row, name) != "":
                    decimal(field(row, name))
            whole(field(row, "timestamp"))
    except DecodeError as error:
        raise MalformedAnswer(f"the exchange sent an unusable row of {kind}: {error}", status=200) from None
    return sorted(rows, key=lambda row: int(row["timestamp"]))
