"""Larger candles that are summed from smaller ones equal those of REST, string for string, or are in doubt.

The truth of the properties is the simulator's market, which has its own arithmetic.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ats_sync.config import Config
from ats_sync.errors import ConfigError
from ats_sync.feeds import Cause, Key, Kind
from ats_sync.store.derived import DIFFERED, HOLE, NO_REACH, DerivedKlines, combined
from ats_sync.store.kline_sequencer import FINAL_IN_REST_AFTER
from ats_sync.store.klines import AUDIT_ROWS, newest_klines
from ats_sync.store.link import Link
from ats_sync.store.series import Change, Origin
from ats_sync.venue.klines import string_rows
from ats_sync.venue.payload import DecodeError

from ..venue import samples
from ..venue.samples import MINUTE
from .derived_market import BTC, TURNS, Desk, differing

CHAINS = (("1m", "3m", "15m"), ("1m", "30m", "1h"), ("1m", "1h", "1d", "1w"), ("15m", "1h", "4h", "1d", "1M"))


# --- sums ------------------------------------------------------------------------------------------------


def row_of(opened: int, prices: str, volume: str, quote: str, trades: int, bought: str = "0", paid: str = "0") -> bytes:
    o, h, low, c = prices.split()
    return samples.row_text([opened, o, h, low, c, volume, opened + MINUTE - 1, quote, trades, bought, paid, "0"])


def test_a_sum_is_written_as_the_exchange_writes_it() -> None:
    rows = [
        row_of(0, "7.6000 7.6000 7.6000 7.6000", "0", "0", 0),
        row_of(MINUTE, "7.6110 7.6500 7.6100 7.6200", "500", "123.4000", 1, "0", "0.0000"),
        row_of(2 * MINUTE, "7.6200 7.7000 7.5990 7.6010", "3675", "906.9443", 5, "12", "91.3200"),
        row_of(3 * MINUTE, "7.6010 7.6010 7.6010 7.6010", "0", "0", 0),
    ]
    assert combined(rows, 0, 4 * MINUTE - 1) == (
        b'0,"7.6110","7.7000","7.5990","7.6010","4175",239999,"1030.3443",6,"12","91.3200","0"'
    )
    assert combined(rows[:1], 0, 299_999) == b'0,"7.6000","7.6000","7.6000","7.6000","0",299999,"0",0,"0","0","0"'


def test_the_highest_is_found_whatever_the_scale_of_the_texts() -> None:
    rows = [row_of(0, "9.5 10.5 9.4 9.5", "1", "1", 1), row_of(MINUTE, "9.55 9.55 9.39 9.40", "1", "1", 1)]
    row = string_rows([combined(rows, 0, 2 * MINUTE - 1)])[0]
    assert row[1:5] == ["9.5", "10.5", "9.39", "9.40"]


def test_a_sum_is_exact_however_long_its_parts() -> None:
    long = "123456789012345678901234567890.00000001"
    rows = [row_of(i * MINUTE, "1 1 1 1", long, long, 1) for i in range(3)]
    assert b'"370370367037037036703703703670.00000003"' in combined(rows, 0, 1)


def test_a_number_in_another_notation_is_not_summed() -> None:
    for strange in ("1e5", "-0.5"):
        with pytest.raises(DecodeError):
            combined([row_of(0, "1 1 1 1", strange, "1", 1)] * 2, 0, 1)


parts_of_a_sum = st.tuples(st.integers(0, 3), st.integers(1, 9_999_999), st.integers(1, 99_999))


@given(st.lists(parts_of_a_sum, min_size=1, max_size=12), st.data())
def test_sums_of_sums_are_the_sum(parts: list[tuple[int, int, int]], data: st.DataObject) -> None:
    rows: list[bytes] = []
    for i, (trades, price, quantity) in enumerate(parts):
        text = f"{price / 100:.2f}" if trades or not rows else string_rows(rows[-1:])[0][4]
        volume = f"{quantity / 1000:.3f}" if trades else "0"
        quote = f"{price * quantity / 100_000:.5f}" if trades else "0"
        rows.append(row_of(i * MINUTE, " ".join([text] * 4), volume, quote, trades, "0.000" if trades else "0"))
    ends = len(rows) * MINUTE - 1
    cut = data.draw(st.integers(0, len(rows) - 1))
    left = [combined(rows[:cut], 0, cut * MINUTE - 1)] if cut else []
    assert combined([*left, combined(rows[cut:], cut * MINUTE, ends)], 0, ends) == combined(rows, 0, ends)


# --- against a market ------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(CHAINS),
    st.sampled_from(sorted(TURNS)),
    st.integers(5, 200),
    st.integers(0, 10**6),
    st.sampled_from((0.02, 0.3, 2.0)),
    st.lists(st.sampled_from((0.3, 1.1, 4.0, 17.0)), min_size=8, max_size=16),
)
def test_derived_candles_are_those_of_rest(
    chain: Sequence[str], turn: str, before: int, seed: int, activity: float, steps: list[float]
) -> None:
    desk = Desk(chain, TURNS[turn] - before * 1000, seed, activity)
    assert desk.derived == list(chain[1:])
    desk.warm()
    desk.check()
    compared = 0
    for step in steps:
        desk.run(step)
        if desk.doubt(chain[0]):
            desk.ask(chain[0])  # as the engine does, for example for a candle that ended just before the start
        compared += desk.check()
    for interval in chain:
        desk.ask(interval)  # an audit finds nothing to correct
        assert not desk.series(interval).counts().mismatches
    assert not desk.store.take_separated()
    assert compared >= len(desk.derived)


@settings(deadline=None, max_examples=10, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(CHAINS),
    st.sampled_from(sorted(TURNS)),
    st.integers(0, 10**6),
    st.sampled_from((1.0, 20.0, 70.0, 160.0)),
    st.integers(0, 3),
)
def test_after_a_gap_only_the_smallest_candles_are_requested(
    chain: Sequence[str], turn: str, seed: int, gap: float, again: int
) -> None:
    desk = Desk(chain, TURNS[turn] - 50_000, seed, activity=0.2)
    desk.warm()
    desk.run(3.0)
    desk.deaf, desk.link.up = True, False
    desk.run(gap)
    desk.check()
    desk.deaf, desk.link = False, Link(2, "market", 0.0)
    assert all(map(desk.doubt, desk.derived)), "their connection is another one"
    for interval in chain:
        desk.series(interval).subscribed_on(desk.link)
    desk.run(FINAL_IN_REST_AFTER / 1000 + 1)
    assert not any(desk.series(each).resume(desk.link, desk.market.now) for each in desk.derived)
    desk.ask(chain[0])
    for interval in desk.derived:
        assert desk.series(interval).resume(desk.link, desk.market.now), desk.doubt(interval)
    assert desk.check() == len(desk.derived)
    for _ in range(again):
        desk.run(2.3)
        desk.check()


def test_a_larger_candle_is_in_doubt_whenever_its_source_is() -> None:
    desk = Desk(("1m", "15m", "1h"), TURNS["hour"] - 200_000)
    desk.warm()
    desk.run(2.0)
    assert not desk.doubt("1h")
    desk.series("1m").suspect("its stream seems to be dead")
    assert desk.doubt("15m") == desk.doubt("1h") == "its stream seems to be dead"
    assert not desk.series("1h").streaming()


@pytest.mark.parametrize("read", [False, True], ids=["unread", "just read"])
def test_an_answer_from_before_a_recomputation_does_not_bring_the_larger_candle_back(read: bool) -> None:
    desk = Desk(("1m", "30m", "1h"), TURNS["hour"] - 10_000, activity=2.0)
    desk.warm()
    desk.run(5.0)
    asked, before = desk.market.now, {interval: desk.rest(interval) for interval in desk.derived}
    desk.market.recompute_candle(BTC)
    desk.run(3.0)
    desk.market.silence(BTC)
    desk.run(1.0)
    assert desk.is_current()
    for interval in desk.derived:
        if read:
            assert desk.rows(interval) == desk.rest(interval, 200)
        key = Key(Kind.KLINES, BTC, interval)
        body = json.dumps(before[interval], separators=(",", ":")).encode()
        desk.store.merge(key, newest_klines(key, 500), body, asked, desk.link)
        assert desk.rows(interval) == desk.rest(interval, 200)


def test_a_source_that_does_not_reach_back_leaves_the_candle_in_doubt() -> None:
    desk = Desk(("1m", "1h"), TURNS["hour"] - 200_000)
    desk.ask("1m", 5)
    desk.ask("1h")
    assert desk.doubt("1h") == NO_REACH
    assert not desk.series("1h").unsettled(desk.market.now), "no answer about the larger candles helps"
    desk.ask("1m")
    assert not desk.doubt("1h")
    assert desk.check() == 1


def test_a_history_that_begins_with_the_listing_reaches_back_far_enough() -> None:
    desk = Desk(("1m", "1h"), TURNS["hour"] - 200_000)
    desk.market.delist(BTC)
    desk.market.list_symbol(BTC)
    desk.run(60.0)
    desk.warm()
    assert len(desk.rest("1m")) < 5
    assert desk.check() == 1


def test_a_candle_without_trades_closes_with_the_confirmation_of_its_source() -> None:
    desk = Desk(("1m", "15m", "1h"), TURNS["hour"] - 50_000, activity=0.0)
    desk.warm()
    desk.run(60.0)
    assert desk.check() == 2, "nobody doubts a quiet candle"
    assert desk.series("1h").following() < TURNS["hour"]
    desk.ask("1m")
    assert [desk.series(each).following() for each in desk.intervals] == [TURNS["hour"]] * 3
    assert desk.check() == 2


@pytest.mark.parametrize("read", [False, True], ids=["unread", "just read"])
def test_a_close_is_reported_once_by_the_thread_that_merged_it(read: bool) -> None:
    desk = Desk(("1m", "15m", "1h"), TURNS["hour"] - 3_000, activity=5.0)
    desk.warm()
    desk.run(1.0)
    desk.closed.clear()
    if read:
        series = desk.series("1h")
        series.look(5, desk.market.now, desk.market.now, True)
    desk.run(10.0)
    assert [key.interval for key in desk.closed] == ["1m", "15m", "1h"]
    closing = desk.series("1h").closed_from(TURNS["hour"] - 60 * MINUTE)[2]
    assert closing is not None
    assert closing.source.value == "stream"


def test_a_close_that_a_reader_merged_first_is_reported_all_the_same() -> None:
    desk = Desk(("1m", "15m"), TURNS["hour"] - 3_000, activity=5.0)
    desk.warm()
    series = desk.series("15m")
    assert isinstance(series, DerivedKlines)
    series.advance()
    derivations = desk.store.derivations
    derivations._derived, kept = {}, derivations._derived
    desk.run(8.0)
    derivations._derived = kept
    assert series.state(desk.market.now).rows  # it closes here
    assert series.advance()
    assert not series.advance()


@pytest.mark.parametrize("behind", [0, 60_000], ids=["right", "by a clock that is behind"])
def test_an_answer_about_the_open_candle_that_is_ahead_of_the_stream_is_not_overwritten(behind: int) -> None:
    desk = Desk(("1m", "15m"), TURNS["hour"] - 100_000, activity=3.0)
    desk.warm()
    desk.run(2.0)
    desk.deaf = True
    desk.run(5.0)
    ahead = desk.rest("15m", 1)[0]
    assert desk.rows("15m", 1)[0][8] < ahead[8]
    desk.ask("15m", at=desk.market.now - behind)
    assert desk.rows("15m", 1) == [ahead]
    desk.deaf = False
    desk.run(5.0)
    assert desk.rows("15m", 1)[0][8] > ahead[8]
    assert desk.check() == 1


def test_readers_and_the_stream_merge_at_the_same_time_without_losing_a_candle() -> None:
    desk = Desk(("1m", "3m", "15m"), TURNS["hour"] - 170_000, activity=1.0)
    desk.warm()
    texts = [
        f'{{"stream":"{frame.stream}","data":{frame.payload}}}'.encode()
        for frame in desk.market.advance(TURNS["hour"] + 20_000)
    ]
    now, over = desk.market.now, threading.Event()
    shown: list[list[int]] = [[] for _ in range(3)]

    def read(found: list[int]) -> None:
        while not over.is_set():
            _, snapshot = desk.series("15m").look(3, now, 0, True)
            found.append(max(snapshot.rows(), key=lambda row: (row[0], row[8]))[0])

    readers = [threading.Thread(target=read, args=(found,), daemon=True) for found in shown]
    for reader in readers:
        reader.start()
    closed: list[str] = []
    for text in texts:
        events, _ = desk.store.ingest([text], desk.link)
        closed += [event.key.interval for event in events if event.change is Change.CLOSED]
    over.set()
    for reader in readers:
        reader.join()
    assert [interval for interval in closed if interval != "1m"] == ["3m", "15m"]
    assert all(found == sorted(found) for found in shown)
    assert desk.check() == 2


# --- on its own ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", [True, False], ids=["closed", "open"])
def test_a_series_that_differs_once_has_a_stream_of_its_own(closed: bool) -> None:
    desk = Desk(("1m", "15m", "1h"), TURNS["hour"] - 3_000, activity=5.0)
    desk.warm()
    desk.run(20.0)
    desk.market.silence(BTC)
    desk.run(1.0)
    assert desk.is_current()
    assert not desk.store.take_separated()
    differing(desk, "15m", closed=closed)
    key = Key(Kind.KLINES, BTC, "15m")
    assert desk.store.take_separated() == [key]
    assert desk.store.take_separated() == []
    assert desk.store.derivations.derivation(key) == DIFFERED
    assert desk.derived == ["1h"], "what is derived from it goes on, from its own stream"
    assert desk.store.derivations.root_of(Key(Kind.KLINES, BTC, "1h")) == key
    series = desk.series("15m")
    assert series.link is None
    request = series.request(desk.market.now, Cause.REPAIR, None)
    assert request is not None
    assert request.rows >= AUDIT_ROWS, "the others may differ as well"
    series.subscribed_on(desk.link)
    desk.market.subscribed.add("btcusdt@kline_15m")
    desk.market.silence(BTC, False)
    desk.run(2.0)
    assert series.received, "its frames are its own"
    assert not series.resume(desk.link, desk.market.now)
    desk.ask("15m")
    assert not series.unaudited
    assert desk.rows("15m") == desk.rest("15m", 200) or not desk.is_current()


def test_a_hole_of_the_exchange_ends_the_derivation() -> None:
    desk = Desk(("1m", "15m", "1h"), TURNS["hour"] - 200_000)
    desk.market.halt_history(BTC, TURNS["hour"] - 22 * MINUTE, TURNS["hour"] - 18 * MINUTE)
    desk.ask("1m")
    desk.ask("15m")
    desk.ask("1h")
    assert desk.doubt("15m") == desk.doubt("1h") == "" or desk.doubt("15m") != ""
    assert desk.store.take_separated() == []
    desk = Desk(("1m", "1h"), TURNS["hour"] - 200_000)
    desk.market.halt_history(BTC, TURNS["hour"] - 22 * MINUTE, TURNS["hour"] - 18 * MINUTE)
    desk.warm()
    assert desk.doubt("1h")
    assert desk.store.take_separated() == [Key(Kind.KLINES, BTC, "1h")]
    assert desk.store.derivations.derivation(Key(Kind.KLINES, BTC, "1h")) == HOLE


def test_a_contract_that_has_not_traded_yet_begins_with_its_first_trade() -> None:
    desk = Desk(("1m", "1h"), TURNS["hour"] - 200_000, activity=0.0)
    desk.market.delist(BTC)
    desk.market.list_symbol(BTC, pending=True)
    desk.market.silence(BTC)
    for interval in desk.intervals:
        desk.series(interval).replace([], Origin(desk.market.now, 500))
    assert desk.series("1h").state(desk.market.now).rows == 0
    assert not desk.series("1h").state(desk.market.now).doubt
    desk.market.set_status(BTC, "TRADING")
    desk.market.silence(BTC, False)
    desk.run(1.0)
    desk.hear(desk.market.trade(BTC))
    desk.ask("1m")
    assert desk.series("1h").unsettled(desk.market.now), "REST is to show its history"
    desk.ask("1h")
    assert desk.check() == 1


# --- off --------------------------------------------------------------------------------------------------


def test_a_later_answer_with_fewer_trades_puts_what_is_derived_in_doubt() -> None:
    """Its source, whose stream had died, had not received the candle that was computed again."""
    desk = Desk(("1m", "15m"), TURNS["hour"] - 200_000)
    desk.warm()
    desk.run(5.0)
    assert desk.doubt("15m") == ""
    rows = desk.rest("15m")
    rows[-1][8] = 1
    key = Key(Kind.KLINES, BTC, "15m")
    body = json.dumps(rows, separators=(",", ":")).encode()
    desk.store.merge(key, newest_klines(key, 500), body, desk.market.now + 3_000, desk.link)
    assert "fewer trades" in desk.doubt("15m")
    desk.run(5.0)
    assert desk.doubt("15m") == "", "its source has gone on"


def test_the_setting_is_checked() -> None:
    with pytest.raises(ConfigError, match="True or False"):
        Config(derive_intervals=1)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="collector"):
        Config(derive_intervals=True, shared="redis://host", role="collector")
