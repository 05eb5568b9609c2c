from __future__ import annotations

from collections.abc import Iterator

import pytest

from ats_sync.clock import Clock
from ats_sync.config import Config
from ats_sync.engine.quality import Quality
from ats_sync.errors import DataUnavailableError, InvalidSymbol, StaleDataError
from ats_sync.feeds import Key, Kind
from ats_sync.shared.client import SharedStore
from ats_sync.shared.layout import quality_field, quality_text
from ats_sync.shared.quality import BELIEVED_FOR, quality_of
from ats_sync.shared.replica import Replica
from ats_sync.shared.shards import WHOLE

from .servers import StoreServer
from .written import WrittenFeed

CONFIG = Config()
SYMBOL = "BTCUSDT"
MEASURED = Quality(0.9321, 0.125, 0.0, 0.25, 0.0, 300.0)


class Led(WrittenFeed):
    """A reader of a store in which a collector has written that it leads."""

    def __init__(self, store: SharedStore) -> None:
        super().__init__(store, CONFIG)
        self.clock = Clock()
        self.replica = Replica(CONFIG, self.clock, store)

    def measure(self, seconds_ago: float) -> None:
        text = quality_text(MEASURED, int((self.now - seconds_ago) * 1000))
        self.write(self.names.meta, {quality_field(SYMBOL): text})

    def quality(self) -> Quality:
        return quality_of(SYMBOL, self.replica, self.store, self.clock)


@pytest.fixture
def led(valkey: StoreServer) -> Iterator[Led]:
    store = SharedStore(valkey.url)
    yield Led(store)
    store.close()


def test_what_the_collector_wrote_is_believed_for_a_while_and_shown_in_the_error_afterwards(led: Led) -> None:
    led.measure(BELIEVED_FOR - 15.0)
    assert led.quality() == MEASURED
    led.measure(BELIEVED_FOR + 1.0)
    with pytest.raises(StaleDataError, match=SYMBOL) as stale:
        led.quality()
    assert stale.value.data == MEASURED
    assert stale.value.bound == BELIEVED_FOR < stale.value.age


def test_what_nobody_follows_is_no_symbol_and_what_is_followed_was_not_measured_yet(led: Led) -> None:
    with pytest.raises(InvalidSymbol, match="not watched"):
        led.quality()
    led.replica.intend([Key(Kind.BOOK, SYMBOL)])
    with pytest.raises(DataUnavailableError, match="not measured"):
        led.quality()


def test_where_nobody_leads_or_the_store_is_away_it_is_said(led: Led, valkey: StoreServer) -> None:
    led.measure(0.0)
    led.write(led.store.key("lease", WHOLE.lease), {"until": 1})
    with pytest.raises(DataUnavailableError, match="no collector leads"):
        led.quality()
    valkey.kill()
    with pytest.raises(DataUnavailableError, match="its collector knows alone"):
        led.quality()


def test_what_cannot_be_read_is_no_quality(led: Led) -> None:
    led.write(led.names.meta, {quality_field(SYMBOL): b"[1,2]"})
    with pytest.raises(DataUnavailableError, match="cannot be used"):
        led.quality()
