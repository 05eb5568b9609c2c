"""Which contracts are delisted: what one answer says is weighed against everything that streams."""

from __future__ import annotations

import pytest

from ats_sync.engine.listings import CONFIRM_AFTER, Listings
from ats_sync.errors import AtsSyncError, RequestRejected
from ats_sync.feeds import LISTINGS, Kind
from ats_sync.venue.listings import Phase

from ..venue import samples
from .bench import Bench, announce, ask_for_listings, deep, failing

UNKNOWN = RequestRejected("Invalid symbol.", status=400, code=-1121)


@pytest.mark.parametrize("status", ["TRADING_HALT", "TRADING_CANCEL_ONLY", "PRE_SETTLE", "A_STATUS_OF_NEXT_YEAR"])
def test_a_halted_contract_is_served_and_holds_up_no_other(status: str) -> None:
    bench = Bench([deep("AUSDT", 5), deep("HALTED", 0)])
    bench.statuses = {"HALTED": status}
    bench.warm()
    assert bench.engine.missing(bench.at()) == []
    bench.run(60)
    assert bench.store.delisted == {}
    assert bench.store.contract_status("HALTED") == status
    assert bench.agrees("HALTED")


def test_one_answer_of_a_maintenance_window_delists_nothing() -> None:
    names = [f"{letter}USDT" for letter in "ABCDEF"]
    bench = Bench([deep(name, 30) for name in names])
    bench.warm()
    bench.statuses = dict.fromkeys(names, "CLOSE")
    ask_for_listings(bench)
    bench.run(1)
    assert bench.store.phase("AUSDT") is Phase.GONE
    since = bench.seconds
    bench.statuses = {}
    assert not bench.run(30, until=lambda: bool(bench.store.delisted))
    assert all(bench.link_of(f"{name.lower()}@aggTrade") is not None for name in names)
    assert len(bench.of(Kind.LISTINGS, since=since)) >= 1, "a doubtful answer is requested again within seconds"
    assert bench.store.phase("AUSDT") is Phase.TRADING


def test_two_answers_at_once_delist_nothing_however_old_the_first_one_looks() -> None:
    """For example where the exchange's time became known between them."""
    bench = Bench([deep(f"{letter}USDT", 0) for letter in "ABCDEF"], follow=False)
    bench.dropped = lambda stream, frame: stream == "!bookTicker"
    bench.statuses = {"AUSDT": "SETTLING"}
    bench.holds = lambda fetch: fetch.key == LISTINGS
    bench.follow(*bench.symbols)
    bench.run(3)
    (fetch,) = bench.held
    bench.receive(fetch, bench.answer(fetch, bench.exchange()), bench.exchange() - 900_000)
    bench.holds = lambda fetch: False
    ask_for_listings(bench)
    bench.run(0.2)
    assert bench.store.phase("AUSDT") is Phase.GONE
    assert not bench.store.delisted
    assert bench.run(10, until=lambda: "AUSDT" in bench.store.delisted), "the next answers agree, and nothing happens"


def test_a_maintenance_is_recognised_by_the_whole_market_even_if_little_of_it_is_followed() -> None:
    names = [f"{letter}USDT" for letter in "ABCDEF"]
    bench = Bench([deep(name, 0) for name in names], follow=False)
    bench.follow("AUSDT", "BUSDT")
    bench.warm()
    bench.statuses = dict.fromkeys(names, "CLOSE")
    ask_for_listings(bench)
    assert not bench.run(60, until=lambda: bool(bench.store.delisted))
    bench.statuses = {}
    bench.run(10)
    assert bench.store.phase("AUSDT") is Phase.TRADING


def test_what_trades_is_not_delisted_by_any_number_of_answers() -> None:
    bench = Bench([deep("AUSDT", 30), deep("BUSDT", 30)])
    bench.warm()
    bench.statuses = {"AUSDT": "SETTLING"}
    ask_for_listings(bench)
    since = bench.seconds
    assert not bench.run(300, until=lambda: bool(bench.store.delisted))
    assert 4 <= len(bench.of(Kind.LISTINGS, since=since)) <= 12, "each time after a longer pause"


def test_a_quiet_contract_is_not_delisted_by_one_answer() -> None:
    bench = Bench([deep("AUSDT", 30), deep("QUIET", 0)])
    bench.warm()
    bench.statuses = {"QUIET": "SETTLING"}
    ask_for_listings(bench)
    bench.run(1)
    bench.statuses = {}
    assert not bench.run(30, until=lambda: bool(bench.store.delisted))


def test_a_mark_that_moves_shows_that_a_quiet_contract_is_listed() -> None:
    bench = Bench([deep("AUSDT", 30), deep("QUIET", 0)])
    bench.warm()
    bench.statuses = {"QUIET": "SETTLING"}
    ask_for_listings(bench)
    link = bench.link_of("!markPrice@arr@1s")
    assert link is not None
    bench.dropped = lambda stream, frame: stream.startswith("!markPrice")
    for step in range(20):
        frame = samples.marks_frame(["QUIET"], event=bench.exchange(), price=f"7.{6200 + step}")
        bench.store.marks.apply(frame, link)
        bench.run(1)
    assert bench.store.delisted == {}


@pytest.mark.parametrize("moves", [True, False])
def test_a_later_mark_shows_whether_a_contract_that_was_said_to_be_gone_is_listed(moves: bool) -> None:
    bench = Bench([deep("AUSDT", 30), deep("QUIET", 0)])
    bench.statuses = {"QUIET": "CLOSE"}
    bench.holds = lambda fetch: fetch.key.kind is Kind.MARK
    bench.dropped = lambda stream, frame: stream.startswith("!markPrice")
    for step in range(20):
        bench.run(1)
        link = bench.link_of("!markPrice@arr@1s")
        if step >= 2 and link is not None:
            price = f"7.{6200 + step}" if moves else "7.6200"
            bench.store.marks.apply(samples.marks_frame(["AUSDT", "QUIET"], event=bench.exchange(), price=price), link)
    assert set(bench.store.delisted) == (set() if moves else {"QUIET"})


def test_a_contract_that_is_gone_is_delisted_after_two_answers() -> None:
    bench = Bench([deep("AUSDT", 30), deep("GONE", 0)])
    bench.warm()
    bench.unlisted = {"GONE"}
    ask_for_listings(bench)
    assert bench.run(CONFIRM_AFTER + 2, until=lambda: "GONE" in bench.store.delisted)
    assert set(bench.store.delisted) == {"GONE"}


def test_an_event_and_an_answer_that_agree_delist_at_once() -> None:
    bench = Bench([deep("AUSDT", 30), deep("GONE", 0)])
    bench.warm()
    bench.unlisted = {"GONE"}
    announce(bench, "GONE", "SETTLING")
    assert bench.run(2, until=lambda: "GONE" in bench.store.delisted)


def test_a_refused_request_and_an_answer_that_agree_delist_at_once() -> None:
    bench = Bench([deep("AUSDT", 30), deep("GONE", 0)])
    bench.warm()
    bench.unlisted = {"GONE"}
    (_, fetch), *_ = bench.of(Kind.KLINES, symbol="GONE")
    bench.engine.fetched(fetch, UNKNOWN, bench.at())
    assert bench.run(2, until=lambda: "GONE" in bench.store.delisted)


def test_one_refused_request_delists_nothing() -> None:
    bench = Bench([deep("AUSDT", 30), deep("BUSDT", 30)])
    refuses = failing(Kind.KLINES, UNKNOWN, times=1)
    bench.fails = lambda fetch: refuses(fetch) if fetch.key.symbol == "BUSDT" else None
    assert bench.run(90, until=bench.all_live)
    assert bench.store.delisted == {}
    assert bench.agrees("BUSDT")


def test_what_was_delisted_by_mistake_is_back_with_its_next_trades() -> None:
    bench = Bench([deep("AUSDT", 30), deep("BUSDT", 30)])
    bench.warm()
    bench.statuses = {"BUSDT": "SETTLING"}
    bench.dropped = lambda stream, frame: b"BUSDT" in frame  # neither a trade nor a mark of it comes
    ask_for_listings(bench)
    assert bench.run(140, until=lambda: "BUSDT" in bench.store.delisted)
    bench.dropped = lambda stream, frame: False
    assert bench.run(5, until=lambda: not bench.store.delisted)
    bench.statuses = {}
    assert bench.run(20, until=lambda: bench.agrees("BUSDT") and bench.all_live())


def test_an_event_brings_a_contract_back_at_once() -> None:
    bench = Bench([deep("AUSDT", 30), deep("BUSDT", 0)])
    bench.warm()
    bench.unlisted = {"BUSDT"}
    ask_for_listings(bench)
    assert bench.run(20, until=lambda: "BUSDT" in bench.store.delisted)
    bench.unlisted = set()
    bench.run(1)
    announce(bench, "BUSDT", "TRADING")
    assert bench.run(2, until=lambda: not bench.store.delisted)


def test_a_pending_contract_holds_up_no_other_and_goes_live_with_its_first_trade() -> None:
    bench = Bench([deep("AUSDT", 30), deep("NEWUSDT", 30)])
    bench.statuses = {"NEWUSDT": "PENDING_TRADING"}
    pending = True

    def refuses(fetch: object) -> AtsSyncError | None:
        return UNKNOWN if pending and getattr(fetch, "key").symbol == "NEWUSDT" else None  # noqa: B009

    bench.fails = refuses  # type: ignore[assignment]
    bench.dropped = lambda stream, frame: pending and b"NEWUSDT" in frame
    assert bench.run(20, until=lambda: bench.engine.missing(bench.at()) == [] and bool(bench.of(Kind.LISTINGS)))
    bench.run(60)
    assert bench.store.delisted == {}
    pending = False
    bench.statuses = {}
    announce(bench, "NEWUSDT", "TRADING")
    assert bench.run(10, until=bench.all_live), bench.lacking()
    assert bench.agrees("NEWUSDT")


def test_a_contract_that_trades_for_a_moment_between_two_halts_is_said_to_have_done_both() -> None:
    bench = Bench([deep("AUSDT", 5)])
    bench.warm()
    moments = []
    for status in ("TRADING_HALT", "TRADING", "TRADING_HALT"):
        moments.append(bench.exchange())
        announce(bench, "AUSDT", status)
        bench.now += 0.1
    found = Listings(bench.store).look(bench.at())
    assert found is not None
    assert found.trading == {"AUSDT": moments[1]}
    assert found.paused == {"AUSDT": moments[2]}
