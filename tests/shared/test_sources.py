"""What a reader requests from each shard, and what it says about those that nobody leads."""

from __future__ import annotations

import pytest

from ats_sync.feeds import Key, Kind
from ats_sync.shared.layout import Feed, MalformedFeed, exchange_text, feed_text
from ats_sync.shared.pull import Known
from ats_sync.shared.shards import Shard, home, shards
from ats_sync.shared.sources import AT_ONCE, Source, Sources
from ats_sync.store.klines import KlineSeries

BTC, ETH = Key(Kind.KLINES, "BTCUSDT", "1m"), Key(Kind.KLINES, "ETHUSDT", "1m")
SYMBOLS = [f"S{number}USDT" for number in range(40)]
FEED = Feed(-0.1, 0.1, True, 5.0, {7: ("market", True, 4.0)}, True, {}, [], 0, "host", "live", "", 2, {})


def known(life: bytes = b"one", parts: bytes = b"1-2") -> Known:
    return Known(life, b"head", parts, {1: b"a", 2: b"b"}, 0, KlineSeries("BTCUSDT", "1m", 10), 99.0)


def test_a_request_names_the_parts_known_of_each_series_and_none_of_another_life() -> None:
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


def test_each_shard_has_its_own_keys_and_messages() -> None:
    whole, second = Source(Shard()), Source(Shard(2, 3))
    assert whole.keys[2:] == second.keys[2:]
    assert not set(whole.keys[:2]) & set(second.keys[:2])
    assert whole.unled().endswith("ats_sync collect")
    assert "shard 2/3" in second.unled()
    assert second.unled().endswith("--shard 2/3")


def test_a_text_of_the_feed_is_decoded_once_and_another_one_when_it_comes() -> None:
    source = Source(Shard())
    feed, links = source.decoded(feed_text(FEED))
    assert feed == FEED
    assert (links[7].route, links[7].up, links[7].watermark) == ("market", True, 4.0)
    assert source.decoded(feed_text(FEED))[1] is links
    later = FEED._replace(links={7: ("market", False, 5.0)})
    found, links = source.decoded(feed_text(later))
    assert found == later
    assert (links[7].up, links[7].watermark) == (False, 5.0)
    for _ in range(2):
        with pytest.raises(MalformedFeed):
            source.decoded(b"{")


def test_keys_are_divided_as_their_symbols_are_and_few_enough_for_one_script() -> None:
    sources = Sources()
    keys = [Key(Kind.KLINES, symbol, interval) for symbol in SYMBOLS for interval in ("1m", "1h", "4h", "1d", "15m")]
    whole = sources.all[0]
    assert [(source, len(own)) for source, own in sources.batches(keys)] == [(whole, AT_ONCE)] * 3 + [(whole, 8)]
    assert [key for _, own in sources.batches(keys) for key in own] == keys
    sources.share_out(3)
    assert all(home(key, 3) == source.shard.number for source, own in sources.batches(keys) for key in own)
    assert {key for _, own in sources.batches(keys) for key in own} == set(keys)


@pytest.mark.parametrize("count", [1, 3])
def test_the_whole_feed_takes_one_script_per_shard_and_more_only_where_a_shard_has_none_of_the_keys(count: int) -> None:
    sources = Sources()
    sources.share_out(count)
    assert [(source, list(own)) for source, own in sources.batches(())] == [(source, []) for source in sources.all]
    one = sources.batches([BTC], whole=True)
    assert {source for source, _ in one} == set(sources.all)
    assert [own for _, own in one if own] == [[BTC]]
    assert len(one) == count
    assert len(sources.batches([BTC])) == 1


def test_a_symbol_belongs_to_one_source() -> None:
    sources = Sources()
    sources.share_out(3)
    assert {sources.of(symbol).shard.number for symbol in SYMBOLS} == {1, 2, 3}
    assert all(sources.of(symbol).shard.has_symbol(symbol) for symbol in SYMBOLS)


def test_it_is_known_who_leads_and_why_nobody_does() -> None:
    sources = Sources()
    assert sources.unled() == sources.why != ""
    sources.share_out(2)
    first, second = sources.all
    first.life, first.feed = b"17-1", FEED
    sources.note(first, "")
    assert (sources.feed, sources.why, sources.epoch) == (FEED, "", 17)
    assert "shard 2/2" in sources.unled()
    second.feed = FEED
    assert sources.unled() == ""
    assert sources.feeds() == [FEED, FEED]
    assert sources.ages(5.5) == {"1/2": 1.5, "2/2": 1.5}
    sources.lose("the store is away")
    assert sources.feed is None
    assert sources.feeds() == []
    assert sources.ages(5.5) == {}
    assert sources.unled() == "the store is away"


def test_the_first_base_url_that_differs_is_named_for_a_feed_of_another_exchange() -> None:
    source = Source(shards(1)[0])
    own = exchange_text(("https://a", "https://b"))
    said = source.foreign(exchange_text(("https://a", "https://c")), own)
    assert "it reads https://c, and here https://b is configured" in said
    with pytest.raises(MalformedFeed):
        source.foreign(b"", own)
