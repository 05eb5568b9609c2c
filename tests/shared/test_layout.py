"""What is written is read again as it was, and anything else is refused."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.engine.quality import Quality
from ats_sync.feeds import CLOCK, FEEDS, TICKERS, Key, Kind
from ats_sync.shared.copies import Changes
from ats_sync.shared.layout import (
    Feed,
    Head,
    MalformedFeed,
    board_of,
    exchange_in,
    exchange_text,
    facts_text,
    feed_in,
    feed_text,
    field_of,
    head_begin,
    head_in,
    head_pieces,
    key_of,
    lead_text,
    numbers_in,
    part_of,
    quality_field,
    quality_in,
    quality_text,
    ranges,
    wish_in,
    wish_of,
)
from ats_sync.shared.protocol import END, pack
from ats_sync.store.series import Copied

from ..store.contract import LINK
from .written import FEED, heads_of

names = st.text(alphabet="ABCUSDT0123456789币_", min_size=1, max_size=12)
keys = st.builds(Key, st.sampled_from(Kind), names, st.sampled_from(["", "1m", "1h"]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=8,
)


@given(key=keys, rows=st.integers(0, 99_999))
def test_names_are_read_as_they_were_written(key: Key, rows: int) -> None:
    assert key_of(field_of(key)) == key
    assert wish_in(wish_of(key, rows)) == (key, rows)


@given(numbers=st.lists(st.integers(1, 10**9), unique=True, max_size=30))
def test_numbers_are_read_as_they_were_written(numbers: list[int]) -> None:
    assert numbers_in(ranges(numbers)) == numbers


@settings(max_examples=50)
@given(
    facts=st.lists(json_values, max_size=4),
    texts=st.lists(st.binary(max_size=30), max_size=4),
    parts=st.sampled_from([b"", b"1-3,7-7"]),
    suspected=st.text(max_size=10),
    cut=st.integers(1, 20),
)
def test_a_head_is_read_as_it_was_written_and_refused_where_it_is_cut(
    facts: list[Any], texts: list[bytes], parts: bytes, suspected: str, cut: int
) -> None:
    copied = Copied(LINK, suspected, facts, texts)
    pieces = head_pieces(pack(b"name"), lead_text(LINK, suspected, parts) + facts_text(copied), texts)
    (text,) = heads_of(Changes(list(pieces), [len(pieces)], [], [], [], [])).values()
    head = head_in(text)
    assert head == (parts, LINK.number, suspected, facts, texts)
    with pytest.raises(MalformedFeed):
        head_in(text[:-cut])
    with pytest.raises(MalformedFeed):
        head_in(text + b"x")


@pytest.mark.parametrize("wrong", [b"", b"{}", b"[1,2]", b"nothing", b"\xff"])
def test_what_is_not_a_feed_is_refused(wrong: bytes) -> None:
    with pytest.raises(MalformedFeed):
        feed_in(wrong)
    with pytest.raises(MalformedFeed):
        head_in(wrong)


@pytest.mark.parametrize("wrong", [b"", b"klines|BTCUSDT|1m", b"klines|BTCUSDT|1m|x", b"what|BTCUSDT||1", b"\xff|1"])
def test_what_is_not_a_wish_is_refused(wrong: bytes) -> None:
    with pytest.raises(MalformedFeed):
        wish_in(wrong)


def test_a_feed_is_read_as_it_was_written() -> None:
    feed = Feed(
        -0.01, 0.02, True, 17.5, {1: ("market", True, 16.25), 3: ("public", False, 2.0)}, True, {"X": "gone"}, ["Y"],
        12, "host:7", "live", "every series is fresh", 800, {"Z": 5},
    )  # fmt: skip
    assert feed_in(feed_text(feed)) == feed


def test_a_quality_is_read_as_it_was_written() -> None:
    quality = Quality(0.9321, 0.125, 0.0, 0.25, 0.0, 300.0)
    assert quality_in(quality_text(quality, 12)) == (quality, 12)


@pytest.mark.parametrize("wrong", [b"", b"[]", b"[1,2]", b"{}", b"5", b'["x",1,2,3,4,5,6]'])
def test_what_is_not_a_quality_is_refused(wrong: bytes) -> None:
    with pytest.raises(MalformedFeed):
        quality_in(wrong)


# --- names and numbers ------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [b"", b"klines", b"klines|BTCUSDT", b"klines|BTCUSDT|1m|x", b"what|X|", b"\xff||"])
def test_what_names_no_series_is_refused(wrong: bytes) -> None:
    with pytest.raises(MalformedFeed, match="no series is called"):
        key_of(wrong)


def test_no_two_fields_of_a_life_are_alike() -> None:
    keys = [Key(Kind.KLINES, "A", "1m"), Key(Kind.KLINES, "A"), Key(Kind.BOOK, "A"), Key(Kind.KLINES, "AA", "1m")]
    fields = [field_of(key) for key in keys]
    parts = [part_of(field, number) for field in fields for number in (1, 11)]
    assert len({*fields, *parts, quality_field("A"), quality_field("AA")}) == len(fields) + len(parts) + 2


@pytest.mark.parametrize("rows", ["", "-1", "1.5", " 1", "1000000", "٣٣"])
def test_a_wish_for_impossible_rows_is_refused(rows: str) -> None:
    assert wish_in(b"orderbook|BTCUSDT||999999") == (Key(Kind.BOOK, "BTCUSDT"), 999_999)
    with pytest.raises(MalformedFeed):
        wish_in(f"orderbook|BTCUSDT||{rows}".encode())


def test_only_the_symbols_of_what_comes_for_all_belong_to_a_board() -> None:
    assert board_of(Key(Kind.TICKERS, "BTCUSDT")) == TICKERS
    assert board_of(TICKERS) is None
    assert board_of(CLOCK) is None
    for kind, feed in FEEDS.items():
        assert board_of(Key(kind, "BTCUSDT")) == (Key(kind) if feed.shared else None)


@given(st.sets(st.integers(1, 60)))
def test_neighbouring_numbers_are_written_as_one_range(numbers: set[int]) -> None:
    text = ranges(sorted(numbers))
    assert numbers_in(text) == sorted(numbers)
    assert text.count(b"-") == sum(number - 1 not in numbers for number in numbers)


@pytest.mark.parametrize("wrong", [b"1", b"1-2,", b"a-b", b"1-2-3", b"1-2;4-5", b"-"])
def test_what_are_no_numbers_of_parts_is_refused(wrong: bytes) -> None:
    with pytest.raises(MalformedFeed, match="no numbers of parts"):
        numbers_in(wrong)


# --- heads ------------------------------------------------------------------------------------------


def test_a_head_of_one_text_is_written_in_the_same_form_as_one_of_several() -> None:
    stem = lead_text(None, "", b"") + b"[1]"
    one = b"".join(head_pieces(pack(b"name"), stem, [b"text"]))
    assert one == head_begin(pack(b"name"), stem, 4) + b"text" + END
    (head,) = map(head_in, heads_of(Changes([one], [1], [], [], [], [])).values())
    assert head == Head(b"", None, "", [1], [b"text"])


def test_facts_that_are_text_already_are_written_as_they_are() -> None:
    assert facts_text(Copied(None, "", b"[1, 2]", [])) == b"[1, 2]"
    assert facts_text(Copied(None, "", [1, 2], [])) == b"[1,2]"


@pytest.mark.parametrize(
    "wrong",
    [
        b'[null,"",[],[]]\n',  # no numbers of parts
        b'|[null,"",[],[]]',  # no end of the line
        b'|[null,"",[]]\n',
        b'|[null,"",[],[],1]\n',
        b'|[null,"",[],[1]]\n',
        b'|[null,"",[],[1]]\nab',
        b'|[null,"",[],["1"]]\na',
        b'|[null,"",[],1]\na',
    ],
)
def test_what_is_not_a_whole_head_is_refused(wrong: bytes) -> None:
    assert head_in(b'|[null,"",[],[]]\n') == Head(b"", None, "", [], [])
    with pytest.raises(MalformedFeed):
        head_in(wrong)


# --- the feed as a whole ----------------------------------------------------------------------------


def test_a_feed_has_proved_as_much_as_its_best_connection() -> None:
    links = {1: ("market", True, 5.0), 2: ("public", False, 7.5), 3: ("spot", True, 1.0)}
    assert FEED._replace(links=links).proved_until == 7.5
    assert FEED._replace(links={}).proved_until == 0.0


@pytest.mark.parametrize(
    "change", [lambda values: values[:-1], lambda values: [*values, 1], lambda values: [1, *values]]
)
def test_a_feed_of_another_version_is_refused(change: Any) -> None:
    values = orjson.loads(feed_text(FEED))
    with pytest.raises(MalformedFeed):
        feed_in(orjson.dumps(change(values)))


@pytest.mark.parametrize("links", [[[1, "market", True]], [1], 5, [[[], "market", True, 1.0]]])
def test_a_feed_with_malformed_connections_is_refused(links: Any) -> None:
    values = orjson.loads(feed_text(FEED))
    with pytest.raises(MalformedFeed):
        feed_in(orjson.dumps([*values[:4], links, *values[5:]]))


def test_the_base_urls_of_an_exchange_are_read_as_they_were_written() -> None:
    bases = ("https://a.example", "https://b.example")
    assert exchange_in(exchange_text(bases)) == list(bases)
    for wrong in (b"", b"[", b"5", b"null"):
        with pytest.raises(MalformedFeed):
            exchange_in(wrong)


@pytest.mark.parametrize("values", [[12, 1, 2, 3, 4, 5], [12, 1, 2, 3, 4, 5, 6, 7], [None, 1, 2, 3, 4, 5, 6]])
def test_a_quality_with_more_or_fewer_values_or_without_its_time_is_refused(values: list[Any]) -> None:
    with pytest.raises(MalformedFeed):
        quality_in(orjson.dumps(values))
