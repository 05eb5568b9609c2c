from __future__ import annotations

import pytest

from ats_sync.feeds import Key, Kind
from ats_sync.shared.layout import Feed, Head, MalformedFeed, feed_text
from ats_sync.shared.pull import Known, Pulled, Resharded, Source, joined, link_of
from ats_sync.shared.shards import Shard
from ats_sync.store.klines import KlineSeries

BTC, ETH = Key(Kind.KLINES, "BTCUSDT", "1m"), Key(Kind.KLINES, "ETHUSDT", "1m")
FEED = Feed(-0.1, 0.1, True, 5.0, {7: ("market", True, 4.0)}, True, {}, [], 0, "host", "live", "", 2, {})
TIME = [b"100", b"250000"]


def known(life: bytes = b"one", parts: bytes = b"1-2") -> Known:
    return Known(life, b"head", parts, {1: b"a", 2: b"b"}, 0, KlineSeries("BTCUSDT", "1m", 10), 99.0)


def test_of_each_series_is_said_which_parts_are_here_and_none_of_another_life() -> None:
    source = Source(Shard())
    source.life = b"one"
    source.known = {BTC: known(), ETH: known(b"other")}
    arguments, had = source.question([BTC, ETH, BTC._replace(interval="1h")], [b"wish"])
    assert arguments[:4] == [b"one", 1, "1", b"wish"]
    assert arguments[4:] == [
        *(b"klines|BTCUSDT|1m", b"1-2"),
        *(b"klines|ETHUSDT|1m", b""),
        *(b"klines|BTCUSDT|1h", b""),
    ]
    assert had == [source.known[BTC], source.known[ETH], None]
    assert source.look([BTC]) == [b"", 0, "1", b"klines|BTCUSDT|1m", b"*"]


def test_each_shard_has_keys_and_words_of_its_own() -> None:
    whole, second = Source(Shard()), Source(Shard(2, 3))
    assert whole.keys[2:] == second.keys[2:]
    assert not set(whole.keys[:2]) & set(second.keys[:2])
    assert whole.unled().endswith("ats_sync collect")
    assert "shard 2/3" in second.unled()
    assert second.unled().endswith("--shard 2/3")


def test_an_answer_has_the_time_the_feed_and_of_each_series_its_head_and_new_parts() -> None:
    pulled = Pulled.of([*TIME, b"one", feed_text(FEED), b"head", [b"c"], None, []])
    assert pulled == Pulled(100.25, b"one", FEED, [b"head", None], [[b"c"], []])


@pytest.mark.parametrize("rest", [[], [b"one", None]])
def test_where_nobody_leads_there_is_no_feed(rest: list[bytes | None]) -> None:
    assert Pulled.of([*TIME, *rest]) == Pulled(100.25)


def test_another_number_of_shards_and_what_cannot_be_read_are_errors() -> None:
    with pytest.raises(Resharded) as other:
        Pulled.of([*TIME, b"3"])
    assert other.value.count == 3
    with pytest.raises(MalformedFeed):
        Pulled.of([*TIME, b"one", b"{"])


def test_parts_that_were_known_and_those_that_came_are_joined_in_order() -> None:
    head = Head(b"2-3,5-5", None, "", [], [])
    assert joined(known(), head, [b"c", b"e"]) == ({2: b"b", 3: b"c", 5: b"e"}, [2, 3, 5])
    with pytest.raises(MalformedFeed):
        joined(known(), head, [b"c", None])
    with pytest.raises(MalformedFeed):
        joined(None, head, [b"b", b"c"])


def test_a_connection_is_as_the_collector_has_it() -> None:
    link = link_of(7, *FEED.links[7])
    assert (link.number, link.route, link.up, link.watermark) == (7, "market", True, 4.0)
