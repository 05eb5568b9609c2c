"""Long/short ratios, taker volumes and the basis."""

from __future__ import annotations

from collections.abc import Callable

from ..feeds import Key
from ..venue import endpoints
from ..venue.endpoints import Request
from .periods import PeriodSeries, Rows


class RatioSeries(PeriodSeries):
    """One of these series for one symbol and period. ``contract_type()`` is that of the symbol."""

    def __init__(self, key: Key, depth: int, contract_type: Callable[[], str]) -> None:
        super().__init__(key, depth)
        self._contract_type = contract_type

    def newest_rows(self, limit: int) -> Request[Rows]:
        key = self.key
        return endpoints.ratio(key.kind.value, key.symbol, key.interval, limit, contract_type=self._contract_type())
