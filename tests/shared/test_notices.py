"""What readers are notified of through a stream of a real server."""

from __future__ import annotations

from contextlib import closing

import pytest

from ats_sync.errors import SharedStoreUnavailable
from ats_sync.feeds import Key, Kind
from ats_sync.shared.client import SharedStore
from ats_sync.shared.layout import field_of
from ats_sync.shared.notices import AT_ONCE, EVERYTHING, NOTICES_KEY, Notices, notice

from .servers import StoreServer

BTC, ETH = Key(Kind.KLINES, "BTCUSDT", "1m"), Key(Kind.KLINES, "ETHUSDT", "1m")


def send(store: SharedStore, *fields: bytes, times: int = 1) -> None:
    for _ in range(times):
        store.run(lambda redis: redis.execute_command(*notice(fields)))


def test_each_notice_is_read_once_by_each_reader(store: SharedStore) -> None:
    first, second = Notices(store), Notices(store)
    assert first.wait(0.001) == set()
    send(store, field_of(BTC))
    send(store, field_of(BTC), field_of(ETH))
    assert first.wait(1.0) == {BTC, ETH}
    assert first.wait(0.001) == set()
    second.skip()
    assert second.wait(0.001) == set()
    send(store, field_of(ETH))
    assert first.wait(1.0) == second.wait(1.0) == {ETH}


def test_it_says_so_where_all_series_may_have_news(store: SharedStore) -> None:
    notices = Notices(store)
    send(store, field_of(BTC))
    send(store, EVERYTHING)
    assert notices.wait(1.0) is None
    assert notices.wait(0.001) == set()
    send(store, field_of(BTC), times=AT_ONCE)
    assert notices.wait(1.0) is None, "there may be more notices than one answer contains"
    store.run(lambda redis: redis.xadd(NOTICES_KEY, {"another": "form"}))
    assert notices.wait(1.0) is None


def test_a_notice_that_cannot_be_read_names_nothing(store: SharedStore) -> None:
    notices = Notices(store)
    send(store, b"nonsense")
    send(store, field_of(BTC))
    assert notices.wait(1.0) == {BTC}


def test_a_store_that_is_away_is_an_error(valkey: StoreServer) -> None:
    with closing(SharedStore(valkey.url)) as store:
        notices = Notices(store)
        valkey.kill()
        for wait in (notices.skip, lambda: notices.wait(0.001)):
            with pytest.raises(SharedStoreUnavailable):
                wait()
