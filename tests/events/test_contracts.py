from __future__ import annotations

from collections.abc import Callable

from ats_sync import ContractChange
from ats_sync.events.contracts import ContractWatch
from ats_sync.store.market import MarketStore
from ats_sync.store.series import Origin
from ats_sync.venue.listings import exchange_info

from ..venue import samples
from ..venue.samples import MIDNIGHT
from .market import LINK, SYMBOLS, Market


class TestContracts:
    def listings(self, statuses: dict[str, str], at: int) -> Callable[[MarketStore], None]:
        body = samples.compact(samples.exchange_info(statuses))
        return lambda store: store.listings.replace(exchange_info(body), Origin(at))

    def test_what_is_listed_and_what_leaves(self) -> None:
        market, watch = Market(), ContractWatch()
        store = market.store
        known = dict.fromkeys((*SYMBOLS, "SOLUSDT", "XRPUSDT"), "TRADING")
        self.listings(known, MIDNIGHT)(store)
        assert watch.look(store) == []
        event = samples.contract_frame("NEWUSDT", "TRADING", event=MIDNIGHT + 1_000)
        store.ingest([event, samples.contract_frame("SOLUSDT", "SETTLING", event=MIDNIGHT + 1_000)], LINK)
        assert sorted(watch.look(store), key=lambda each: each[0]) == [
            (False, ContractChange("SOLUSDT", "SETTLING", MIDNIGHT + 1_000)),
            (True, ContractChange("NEWUSDT", "TRADING", MIDNIGHT + 1_000)),
        ]
        assert watch.look(store) == []

    def test_one_answer_does_not_delist(self) -> None:
        market, watch = Market(), ContractWatch()
        store = market.store
        self.listings(dict.fromkeys((*SYMBOLS, "SOLUSDT"), "TRADING"), MIDNIGHT)(store)
        watch.look(store)
        self.listings({"BTCUSDT": "TRADING"}, MIDNIGHT + 60_000)(store)
        assert watch.look(store) == []
        self.listings({"BTCUSDT": "TRADING"}, MIDNIGHT + 120_000)(store)
        assert watch.look(store) == [(False, ContractChange("SOLUSDT", "", MIDNIGHT + 120_000))]
        store.delisted = {"ETHUSDT": "gone"}  # of what is followed, the engine decides
        assert watch.look(store) == [(False, ContractChange("ETHUSDT", "", MIDNIGHT + 120_000))]
