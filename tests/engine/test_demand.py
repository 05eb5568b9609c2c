"""What is followed because it was read: it is kept while it is read, and dropped when nobody reads it any more."""

from __future__ import annotations

import pytest

from ats_sync.engine.demand import KEPT_PERIODS, LEAST_KEPT, REMEMBERED, SWEEP_EVERY, Demand
from ats_sync.feeds import ACTIVITY, SHARED, Key, Kind

from .bench import Bench, deep

ONE, OTHER = Key(Kind.KLINES, "AUSDT", "1m"), Key(Kind.TRADES, "BUSDT")


def kept_for(demand: Demand, now: float) -> float:
    """Return how long after ``now`` something is dropped, swept as the engine does."""
    at = now
    while not demand.expired(at):
        at += SWEEP_EVERY
        assert at < now + 10 * 86_400, "it is never dropped"
    return at - now


def test_it_distinguishes_the_first_read_from_the_others() -> None:
    demand = Demand()
    assert demand.touch(ONE, 0.0)
    assert not demand.touch(ONE, 0.5)
    assert demand.touch(OTHER, 0.5)
    assert ONE in demand
    assert Key(Kind.BOOK, "AUSDT") not in demand


def test_what_was_read_once_is_kept_half_an_hour() -> None:
    demand = Demand()
    demand.touch(ONE, 100.0)
    assert LEAST_KEPT < kept_for(demand, 100.0) <= LEAST_KEPT + 2 * SWEEP_EVERY
    assert ONE not in demand


@pytest.mark.parametrize("distance", [60.0, 300.0, 3600.0, 4 * 3600.0])
def test_what_is_read_again_and_again_is_kept_for_three_times_the_usual_interval(distance: float) -> None:
    demand = Demand()
    for number in range(20):
        now = number * distance
        # From the second read on it is known that reads that far apart go on.
        assert not demand.expired(now) or (number == 1 and distance > LEAST_KEPT), "dropped between two of its reads"
        demand.touch(ONE, now)
    expected = max(LEAST_KEPT, KEPT_PERIODS * distance)
    assert expected < kept_for(demand, now) <= expected + 2 * SWEEP_EVERY


def test_reads_of_one_scan_count_as_one() -> None:
    demand = Demand()
    for scan in range(10):
        for repeat in range(5):
            now = scan * 3600.0 + repeat * 0.2
            demand.touch(ONE, now)
    assert kept_for(demand, now) > 2 * 3600.0


def test_a_read_long_ago_no_longer_counts() -> None:
    demand = Demand()
    demand.touch(ONE, 0.0)
    assert demand.expired(3600.0) == [ONE]
    assert demand.expired(REMEMBERED + 3600.0) == []
    assert demand.touch(ONE, REMEMBERED + 3600.0)
    assert kept_for(demand, REMEMBERED + 3600.0) <= LEAST_KEPT + 2 * SWEEP_EVERY


def test_only_what_nobody_reads_is_dropped() -> None:
    demand = Demand()
    demand.touch(ONE, 0.0)
    demand.touch(OTHER, 0.0)
    demand.touch(OTHER, LEAST_KEPT)
    assert demand.expired(LEAST_KEPT + 1) == [ONE]
    assert demand.expired(LEAST_KEPT + SWEEP_EVERY + 2) == []
    assert OTHER in demand


def test_what_is_kept_for_another_reason_is_not_dropped() -> None:
    demand = Demand()
    demand.touch(ONE, 0.0)
    demand.touch(OTHER, 0.0)
    demand.forget([ONE, Key(Kind.BOOK, "AUSDT")])
    assert demand.expired(10 * LEAST_KEPT) == [OTHER]


def test_the_engine_drops_it_with_its_stream_and_leaves_the_rest() -> None:
    bench = Bench([deep("AUSDT", 5, minutes=45), deep("BUSDT", 5, minutes=45)], follow=False)
    bench.follow("BUSDT")
    wanted = [Key(Kind.KLINES, "AUSDT", "1m"), Key(Kind.BOOK, "AUSDT")]
    bench.engine.follow(bench.store.follow(wanted), bench.at())
    for key in wanted:
        bench.engine.demand.touch(key, bench.now)
    bench.warm()
    bench.run(600)
    bench.engine.demand.touch(wanted[1], bench.now)
    assert bench.agrees("AUSDT")

    def streams() -> set[str]:
        return {name for held in bench.subscribed.values() for name in held}

    assert bench.run(LEAST_KEPT - 600 + 2 * SWEEP_EVERY, until=lambda: bench.store.get(wanted[0]) is None)
    assert bench.run(1, until=lambda: "ausdt@kline_1m" not in streams())
    assert wanted[0] not in bench.engine.reconciler.states
    assert "ausdt@depth20@100ms" in streams(), "it was read later"
    dropped = bench.seconds
    assert bench.run(600 + SWEEP_EVERY, until=lambda: bench.store.get(wanted[1]) is None)
    assert not bench.of(Kind.KLINES, since=dropped + 1, symbol="AUSDT")
    gone = bench.seconds
    bench.run(60)
    assert not [fetch for when, fetch in bench.asked if fetch.key.symbol == "AUSDT" and when > gone + 1]
    followed = {key for key in bench.engine.reconciler.states if not key.symbol}
    assert followed == {*SHARED, *ACTIVITY}
    assert bench.agrees("BUSDT")


def test_what_was_dropped_is_followed_again_once_it_is_read() -> None:
    bench = Bench([deep("AUSDT", 5, minutes=45)], follow=False)
    bench.follow()
    bench.engine.follow(bench.store.follow([ONE]), bench.at())
    bench.engine.demand.touch(ONE, bench.now)
    bench.warm()
    assert bench.run(LEAST_KEPT + 2 * SWEEP_EVERY, until=lambda: bench.store.get(ONE) is None)
    bench.run(5)
    bench.engine.follow(bench.store.follow([ONE]), bench.at())
    assert bench.engine.demand.touch(ONE, bench.now)
    bench.warm()
    bench.run(70)
    assert bench.agrees("AUSDT")


def test_a_symbol_that_joins_the_exchange_is_listed_within_seconds() -> None:
    bench = Bench([deep("AUSDT", 5), deep("NEW", 5)], follow=False)
    answer = bench.answer
    joined = False

    def without_the_new_one(fetch: object, now: int) -> bytes:
        names = bench.symbols
        if not joined:
            bench.symbols = {name: symbol for name, symbol in names.items() if name != "NEW"}
        try:
            return answer(fetch, now)  # type: ignore[arg-type]
        finally:
            bench.symbols = names

    bench.answer = without_the_new_one  # type: ignore[method-assign]
    bench.unlisted = {"NEW"}
    bench.follow("AUSDT")
    bench.warm()
    bench.run(200)
    listings = bench.store.listings.get()
    assert listings is not None
    assert "NEW" not in listings.value.trading
    assert len(bench.of(Kind.LISTINGS)) == 1, "while nothing differs it is not requested again"
    joined = True
    bench.unlisted.clear()
    bench.run(3)
    listings = bench.store.listings.get()
    assert listings is not None
    assert "NEW" in listings.value.trading
    assert len(bench.of(Kind.LISTINGS)) == 2
