"""Which contracts were listed or delisted."""

from __future__ import annotations

from ..store.market import MarketStore
from ..venue.listings import Phase
from .values import ContractChange

SERVED = (Phase.TRADING, Phase.PAUSED)
GONE_FOR = 4_000
"""Two answers at least this far apart (ms) must show that a contract nobody follows is gone."""


class ContractWatch:
    """Which contracts of the whole exchange were listed or delisted since the last look; for the first look, since the
    store's first listings, or since :meth:`begin`.

    A followed contract is delisted once the engine has decided so, for which a second source must agree. For other
    contracts, an event of ``!contractInfo`` counts at once, and exchangeInfo counts once two of its answers agree.
    """

    def __init__(self) -> None:
        self._served: dict[str, bool] = {}
        self._missing: dict[str, int] = {}  # the first answer (exchange ms) without a contract that nobody follows
        self._renewed: dict[str, int] = {}
        self._seen: tuple[object, ...] = ()

    @property
    def begun(self) -> bool:
        """Whether it has seen which contracts exist."""
        return bool(self._served)

    def begin(self, store: MarketStore) -> None:
        """Treat all changes so far as known."""
        self.look(store)

    def look(self, store: MarketStore) -> list[tuple[bool, ContractChange]]:
        """Return ``(listed, change)`` for each change."""
        info = store.listings.get()
        as_of = info.as_of if info is not None else 0
        seen = (as_of, store.contracts.received, store.delisted, store.renewed, store.symbols)
        if info is None or seen == self._seen or info.value.is_mostly_gone():
            return []
        if not self._served:
            self._served = dict.fromkeys(store.listings.at_first, True)
        self._seen = seen
        changes = []
        for symbol in {*info.value.statuses, *store.contracts.symbols(), *self._served}:
            served = self._is_served(symbol, store, info.as_of)
            before = self._served.get(symbol, False)
            renewed = store.renewed.get(symbol, 0)
            again = served and before and renewed > self._renewed.get(symbol, 0)
            self._served[symbol] = served
            if renewed:
                self._renewed[symbol] = renewed
            if served != before or again:
                event = store.contracts.get(symbol)
                at = max(info.as_of, event.time if event is not None else 0)
                changes.append((served, ContractChange(symbol, store.contract_status(symbol), at)))
        return changes

    def _is_served(self, symbol: str, store: MarketStore, as_of: int) -> bool:
        before = self._served.get(symbol, False)
        if symbol in store.delisted:
            return False
        phase = store.phase(symbol)
        if phase is not Phase.GONE:
            self._missing.pop(symbol, None)
            return phase in SERVED
        if symbol in store.symbols:
            return before  # the engine decides whether it has been delisted
        if store.event_phase(symbol) is Phase.GONE:
            return False
        return before and as_of < self._missing.setdefault(symbol, as_of) + GONE_FOR
