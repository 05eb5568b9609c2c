from __future__ import annotations

import pytest

from ats_sync.shared.layout import Head, MalformedFeed, feed_text
from ats_sync.shared.pull import Known, Pulled, Resharded, joined, link_of
from ats_sync.store.klines import KlineSeries

from .written import FEED

TIME = [b"100", b"250000"]


def known(life: bytes = b"one", parts: bytes = b"1-2") -> Known:
    return Known(life, b"head", parts, {1: b"a", 2: b"b"}, 0, KlineSeries("BTCUSDT", "1m", 10), 99.0)


def test_an_answer_has_the_time_the_feed_and_the_head_and_new_parts_of_each_series() -> None:
    pulled = Pulled.of([*TIME, b"one", feed_text(FEED), b"[]", b"head", [b"c"], None, []])
    assert pulled == Pulled(100.25, b"one", feed_text(FEED), b"[]", [b"head", None], [[b"c"], []])


@pytest.mark.parametrize("rest", [[], [b"one", None, b"[]"]])
def test_where_nobody_leads_there_is_no_feed(rest: list[bytes | None]) -> None:
    assert Pulled.of([*TIME, *rest]) == Pulled(100.25)


def test_another_number_of_shards_is_an_error() -> None:
    with pytest.raises(Resharded) as other:
        Pulled.of([*TIME, b"3"])
    assert other.value.count == 3


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
