from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.store import trade_columns
from ats_sync.store import trades as trades_module
from ats_sync.store.link import Link
from ats_sync.store.series import FIRST_FRAME_WITHIN as WAIT
from ats_sync.store.series import Change, Origin, SeriesState
from ats_sync.store.trades import MOST_SEGMENTS, SPARE, TradeSeries
from ats_sync.venue.payload import DecodeError
from ats_sync.venue.trades import Trade, is_written_as_by_rest, rest_trades, trade_of, trades_of, written_numbers

from ..venue import recording as real
from ..venue import samples
from ..venue.samples import MIDNIGHT, compact

LINK = Link(1, "market", 0.0)


def ring_of(capacity: int = 100) -> TradeSeries:
    return TradeSeries("BTCUSDT", capacity)


def stream(ring: TradeSeries, *numbers: int) -> list[Any]:
    return [ring.apply(samples.trade_frame(number), LINK) for number in numbers]


def answer(ring: TradeSeries, first: int, last: int, *, whole: bool = False) -> None:
    found = rest_trades(compact([samples.rest_trade(number) for number in range(first, last + 1)]))
    ring.replace(found, Origin(MIDNIGHT + 10_000_000, len(found) + whole))


def ids(ring: TradeSeries, limit: int = 1_000) -> list[int]:
    return [trade.id for trade in ring.read(limit)]


def test_nothing_is_known_at_first() -> None:
    ring = ring_of()
    assert ring.read(5) == []
    assert (ring.first_id(), ring.last_id(), ring.last_heard(), len(ring)) == (-1, -1, (-1, 0), 0)
    assert ring.state(0) == SeriesState()
    assert ring.hole() is None


def test_consecutive_trades_are_one_run() -> None:
    ring = ring_of()
    assert stream(ring, 5, 6, 7) == [None, None, None]
    assert ids(ring) == [5, 6, 7]
    assert ids(ring, 2) == [6, 7]
    assert (ring.first_id(), ring.last_id()) == (5, 7)
    assert ring.state(0).event == MIDNIGHT + 7 + 3
    assert ring.last_heard() == (15, MIDNIGHT + 7)
    assert ring.trade_shown(MIDNIGHT + 7) == (15, 0), "each trade has its own frame: none can lack"


def test_it_is_contiguous_from_the_first_trade_of_a_link_whatever_is_missing_before() -> None:
    ring = ring_of()
    answer(ring, 1, 5)
    ring.subscribed_on(LINK)
    ring.apply(samples.trade_frame(6), Link(2, "market", 0.0))
    assert (ring.patience(live_once=False), ring.is_contiguous()) == (WAIT, False)
    stream(ring, 4)
    assert (ring.patience(live_once=False), ring.is_contiguous()) == (WAIT, False), "what comes late proves nothing"
    (notice,) = stream(ring, 8)
    assert notice is not None
    assert notice.change is Change.BEGUN
    assert (ring.patience(live_once=False), ring.is_contiguous()) == (0.0, True)
    assert (ring.hole(), ring.state(0).rows) == ((7, 7), 1), "the seventh is missing"
    answer(ring, 3, 7)
    assert ring.is_contiguous()
    assert stream(ring, 9) == [None]
    stream(ring, 11)
    assert not ring.is_contiguous(), "one got lost on the link itself"
    ring.subscribed_on(LINK)
    assert ring.patience(live_once=False) > 0


def test_the_first_trade_of_a_link_is_reported_even_where_it_continues_what_is_known() -> None:
    ring = ring_of()
    answer(ring, 1, 5)
    ring.subscribed_on(LINK)
    first, second = stream(ring, 6, 7)
    assert first is not None, "with it, the ring may be used again"
    assert second is None


def test_a_trade_is_read_as_it_was_written() -> None:
    ring = ring_of()
    stream(ring, 5)
    answer(ring, 4, 4)
    assert ring.read(2) == [
        Trade(4, "7.6110", "3", 8, 9, MIDNIGHT + 4, True, "3"),
        Trade(5, "7.6110", "3", 10, 11, MIDNIGHT + 5, False, "3"),
    ]


def test_a_hole_cuts_the_ring_and_is_reported() -> None:
    ring = ring_of()
    stream(ring, 5, 6)
    (notice,) = stream(ring, 9)
    assert notice.change is Change.GAP
    assert notice.key == ring.key
    assert ids(ring) == [9]
    standing = ring.state(0)
    assert (standing.rows, ring.hole()) == (1, (7, 8))
    assert ring.counts().lost == 2
    assert stream(ring, 10) == [None]


def test_a_hole_filled_makes_one_run_again() -> None:
    ring = ring_of()
    stream(ring, 5, 6, 9, 10)
    answer(ring, 7, 8)
    assert ids(ring) == [5, 6, 7, 8, 9, 10]
    assert ring.hole() is None


def test_a_hole_that_is_filled_in_part_shrinks() -> None:
    ring = ring_of()
    stream(ring, 1, 2, 10)
    answer(ring, 7, 9)
    assert ids(ring) == [7, 8, 9, 10]
    assert ring.hole() == (3, 6)
    stream(ring, 4)
    assert ring.hole() == (5, 6)
    answer(ring, 5, 6)
    answer(ring, 3, 3)
    assert ids(ring) == list(range(1, 11))


def test_duplicates_and_late_trades_change_nothing_and_are_counted() -> None:
    ring = ring_of()
    stream(ring, 5, 6, 7, 6, 5, 7)
    assert ids(ring) == [5, 6, 7]
    assert (ring.counts().out_of_order, ring.received, ring.counts().lost) == (3, 6, 0)


def test_a_late_trade_fills_its_own_hole() -> None:
    ring = ring_of()
    stream(ring, 5, 7)
    assert ids(ring) == [7]
    stream(ring, 6)
    assert ids(ring) == [5, 6, 7]
    assert ring.hole() is None


def test_an_answer_overlaps_and_precedes_the_stream() -> None:
    ring = ring_of()
    stream(ring, 50, 51)
    answer(ring, 30, 50)
    assert ids(ring) == list(range(30, 52))
    answer(ring, 20, 60)
    assert ids(ring) == list(range(20, 61))
    answer(ring, 25, 26)
    assert ids(ring) == list(range(20, 61))


def test_an_answer_with_a_hole_of_its_own_is_not_taken_for_whole() -> None:
    ring = ring_of()
    found = rest_trades(compact([samples.rest_trade(number) for number in (1, 2, 3, 6, 7)]))
    ring.replace(found, Origin(MIDNIGHT, 0))
    assert ids(ring) == [6, 7]
    assert ring.hole() == (4, 5)


def test_it_keeps_its_capacity_and_no_more() -> None:
    ring = ring_of(10)
    stream(ring, *range(100))
    assert ids(ring) == list(range(90, 100))
    assert ring.state(0).rows == len(ring) == 10
    assert sum(len(segment.entries) for segment in ring._segments) <= 10 + SPARE
    answer(ring, 0, 99, whole=True)
    assert ids(ring) == list(range(90, 100))
    assert not ring.complete, "older ones were dropped"


def test_holes_without_end_do_not_grow() -> None:
    ring = ring_of(10)
    stream(ring, *range(0, 1_000, 3))
    assert len(ring._segments) <= MOST_SEGMENTS
    assert ids(ring) == [999]


def test_a_history_that_reaches_back_to_the_first_trade_is_complete() -> None:
    ring = ring_of()
    answer(ring, 0, 5, whole=True)
    assert ring.state(0).complete
    ring.replace([], Origin(MIDNIGHT, 100))
    assert ring.state(0).complete


def test_an_answer_without_trades_shows_nothing_about_trades_that_have_come_since() -> None:
    ring = ring_of()
    ring.replace([], Origin(MIDNIGHT, 100))
    assert ring.state(0).complete
    answer(ring, 3, 5)
    assert not ring.state(0).complete


def test_an_unusable_trade_cuts_the_ring_behind_it() -> None:
    ring = ring_of()
    stream(ring, 5)
    ring.apply(samples.trade_frame(6, price=""), LINK)
    stream(ring, 7, 8)
    assert ids(ring, 2) == [7, 8]
    with pytest.raises(DecodeError):
        ring.read(4)
    assert ids(ring) == [7, 8]
    assert ring.hole() == (6, 6)
    answer(ring, 6, 6)
    assert ids(ring) == [5, 6, 7, 8]


@pytest.mark.parametrize(("before", "after"), [([], []), ([4], []), ([], [6])])
def test_an_unusable_trade_at_the_border_leaves_a_usable_ring(before: list[int], after: list[int]) -> None:
    ring = ring_of()
    stream(ring, *before)
    ring.apply(samples.trade_frame(5, price="x"), LINK)
    stream(ring, *after)
    with pytest.raises(DecodeError):
        ring.read(5)
    assert ids(ring) == (after or before)
    stream(ring, 7)
    assert ring.last_id() == 7


def test_two_readers_that_meet_the_same_unusable_trade_both_get_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = ring_of()
    ring.apply(samples.trade_frame(5, price=""), LINK)
    honest, inside = trade_of, []

    def meanwhile(frame: bytes) -> Trade:
        if not inside:
            inside.append(1)
            with pytest.raises(DecodeError):
                ring.read(5)
        return honest(frame)

    monkeypatch.setattr(trades_module, "trade_of", meanwhile)
    with pytest.raises(DecodeError):
        ring.read(5)
    assert ring.read(5) == []


def test_what_is_returned_is_the_callers_own() -> None:
    ring = ring_of()
    stream(ring, 1, 2, 3)
    ring.read(3).clear()
    got = ring.read(3)
    got.reverse()
    assert ids(ring) == [1, 2, 3]


def test_suspicion_ends_the_liveness_and_an_event_ends_the_suspicion() -> None:
    ring = ring_of()
    ring.go_live(LINK)
    ring.suspect("silent")
    assert ring.state(0)[:2] == (None, "silent")
    stream(ring, 5)
    assert ring.state(0)[:2] == (None, "")
    ring.go_live(LINK)
    assert ring.state(0).link is LINK


class Model:
    """The same ring, naively: all trades ever seen, cut to what can be known."""

    def __init__(self) -> None:
        self.known: set[int] = set()

    def newest_run(self, capacity: int) -> list[int]:
        if not self.known:
            return []
        last = max(self.known)
        first = last
        while first - 1 in self.known:
            first -= 1
        return list(range(first, last + 1))[-capacity:]


steps = st.one_of(
    st.tuples(st.just("stream"), st.integers(0, 60), st.integers(0, 6)),
    st.tuples(st.just("rest"), st.integers(0, 60), st.integers(0, 12)),
    st.tuples(st.just("read"), st.integers(1, 70), st.just(0)),
)


@settings(deadline=None, max_examples=70)
@given(st.lists(steps, max_size=12))
def test_it_serves_what_a_naive_ring_would(happened: list[tuple[str, int, int]]) -> None:
    ring, model = ring_of(1_000), Model()
    for what, number, more in happened:
        if what == "stream":
            stream(ring, *range(number, number + more + 1))
            model.known |= set(range(number, number + more + 1))
        elif what == "rest":
            answer(ring, number, number + more)
            model.known |= set(range(number, number + more + 1))
        expected = model.newest_run(1_000)
        assert ids(ring, number or 1) == expected[-(number or 1) :]
        assert ring.state(0).rows == len(expected)
        if len(ring._segments) > 1:
            first, last = ring.hole() or (0, 0)
            assert last == expected[0] - 1
            assert not set(range(first, last + 1)) & model.known
            assert first - 1 in model.known


@settings(deadline=None, max_examples=50)
@given(st.lists(steps, max_size=12), st.integers(1, 12))
def test_a_small_ring_is_always_a_run_that_ends_with_the_newest(
    happened: list[tuple[str, int, int]], capacity: int
) -> None:
    ring, newest = ring_of(capacity), -1
    for what, number, more in happened:
        if what == "stream":
            stream(ring, *range(number, number + more + 1))
            newest = max(newest, number + more)
        elif what == "rest":
            answer(ring, number, number + more)
            newest = max(newest, number + more)
        got = ids(ring)
        assert got == list(range(newest - len(got) + 1, newest + 1))
        assert len(got) == ring.state(0).rows <= capacity
        assert (newest < 0) == (not got)


def test_the_real_trades_are_all_there_in_order(recording: Path) -> None:
    total = 0
    for symbol in ("sushiusdt", "akrousdt", "keepusdt", "ctkusdt"):
        ring = ring_of(1_000)
        seen = list(real.of_stream(recording, f"{symbol}@aggTrade"))
        for frame, _ in seen:
            assert ring.apply(frame, LINK) is None
        got = ring.read(1_000)
        assert [trade.id for trade in got] == [data["a"] for _, data in seen]
        assert [(trade.price, trade.quantity, trade.time, trade.buyer_is_maker) for trade in got] == [
            (data["p"], data["q"], data["T"], data["m"]) for _, data in seen
        ]
        total += len(got)
    assert total == 91
    assert json.loads(seen[0][0])["stream"] == "ctkusdt@aggTrade"


# --- in numbers -----------------------------------------------------------------------------------


def numbers(ring: TradeSeries, limit: int) -> list[tuple[int, float, float, int, bool]]:
    columns = ring.columns(limit)
    items = zip(columns.prices, columns.quantities, columns.times, columns.makers, strict=True)
    return [(columns.first + i, price, qty, at, maker == 1) for i, (price, qty, at, maker) in enumerate(items)]


def as_numbers(found: list[Trade]) -> list[tuple[int, float, float, int, bool]]:
    return [(each.id, float(each.price), float(each.quantity), each.time, each.buyer_is_maker) for each in found]


def test_columns_are_those_of_the_trades_in_whatever_order_they_came() -> None:
    ring = ring_of(100)
    assert numbers(ring, 10) == []
    upto = 0
    for step, limit in ((1, 5), (30, 10), (5, 10), (0, 10), (90, 100), (3, 2), (400, 100), (150, 7), (1, 100)):
        stream(ring, *range(upto, upto + step))
        upto += step
        assert numbers(ring, limit) == as_numbers(ring.read(limit))
    stream(ring, upto + 10, upto + 11)
    assert numbers(ring, 100) == as_numbers(ring.read(100))
    assert [each[0] for each in numbers(ring, 100)] == [upto + 10, upto + 11]


def test_only_what_is_new_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = ring_of(100)
    stream(ring, *range(100))
    assert len(numbers(ring, 50)) == 50
    decoded: list[int] = []
    honest = written_numbers

    def counting(text: bytes, first: int, count: int) -> Any:
        decoded.append(count)
        return honest(text, first, count)

    monkeypatch.setattr(trades_module, "written_numbers", counting)
    monkeypatch.setattr(trade_columns, "trade_numbers", None)  # nothing needs a closer look
    stream(ring, 100, 101, 102)
    assert [each[0] for each in numbers(ring, 50)] == list(range(53, 103))
    assert decoded == [3]
    numbers(ring, 50)
    assert sum(decoded) == 3


def test_a_frame_with_a_zero_byte_is_refused_and_moves_no_other_trade() -> None:
    ring = ring_of()
    stream(ring, 1)
    with pytest.raises(DecodeError):
        ring.apply(samples.trade_frame(2).replace(b'"p":"', b'"p":"\0'), LINK)
    assert ids(ring) == [1]
    assert ring.last_id() == 1
    stream(ring, 2, 3)
    assert ids(ring) == [1, 2, 3]


def test_an_unusable_trade_is_cut_off_where_it_is_decoded_ahead() -> None:
    ring = ring_of(100)
    stream(ring, *range(10))
    ring.apply(samples.trade_frame(10, price=""), LINK)
    stream(ring, 11, 12)
    ring.decode_ahead()
    assert ids(ring) == [11, 12]


def test_trades_whose_numbers_are_written_as_rest_writes_them_are_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = ring_of(100)
    stream(ring, *range(50))
    monkeypatch.setattr(trades_module, "is_written_as_by_rest", None)
    assert [each[0] for each in numbers(ring, 50)] == list(range(50))


def test_what_is_forgotten_while_a_reader_decodes_is_not_brought_back(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = ring_of()
    stream(ring, 1, 2)
    make = trades_module.TradeColumns.of

    def meanwhile(*arguments: Any) -> Any:
        with ring._lock:
            ring._restart(0)
        return make(*arguments)

    monkeypatch.setattr(trades_module.TradeColumns, "of", meanwhile)
    assert len(numbers(ring, 5)) == 2
    assert ring._columns is None


def test_an_unusable_trade_is_found_in_numbers_too() -> None:
    ring = ring_of()
    stream(ring, 1, 2)
    assert len(numbers(ring, 5)) == 2
    ring.apply(samples.trade_frame(3, price=""), LINK)
    stream(ring, 4)
    with pytest.raises(DecodeError):
        ring.columns(5)
    assert [each[0] for each in numbers(ring, 5)] == [4]


@pytest.mark.parametrize("order", ["first", "last", "none", "in between"])
def test_streamed_trades_are_what_their_frames_say(order: str) -> None:
    """This holds wherever the event's own fields are, of which nothing is kept."""
    ring = TradeSeries("BTCUSDT", 500)
    for number in range(300):
        data = samples.trade_data(number)
        event, kind = data.pop("E"), data.pop("e")
        if order == "first":
            data = {"e": kind, "E": event, **data}
        elif order == "last":
            data = {"e": kind, **data, "E": event}
        elif order == "in between":
            data = {"a": data.pop("a"), "E": event, "e": kind, **data}
        else:
            data = {"E": event, "e": kind, **data}
        ring.apply(samples.frame("btcusdt@aggTrade", data), LINK)
    truth = [trade_of(json.dumps(samples.rest_trade(number)).encode()) for number in range(300)]
    for limit in (1, 30, 100, 300):
        assert ring.read(limit) == truth[-limit:]
        assert ring.text(limit) == compact([samples.rest_trade(number) for number in range(300)][-limit:])
        assert numbers(ring, limit) == as_numbers(truth[-limit:])
    assert ring.last_heard() == (truth[-1].last_trade, truth[-1].time)


def test_trades_are_passed_on_without_being_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are passed on as they are kept where the stream writes what REST does, with and without the symbol's other
    fields."""
    ring = TradeSeries("BTCUSDT", 500)
    for number in range(300):
        data = samples.trade_data(number)
        if number % 2:
            del data["ps"]
        ring.apply(samples.frame("btcusdt@aggTrade", data), LINK)
    monkeypatch.setattr(trades_module, "trades_of", None)
    assert ring.text(200) == compact([samples.rest_trade(number) for number in range(100, 300)])
    checked: list[int] = []
    honest = is_written_as_by_rest

    def counting(text: bytes, first: int, count: int) -> bool:
        checked.append(count)
        return honest(text, first, count)

    monkeypatch.setattr(trades_module, "is_written_as_by_rest", counting)
    ring.apply(samples.trade_frame(300), LINK)
    assert ring.text(200) == compact([samples.rest_trade(number) for number in range(101, 301)])
    assert [each[0] for each in numbers(ring, 3)] == [298, 299, 300]
    assert checked == [1], "only what is new, and once for both"


def test_trades_in_another_form_are_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ring = TradeSeries("BTCUSDT", 200)

    def apply(first: int, last: int) -> None:
        for number in range(first, last):
            ring.apply(samples.frame("btcusdt@aggTrade", {**samples.trade_data(number), "new": [1]}), LINK)

    apply(0, 300)
    decoded: list[int] = []
    honest = trades_of

    def counting(texts: list[bytes], first: int) -> list[Trade]:
        decoded.append(len(texts))
        return honest(texts, first)

    monkeypatch.setattr(trades_module, "trades_of", counting)
    known = 300
    for upto in (300, 303, 303):
        apply(known, upto)
        known = upto
        assert ring.text(100) == compact([samples.rest_trade(number) for number in range(upto - 100, upto)])
        assert len(numbers(ring, 100)) == 100
    assert decoded == [100, 3]


def test_streamed_trades_take_no_more_memory_than_those_of_rest() -> None:
    streamed, asked = TradeSeries("BTCUSDT", 500), TradeSeries("BTCUSDT", 500)
    rows = [samples.rest_trade(number) for number in range(300)]
    asked.replace([trade_of(json.dumps(row).encode()) for row in rows], Origin(MIDNIGHT, 300))
    for number in range(300):
        streamed.apply(samples.trade_frame(number), LINK)
    sizes = [sum(map(len, ring._segments[0].entries.newest(300)[:256])) for ring in (streamed, asked)]
    assert sizes[0] == sizes[1]
