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

    def test_what_is_listed_and_what_is_delisted_is_reported(self) -> None:
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

    def test_no_change_before_the_first_look_is_lost(self) -> None:
        market, watch = Market(), ContractWatch()
        store = market.store
        self.listings(dict.fromkeys((*SYMBOLS, "SOLUSDT"), "TRADING"), MIDNIGHT)(store)
        after = {**dict.fromkeys((*SYMBOLS, "NEWUSDT"), "TRADING"), "SOLUSDT": "SETTLING"}
        self.listings(after, MIDNIGHT + 1_000)(store)
        store.ingest([samples.contract_frame("SOLUSDT", "SETTLING", event=MIDNIGHT + 500)], LINK)
        store.delisted = {"ETHUSDT": "gone"}
        assert {(listed, change.symbol) for listed, change in watch.look(store)} == {
            (True, "NEWUSDT"),
            (False, "SOLUSDT"),
            (False, "ETHUSDT"),
        }
        assert watch.look(store) == []

    def test_what_had_changed_before_is_not_reported(self) -> None:
        market, watch = Market(), ContractWatch()
        store = market.store
        self.listings(dict.fromkeys((*SYMBOLS, "SOLUSDT"), "TRADING"), MIDNIGHT)(store)
        store.ingest([samples.contract_frame("NEWUSDT", "TRADING", event=MIDNIGHT + 1_000)], LINK)
        watch.begin(store)
        assert watch.look(store) == []
        store.ingest([samples.contract_frame("NEWERUSDT", "TRADING", event=MIDNIGHT + 2_000)], LINK)
        assert [change.symbol for _, change in watch.look(store)] == ["NEWERUSDT"]

    def test_the_first_listings_of_a_maintenance_list_nothing_afterwards(self) -> None:
        market, watch = Market(), ContractWatch()
        known = dict.fromkeys((*SYMBOLS, "SOLUSDT", "XRPUSDT"), "TRADING")
        self.listings({**dict.fromkeys(known, "CLOSE"), "BTCUSDT": "TRADING"}, MIDNIGHT)(market.store)
        assert watch.look(market.store) == []
        self.listings(known, MIDNIGHT + 60_000)(market.store)
        assert watch.look(market.store) == []

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
