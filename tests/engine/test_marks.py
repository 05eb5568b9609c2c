from __future__ import annotations

from ats_sync.config import Config
from ats_sync.engine.marks import Marks
from ats_sync.store.link import Link
from ats_sync.store.market import MarketStore, keys_of

from ..venue import samples
from ..venue.samples import MIDNIGHT

LINK = Link(1, "market", 0.0)


def test_at_first_all_have_changed_and_then_those_with_a_frame_or_an_answer() -> None:
    store = MarketStore(Config(), lambda: 0.0)
    store.follow(keys_of(["AUSDT", "BUSDT", "CUSDT"], ["1m"], []))
    marks = Marks(store.series[key] for key in store.followed_keys())
    assert marks.changed() == {"AUSDT", "BUSDT", "CUSDT"}
    assert marks.changed() == set()
    store.ingest([samples.trade_frame(1, symbol="BUSDT", at=MIDNIGHT)], LINK)
    assert marks.changed() == {"BUSDT"}
    store.klines("CUSDT", "1m").answers += 1
    store.ingest([samples.book_frame(1, symbol="AUSDT")], LINK)
    assert marks.changed() == {"AUSDT", "CUSDT"}
    assert marks.changed() == set()


def test_without_series_nothing_changes() -> None:
    assert Marks().changed() == set()
