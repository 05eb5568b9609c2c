from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ats_sync.config import Config
from ats_sync.feeds import Key, Kind
from ats_sync.store.derivations import source_of
from ats_sync.store.derived import DIFFERED, ORPHANED, DerivedKlines
from ats_sync.store.klines import KlineSeries
from ats_sync.store.series import Change, StoreEvent
from ats_sync.venue.intervals import INTERVALS, divides, next_open, open_time

from .derived_market import BTC, TURNS, Desk

EVERY = tuple(INTERVALS)


@pytest.mark.parametrize(
    ("interval", "others", "expected"),
    [
        ("1h", ("1m", "15m", "4h"), "15m"),
        ("1d", ("1m", "1h"), "1h"),
        ("1w", ("3d", "1d", "12h"), "1d"),
        ("1M", ("1w", "3d", "4h"), "4h"),
        ("3d", ("2h",), "2h"),
        ("8h", ("6h", "3m"), "3m"),
        ("5m", ("3m",), None),
        ("1m", ("1h",), None),
        ("1d", ("1m",), None),  # memory does not keep the 1,440 rows that it would take
        ("1M", ("15m",), None),
        ("4h", ("4h",), None),
    ],
)
def test_the_source_is_the_largest_interval_that_divides_and_of_which_enough_rows_are_kept(
    interval: str, others: Sequence[str], expected: str | None
) -> None:
    assert source_of(interval, others, 498) == expected


@given(st.sampled_from(EVERY), st.sampled_from(EVERY), st.integers(1_500_000_000_000, 2_000_000_000_000))
def test_a_larger_candle_begins_and_ends_with_whole_smaller_ones(smaller: str, larger: str, at: int) -> None:
    if divides(smaller, larger):
        opened = open_time(larger, at)
        assert open_time(smaller, opened) == opened
        ends = next_open(larger, opened)
        assert open_time(smaller, ends) == ends


def test_a_series_that_has_lost_its_source_has_a_stream_of_its_own() -> None:
    desk = Desk(("1m", "15m", "1h"), TURNS["hour"] - 200_000)
    desk.store.unfollow([Key(Kind.KLINES, BTC, "15m")])
    key = Key(Kind.KLINES, BTC, "1h")
    assert desk.store.take_separated() == [key]
    assert desk.store.derivations.derivation(key) == ORPHANED
    desk.store.unfollow([key])
    desk.store.follow([key])
    assert desk.store.derivations.derivation(key) == "derived from 1m", "it is followed again"


def test_an_interval_that_is_added_later_leaves_the_others_as_they_are() -> None:
    desk = Desk(("15m", "1h"), TURNS["hour"] - 200_000)
    desk.store.follow([Key(Kind.KLINES, BTC, interval) for interval in ("1m", "4h")])
    found = {
        key.interval: desk.store.derivations.derivation(key) for key in desk.store.series if key.kind is Kind.KLINES
    }
    assert found == {"15m": "", "1h": "derived from 15m", "1m": "", "4h": "derived from 1h"}


def test_a_new_contract_is_derived_again() -> None:
    desk = Desk(("1m", "15m"), TURNS["hour"] - 200_000)
    old = desk.series("15m")
    desk.warm()
    desk.store.renew(desk.keys, desk.market.now)
    new = desk.series("15m")
    assert new is not old
    assert new.source is desk.series("1m")
    desk.warm()
    assert desk.check() == 1


def test_nothing_is_derived_by_default() -> None:
    desk = Desk(("1m", "15m"), TURNS["hour"], config=Config(proxies={}))
    assert desk.derived == []
    assert type(desk.series("15m")) is KlineSeries
    assert desk.store.derivations.derived_from(desk.keys[0]) == []
    assert desk.store.take_separated() == []


def test_what_is_kept_is_deep_enough_for_a_candle() -> None:
    few = Desk(("1m", "15m"), TURNS["hour"], config=Config(derive_intervals=True, warmup_klines=16, proxies={}))
    assert few.derived == []
    enough = Desk(("1m", "15m"), TURNS["hour"], config=Config(derive_intervals=True, warmup_klines=17, proxies={}))
    assert enough.derived == ["15m"]


def test_a_chain_is_known_from_both_ends() -> None:
    desk = Desk(("1m", "15m", "1h"), TURNS["hour"] - 200_000)
    derivations, (root, middle, last) = desk.store.derivations, desk.keys
    assert derivations.derived_from(root) == [middle, last]
    assert (derivations.sources_of(last), derivations.root_of(last)) == ([middle, root], root)
    assert (derivations.sources_of(root), derivations.root_of(root)) == ([], root)
    assert derivations.derived_from(last) == []


def test_what_is_derived_closes_with_its_source() -> None:
    desk = Desk(("1m", "15m", "1h"), TURNS["hour"] - 3_000, activity=5.0)
    desk.warm()
    desk.run(8.0)
    assert [key for key in desk.closed if key != desk.keys[0]] == desk.keys[1:]
    assert desk.store.derivations.advance(desk.keys[0]) == []


def test_what_differed_from_rest_is_separated_once() -> None:
    desk = Desk(("1m", "1h"), TURNS["hour"] - 200_000)
    series = desk.series("1h")
    assert isinstance(series, DerivedKlines)
    series.apart = DIFFERED
    assert StoreEvent(Change.GAP, series.key) in desk.store.derivations.advance(desk.keys[0])
    assert desk.store.take_separated() == [series.key]
    assert (desk.store.take_separated(), series.source) == ([], None)
    assert desk.store.derivations.derivation(series.key) == DIFFERED
