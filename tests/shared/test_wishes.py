from __future__ import annotations

from ats_sync.feeds import Key, Kind
from ats_sync.shared.wishes import WISHED_EVERY, Wishes

BTC, ETH = Key(Kind.KLINES, "BTCUSDT", "1m"), Key(Kind.KLINES, "ETHUSDT", "1m")


def test_a_wish_is_said_again_after_a_while() -> None:
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


def test_what_is_forgotten_is_not_said_again_though_the_store_did_not_take_it() -> None:
    wishes = Wishes()
    wishes.failed(wishes.follow([BTC, ETH], 5.0))
    wishes.forget({"BTCUSDT"})
    assert wishes.take_failed() == [ETH]


def test_what_the_store_did_not_take_is_said_again_once() -> None:
    wishes = Wishes()
    wishes.failed(wishes.follow([BTC, ETH], 5.0))
    assert wishes.due(ETH, 6.0), "a read has said it meanwhile"
    assert wishes.take_failed() == [BTC]
    assert wishes.take_failed() == []
