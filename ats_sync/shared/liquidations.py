"""The liquidations of a reader: those that the collector has seen, brought when they are read."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import DataUnavailableError
from ..feeds import Key, Kind
from ..store.values import EVERYBODY, LiquidationBoard
from ..venue.values import Liquidation


class LiquidationReplica(LiquidationBoard):
    """``bring(key)`` brings those of a symbol up to date, and returns None, or why that could not be done."""

    def __init__(self, capacity: int, bring: Callable[[Key], str | None]) -> None:
        super().__init__(capacity)
        self._bring = bring

    def read(self, symbol: str | None, limit: int) -> list[Liquidation]:
        """As in the collector. Raises :class:`~ats_sync.errors.DataUnavailableError` where there is none: they cannot
        be requested."""
        why = self._bring(Key(Kind.LIQUIDATIONS, symbol if symbol is not None else EVERYBODY))
        if why is not None:
            raise DataUnavailableError(f"liquidations come by stream alone, and {why}")
        return super().read(symbol, limit)
