from __future__ import annotations

import time
from collections.abc import Sequence

from ats_sync.errors import InvalidSymbol
from ats_sync.feeds import Key, Kind
from ats_sync.shared.client import SharedStore
from ats_sync.shared.layout import wish_of
from ats_sync.shared.protocol import Command
from ats_sync.shared.shards import WHOLE
from ats_sync.shared.wishes import KEPT, LOOK_EVERY, MOST, MOST_ROWS, WISHED_EVERY, WISHES_KEY, Wishes, WishList

BTC, ETH = Key(Kind.KLINES, "BTCUSDT", "1m"), Key(Kind.KLINES, "ETHUSDT", "1m")


def test_a_wish_is_written_again_after_a_while() -> None:
    wishes = Wishes()
    assert wishes.due(BTC, 5.0)
    assert not wishes.due(BTC, 5.0 + WISHED_EVERY - 1)
    assert wishes.due(BTC, 5.0 + WISHED_EVERY)
    assert wishes.due(ETH, 5.0)


def test_what_every_collector_follows_is_never_wished_for() -> None:
    assert not Wishes().due(Key(Kind.MARK), 5.0)


def test_what_is_followed_is_demanded_until_it_is_forgotten() -> None:
    wishes = Wishes()
    assert wishes.follow([BTC, ETH], 5.0) == [BTC, ETH]
    assert wishes.follow([ETH], 6.0) == []
    assert wishes.followed() == [BTC, ETH]
    wishes.forget({"BTCUSDT"})
    assert wishes.followed() == [ETH]


def test_what_is_forgotten_is_not_written_again_though_the_store_did_not_take_it() -> None:
    wishes = Wishes()
    wishes.failed(wishes.follow([BTC, ETH], 5.0))
    wishes.forget({"BTCUSDT"})
    assert wishes.take_failed() == [ETH]


def test_what_the_store_did_not_take_is_written_again_once() -> None:
    wishes = Wishes()
    wishes.failed(wishes.follow([BTC, ETH], 5.0))
    assert wishes.due(ETH, 6.0), "a read has written it meanwhile"
    assert wishes.take_failed() == [BTC]
    assert wishes.take_failed() == []


# --- in a collector ------------------------------------------------------------------------------------


class Readers:
    """What readers write, and what the collector's list makes of it."""

    def __init__(self, store: SharedStore) -> None:
        self.store = store
        self.followed: list[tuple[Key, int]] = []
        self.list = WishList(store, WHOLE, self._follow)

    def _follow(self, key: Key, rows: int) -> None:
        self.followed.append((key, rows))
        if key == ETH:
            raise InvalidSymbol("it is not listed")

    def wish(self, *members: bytes, ago: float = 0.0) -> None:
        at = time.time() - ago
        self.store.run(lambda redis: redis.zadd(WISHES_KEY, dict.fromkeys(members, at)))

    def write(self, commands: Sequence[Command]) -> None:
        for each in commands:
            self.store.run(lambda redis, each=each: redis.execute_command(*each))

    def left(self) -> int:
        return int(self.store.run(lambda redis: redis.zcard(WISHES_KEY)))


def test_wishes_that_can_be_followed_are_followed(store: SharedStore) -> None:
    readers = Readers(store)
    readers.wish(b"nonsense", b"klines|BTC/USDT|1m|5", b"mark|BTCUSDT||1", wish_of(ETH, 2), wish_of(BTC, 999_999))
    readers.list.follow_due(5.0)
    assert sorted(readers.followed) == [(BTC, MOST_ROWS), (ETH, 2)]


def test_wishes_are_read_when_due_and_older_ones_only_once(store: SharedStore) -> None:
    readers = Readers(store)
    readers.wish(wish_of(BTC, 7), ago=30.0)
    readers.list.follow_due(5.0)
    readers.wish(wish_of(BTC, 5), ago=20.0)
    readers.list.follow_due(5.0 + LOOK_EVERY / 2)
    assert readers.followed == [(BTC, 7)]
    readers.list.follow_due(5.0 + LOOK_EVERY)
    assert (BTC, 5) in readers.followed
    readers.followed.clear()
    readers.list.follow_due(5.0 + 2 * LOOK_EVERY)
    assert (BTC, 7) not in readers.followed


def test_wishes_that_nobody_renews_are_removed(store: SharedStore) -> None:
    readers = Readers(store)
    readers.wish(wish_of(BTC, 7), ago=KEPT + 20.0)
    readers.wish(wish_of(BTC, 5), ago=KEPT - 20.0)
    readers.list.follow_due(5.0)
    readers.list.trim_due(5.0, readers.write)
    assert readers.left() == 1


def test_only_as_many_wishes_are_kept_as_anybody_reads(store: SharedStore) -> None:
    readers = Readers(store)
    readers.wish(*(wish_of(BTC, rows) for rows in range(MOST + 5)))
    readers.list.follow_due(5.0)
    readers.list.trim_due(5.0, readers.write)
    assert readers.left() == MOST
    readers.wish(*(wish_of(ETH, rows) for rows in range(5)))
    readers.list.trim_due(5.0 + LOOK_EVERY / 2, readers.write)
    assert readers.left() == MOST + 5, "it is not due"
    readers.list.trim_due(5.0 + LOOK_EVERY, readers.write)
    assert readers.left() == MOST
