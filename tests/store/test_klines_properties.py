from __future__ import annotations

import contextlib
import itertools
import threading
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.store.assess import CONFIRMED_WITHIN, assess
from ats_sync.store.klines import KlineSeries
from ats_sync.store.link import Link
from ats_sync.store.series import Origin
from ats_sync.venue.intervals import next_open
from ats_sync.venue.klines import float_rows, string_rows
from ats_sync.venue.payload import DecodeError

from ..venue import samples
from ..venue.samples import MIDNIGHT, MINUTE
from .candles import LINK, STARTS, Truth, asked, series_of, state, warmed

# --- properties -----------------------------------------------------------------------------------


@st.composite
def happenings(draw: st.DrawFn, *, numbered: bool) -> tuple[Truth, list[tuple[Any, ...]], int]:
    """Return a truth and events about it in any order, doubled and lost; among them one answer that contains
    everything."""
    interval = draw(st.sampled_from(list(STARTS)))
    trades = draw(st.lists(st.integers(0, 4), min_size=2, max_size=9))
    truth = Truth(
        interval, STARTS[interval], trades, first_trade=draw(st.sampled_from([None, 77])) if numbered else None
    )
    now = truth.opens[-1] + draw(st.integers(0, truth.end - truth.opens[-1] - 1))
    told: list[tuple[Any, ...]] = []
    for i, count in enumerate(trades):
        told += [("frame", i, n, False) for n in range(1, count + 1) if truth.told_at(i, n) <= now]
        if count and truth.close_time(i) + 204 <= now:
            told.append(("frame", i, count, True))
    events = draw(st.lists(st.sampled_from(told), max_size=14)) if told else []
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(truth.opens[0], now))
        events.append(("rest", at, draw(st.integers(1, 12))))
    events.append(("rest", now, 499))
    return truth, draw(st.permutations(events)), now


def apply(series: KlineSeries, truth: Truth, event: tuple[Any, ...]) -> None:
    if event[0] == "frame":
        _, i, n, final = event
        series.apply(truth.frame(i, n, final=final), LINK)
    else:
        _, at, limit = event
        series.replace(truth.texts(at, limit), Origin(at, limit))


@settings(deadline=None, max_examples=80)
@given(happenings(numbered=False), st.randoms(use_true_random=False), st.integers(0, 5))
def test_merging_is_commutative_and_idempotent(
    case: tuple[Truth, list[tuple[Any, ...]], int], order: Any, doubled: int
) -> None:
    truth, events, now = case
    one, other = series_of(truth), series_of(truth)
    for event in events:
        apply(one, truth, event)
    again = events + [order.choice(events) for _ in range(doubled)]
    order.shuffle(again)
    for event in again:
        apply(other, truth, event)
    assert state(one, now) == state(other, now)
    settled = state(one, now)
    for event in again:
        apply(one, truth, event)
    assert state(one, now) == settled


@settings(deadline=None, max_examples=80)
@given(happenings(numbered=True), st.integers(2, 8), st.data())
def test_history_keeps_its_invariants_at_every_instant(
    case: tuple[Truth, list[tuple[Any, ...]], int], depth: int, data: st.DataObject
) -> None:
    truth, events, now = case
    series = series_of(truth, depth)
    for event in events:
        apply(series, truth, event)
        limit, exact = data.draw(st.integers(1, 12)), data.draw(st.booleans())
        check(series, truth, now, limit, exact)
    check(series, truth, now, 100, exact=True)
    assert len(series.closed_rows()) <= depth


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_frame_that_is_only_scanned_changes_what_one_that_is_decoded_does(data: st.DataObject) -> None:
    """In nearly every frame only what a scan finds has changed; here one of two series never knows that."""
    truth = Truth("1m", MIDNIGHT, [3, 40])
    scanning, decoding = warmed(truth, 1), warmed(truth, 1)
    first, second = LINK, Link(2, "market", 0.0)
    now = truth.opens[1] + 30_000
    actions = st.sampled_from(["frame"] * 6 + ["subscribed", "suspected", "answer", "next candle"])
    for action in data.draw(st.lists(actions, min_size=2, max_size=14)):
        trades, at = data.draw(st.integers(2, 6)), data.draw(st.integers(10, 16))
        link = data.draw(st.sampled_from([first, second]))
        happened = []
        for series in (scanning, decoding):
            if action == "subscribed":
                series.subscribed_on(link)
            elif action == "suspected":
                series.suspect("its stream is silent")
            elif action == "answer":
                row = samples.row(truth.opens[1], trades=trades, volume=f"{trades}.5")
                series.replace(
                    [samples.row_text(truth.row(0)), samples.row_text(row)], Origin(truth.opens[1] + at * 1_000, 499)
                )
            else:
                opened = truth.opens[1] + (MINUTE if action == "next candle" else 0)
                row = samples.row(opened, trades=trades, volume=f"{trades}.5")
                event = truth.opens[1] + at * 1_000 + (MINUTE if action == "next candle" else 0)
                frame = samples.kline_data(row, symbol="BTCUSDT", interval="1m", event=event, final=False)
                if series is decoding:
                    series._shape = (0, None)
                happened.append(series.apply(samples.frame("btcusdt@kline_1m", frame), link))
        assert happened[:1] == happened[1:]
        for moment in (now, now + MINUTE):
            assert state(scanning, moment) == state(decoding, moment)
        assert scanning.last_heard() == decoding.last_heard()
        assert scanning.counts() == decoding.counts()
        assert scanning.suspected == decoding.suspected
        assert scanning.is_contiguous() == decoding.is_contiguous()
        assert scanning.patience(live_once=False) == decoding.patience(live_once=False)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_state_that_needs_no_assessment_is_what_an_assessment_finds(data: st.DataObject) -> None:
    """At nearly every read the newest candle is simply open."""
    truth = Truth("1m", MIDNIGHT, [3, 40])
    series = series_of(truth) if data.draw(st.booleans()) else warmed(truth, 1)
    series.go_live(LINK)
    open_ones = [truth.opens[1] + MINUTE * n for n in range(3)]
    kinds = ["frame"] * 5 + ["final", "answer", "paused", "trading", "recounted", "listed", "none", "spoilt"]
    for action in data.draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=12)):
        opened, trades = data.draw(st.sampled_from(open_ones)), data.draw(st.integers(1, 5))
        at = opened + data.draw(st.integers(5, 59)) * 1_000
        row = samples.row(opened, trades=trades, volume=f"{trades}.5")
        if action in ("frame", "final", "spoilt"):
            final = action == "final"
            event = samples.kline_data(
                row, symbol="BTCUSDT", interval="1m", event=opened + MINUTE if final else at, final=final
            )
            frame = samples.frame("btcusdt@kline_1m", event)
            series.apply(frame.replace(b'"v":"', b'"v":"x') if action == "spoilt" else frame, LINK)
        elif action == "answer":
            series.replace([samples.row_text(truth.row(0)), samples.row_text(row)], Origin(at, 499))
        elif action == "none":
            series.replace([], Origin(at, 499))
        elif action == "paused":
            series.note_paused(at)
        elif action == "trading":
            series.note_trading(at)
        elif action == "recounted":
            series.note_recounted(at)
        else:
            series.note_listed()
        moment = data.draw(st.sampled_from(open_ones)) + data.draw(st.integers(0, MINUTE))
        with contextlib.suppress(DecodeError):  # what was spoilt is found when it is read
            series.rows(3, moment, exact=True)
        with series._lock:
            evidence = series._evidence(series._pending.chain(series._closed.following))
        assert series.state(moment) == assess(evidence, moment)


def check(series: KlineSeries, truth: Truth, now: int, limit: int, exact: bool) -> None:
    """Assert what a reader may rely on at any instant."""
    rows = series.rows(limit, now, exact=exact)
    standing = series.state(now)
    following = series.following()
    assert len(rows) <= limit
    assert len(rows) == min(limit, max(standing.rows, len(rows)))
    for earlier, later in itertools.pairwise(rows):
        assert later[0] == next_open(truth.interval, earlier[0])
    if not rows:
        assert standing.doubt
        return
    assert rows[-1][0] <= now <= rows[-1][6], "the newest row covers now"
    known = {truth.opens[i]: i for i in range(len(truth))}
    unclosed = 0
    for row in rows:
        i = known[row[0]]
        if row[0] < following:
            assert as_exact(row, exact) == as_exact(truth.row(i), exact)
            continue
        assert row[8] <= truth.trades[i]
        if row[8]:
            assert as_exact(row, exact) == as_exact(truth.row(i, row[8]), exact)
        unclosed += row[6] < now
    if not standing.doubt:
        assert unclosed <= 2
        first_unclosed = next_open(truth.interval, following)
        assert now < first_unclosed + CONFIRMED_WITHIN


def as_exact(row: list[Any], exact: bool) -> list[Any]:
    return row if exact else [float(value) if isinstance(value, str) else value for value in row]


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 3), min_size=25, max_size=40),
    st.integers(3, 9),
    st.lists(st.tuples(st.sampled_from("fffrRpcw"), st.integers(1, 12), st.booleans()), max_size=30),
)
def test_remembered_decoding_stays_aligned(trades: list[int], depth: int, steps: list[tuple[str, int, bool]]) -> None:
    """The letters are f: a final event, r: a read, R: reads of both forms, p: older rows, c: a correction, w: an answer
    for all."""
    truth = Truth("1m", MIDNIGHT, trades)
    series = series_of(truth, depth)
    at = 5
    series.replace(truth.texts(asked(truth, at), 3), Origin(asked(truth, at), 3))
    for step, number, exact in steps:
        if step == "f" and at < len(truth) - 1:
            if truth.trades[at]:
                series.apply(truth.frame(at, final=True), LINK)
            else:
                series.replace(truth.texts(asked(truth, at + 1), 2), Origin(asked(truth, at + 1), 2))
            at += 1
        elif step == "p":
            series.replace(truth.texts(asked(truth, at), number), Origin(asked(truth, at), number))
        elif step == "w":
            series.replace(truth.texts(asked(truth, at)), Origin(asked(truth, at), 499))
        elif step == "c" and (held := series.closed_rows()):
            wrong = string_rows(held)[-1]
            wrong[4] = "1.0"
            series.replace([samples.row_text(wrong)], Origin(asked(truth, at), 1))
            series.replace(truth.texts(asked(truth, at), number), Origin(asked(truth, at), number + 1))
        for form in (True, False) if step == "R" else (exact,):
            texts = series.closed_rows()[-number:]
            expected = string_rows(texts) if form else float_rows(texts)
            assert series.rows(number, None, exact=form)[: len(texts)] == expected or len(series) > len(texts)
        closed = series.closed_rows()
        assert series.rows(1_000, None, exact=exact)[: len(closed)] == (
            string_rows(closed) if exact else float_rows(closed)
        )


def test_readers_see_whole_history_while_a_stream_writes() -> None:
    truth = Truth("1m", MIDNIGHT, [1 + i % 3 for i in range(400)])
    series = warmed(truth, 50, depth=60)
    failures: list[BaseException] = []
    done, begun = threading.Event(), threading.Barrier(4)

    def read(exact: bool, limit: int) -> None:
        begun.wait(10)
        while not done.is_set():
            rows = series.rows(limit, None, exact=exact)
            try:
                assert all(b[0] - a[0] == MINUTE for a, b in itertools.pairwise(rows))
                assert len(rows) >= min(limit, 40)
                for row in rows:
                    i = (row[0] - MIDNIGHT) // MINUTE
                    assert as_exact(truth.row(i), exact) == row or as_exact(truth.row(i, row[8]), exact) == row
            except BaseException as error:  # noqa: BLE001
                failures.append(error)
                return

    threads = [threading.Thread(target=read, args=case) for case in ((True, 45), (False, 60), (True, 3))]
    for thread in threads:
        thread.start()
    begun.wait(10)
    for i in range(50, 400):
        for n in range(1, truth.trades[i] + 1):
            series.apply(truth.frame(i, n), LINK)
        if i % 7:
            series.apply(truth.frame(i, final=True), LINK)
        elif i < 399:
            series.replace(truth.texts(asked(truth, i + 1), 3), Origin(asked(truth, i + 1), 3))
    done.set()
    for thread in threads:
        thread.join(10)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)
