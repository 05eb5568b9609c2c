from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.feeds import Key, Kind
from ats_sync.store.book import BookSeries
from ats_sync.store.link import Link
from ats_sync.store.series import Origin
from ats_sync.store.stream_router import MOST_REASONS, StreamRouter
from ats_sync.venue.endpoints import Route
from ats_sync.venue.payload import DecodeError

from ..venue import samples
from ..venue.everything import FRAMES
from ..venue.mutations import mutated, replaced
from ..venue.samples import DAY, MIDNIGHT, MINUTE, compact, frame
from .markets import CHINESE, SYMBOL, market, store_of


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda text: json.dumps(json.loads(text)),
        lambda text: json.dumps(json.loads(text), indent=2),
        lambda text: json.dumps(json.loads(text), ensure_ascii=False, sort_keys=True),
        lambda text: json.dumps(dict(reversed(json.loads(text).items())), separators=(",", ":")),
        lambda text: text.replace('"data":{', '"data": { '),
        lambda text: text.replace(",", ", "),
        lambda text: text.replace(":", " : ") if "@" not in text else text + "\n",
        lambda text: "\n " + text,
    ],
)  # fmt: skip
def test_order_spacing_and_escapes_do_not_matter(rewrite: Any) -> None:
    plain, odd = store_of(SYMBOL, CHINESE), store_of(SYMBOL, CHINESE)
    frames = [
        samples.kline_frame(samples.row(MIDNIGHT), symbol=CHINESE),
        samples.kline_frame(samples.row(MIDNIGHT), symbol=CHINESE, final=True),
        samples.trade_frame(5, symbol=CHINESE),
        samples.book_frame(7, symbol=CHINESE),
    ]
    plain.ingest(frames, market())
    notices, replies = odd.ingest([rewrite(text.decode()).encode() for text in frames], market())
    assert (notices, replies) == ([], [])
    assert odd.dropped() == {}
    assert odd.trades(CHINESE).read(5) == plain.trades(CHINESE).read(5)
    assert odd.book(CHINESE).read() == plain.book(CHINESE).read()
    rest = compact([samples.row(MIDNIGHT - MINUTE)])[2:-2]
    for store in (odd, plain):
        store.klines(CHINESE, "1m").replace([rest], Origin(MIDNIGHT + 10_000, 1))
    assert odd.klines(CHINESE, "1m").rows(5, MIDNIGHT, exact=True) == plain.klines(CHINESE, "1m").rows(
        5, MIDNIGHT, exact=True
    )


def test_what_is_not_a_stream_frame_is_returned_and_not_counted_as_one() -> None:
    store, link = store_of(), market()
    said = [
        {"result": None, "id": 3},
        {"error": {"code": 2, "msg": "Invalid request"}, "id": 4},
        {"code": 0, "msg": "x"},
    ]
    notices, replies = store.ingest([compact(said[0]), samples.trade_frame(5), *map(compact, said[1:])], link)
    assert (notices, replies) == ([], said)
    assert link.frames == 1
    assert store.dropped() == {}


def test_a_stream_that_is_not_followed_is_counted_and_dropped() -> None:
    store, link = store_of(), market()
    store.ingest([samples.trade_frame(5, symbol="ETHUSDT"), frame("", {}), frame("btcusdt@aggTrade@x", {})], link)
    assert store.dropped() == {"a stream that is not followed": 3}
    assert link.frames == 3


def test_an_unusable_frame_is_counted_by_its_kind_and_those_around_it_are_merged() -> None:
    store, link = store_of(), market()
    good = [samples.trade_frame(number) for number in (1, 2, 3)]
    bad = [
        b"",
        b"<html>",
        b"\xff\x00",
        b"[1]",
        samples.trade_frame(9)[:-2],
        frame("btcusdt@aggTrade", {"a": "x", "E": 1}),
    ]
    mixed = [good[0], *bad[:3], good[1], *bad[3:], good[2]]
    assert store.ingest(mixed, link) == ([], [])
    assert [trade.id for trade in store.trades(SYMBOL).read(5)] == [1, 2, 3]
    assert store.dropped() == {"bad JSON": 4, "bad frame": 1, "bad whole number": 1}
    for number in range(1_000):
        store.ingest([frame("btcusdt@aggTrade", {"a": f"{number}", "E": 1}), b"x" * number], link)
    assert len(store.dropped()) < 10, "counted by kind, not by content"


@settings(deadline=None, max_examples=100)
@given(st.lists(st.sampled_from(FRAMES).flatmap(lambda whole: mutated(whole) | replaced(whole)), max_size=4))
def test_no_frame_ever_ends_the_stream_or_harms_a_known_value(bad: list[bytes]) -> None:
    store, link = store_of(SYMBOL, CHINESE), market()
    store.ingest([samples.trade_frame(77), samples.book_frame(4711)], link)
    store.ingest(bad, link)
    assert not [reason for reason in store.dropped() if "in merging" in reason], store.dropped()
    good = [samples.trade_frame(10**18 + number) for number in (1, 2)]
    store.ingest(good, link)
    for symbol in (SYMBOL, CHINESE):
        for read in (lambda s=symbol: store.trades(s).read(50), lambda s=symbol: store.book(s).read()):
            try:
                read()
            except DecodeError:
                continue
    assert [trade.id for trade in store.trades(SYMBOL).read(2)] == [10**18 + 1, 10**18 + 2]
    store.marks.everything()
    store.tickers.take(MIDNIGHT + DAY)


def test_what_is_no_longer_followed_is_dropped_along_with_its_frames() -> None:
    store, link = store_of(SYMBOL, "ETHUSDT"), market()
    gone = [key for key in store.followed_keys() if key.symbol == SYMBOL]
    assert set(store.unfollow(gone)) == set(gone)
    assert store.unfollow(gone) == []
    assert store.symbols == {"ETHUSDT"}
    store.ingest([samples.trade_frame(5), samples.trade_frame(5, symbol="ETHUSDT")], link)
    assert store.dropped() == {"a stream that is not followed": 1}
    assert len(store.trades("ETHUSDT")) == 1
    store.ingest([samples.marks_frame([SYMBOL])], link)
    assert store.marks.get(SYMBOL) is not None, "what serves all symbols goes on"


def test_spot_and_futures_candles_of_one_name_are_two_series() -> None:
    store = store_of(SYMBOL)
    spot_key = Key(Kind.SPOT_KLINES, SYMBOL, "1m")
    assert store.follow([spot_key]) == [spot_key]
    message = samples.kline_frame(samples.row(MIDNIGHT))
    store.ingest([message], Link(2, Route.SPOT.value, 0.0))
    spot, futures = store.get(spot_key), store.get(Key(Kind.KLINES, SYMBOL, "1m"))
    assert spot is not None
    assert futures is not None
    assert (spot.received, futures.received) == (1, 0)
    store.ingest([message, message], market())
    assert (spot.received, futures.received) == (1, 2)
    store.unfollow([spot_key])
    assert store.get(spot_key) is None
    store.ingest([message], market())
    assert futures.received == 3


def test_a_bug_of_ours_in_one_frame_does_not_end_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(self: BookSeries, frame: bytes, link: Link) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr(BookSeries, "apply", faulty)
    store = store_of()
    assert store.ingest([samples.book_frame(1), samples.trade_frame(1)], market()) == ([], [])
    assert store.dropped() == {"RuntimeError in merging": 1}
    assert store.trades(SYMBOL).last_id() == 1


def test_the_reasons_for_dropping_do_not_grow_without_bound() -> None:
    router = StreamRouter()
    for number in range(MOST_REASONS + 2):
        router.count_dropped(f"reason {number}")
    assert len(router.dropped()) == MOST_REASONS + 1
    assert router.dropped()["other"] == 2
