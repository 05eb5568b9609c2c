"""What follows from contracts that are listed, delisted or halted, or that have the name of another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ats_sync.engine.jobs import Fetch
from ats_sync.errors import RequestRejected
from ats_sync.feeds import Cause, Key, Kind
from ats_sync.store.klines import KlineSeries
from ats_sync.venue import endpoints
from ats_sync.venue.endpoints import Request

from ..venue import samples
from ..venue.samples import MINUTE
from .bench import BEGAN, FIRST_TRADE, Bench, TinySymbol, announce, ask_for_listings, deep

UNKNOWN = RequestRejected("Invalid symbol.", status=400, code=-1121)


def test_a_symbol_that_is_delisted_costs_nothing_more_and_harms_no_other() -> None:
    bench = Bench([deep("AUSDT", 20), deep("GONE", 20)])
    bench.warm()
    bench.unlisted = {"GONE"}
    bench.dropped = lambda stream, frame: b'"GONE"' in frame
    bench.fails = lambda fetch: RequestRejected("x", status=400, code=-1121) if fetch.key.symbol == "GONE" else None
    assert bench.run(180, until=lambda: "GONE" in bench.store.delisted), "it was not noticed in three minutes"
    bench.run(1)
    assert not [name for held in bench.subscribed.values() for name in held if name.startswith("gone@")]
    gone = bench.seconds
    bench.run(400)
    assert not [fetch for when, fetch in bench.asked if fetch.key.symbol == "GONE" and when > gone]
    assert bench.agrees()
    assert not bench.engine.missing(bench.at())


def test_a_relisted_symbol_is_followed_again_and_its_old_data_is_never_passed_off_as_fresh() -> None:
    bench = Bench([deep("AUSDT", 20, minutes=30), deep("BACK", 20, minutes=30)])
    bench.warm()
    bench.unlisted = {"BACK"}
    bench.dropped = lambda stream, frame: b'"BACK"' in frame
    assert bench.run(200, until=lambda: "BACK" in bench.store.delisted)
    bench.run(300)
    for series in (bench.store.book("BACK").state(0), bench.series("BACK").state(bench.exchange())):
        assert series.link is None or not series.link.up, "nothing keeps it fresh any more"
    bench.unlisted.clear()
    bench.dropped = lambda stream, frame: False
    ask_for_listings(bench)
    bench.run(1)
    assert not bench.store.delisted
    assert bench.run(30, until=bench.all_live)
    bench.run(70)
    assert bench.agrees("BACK")


@pytest.mark.parametrize("by", ["events", "answers"])
def test_candles_know_when_their_contract_did_not_trade(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[str] = []
    monkeypatch.setattr(KlineSeries, "note_paused", lambda self, since: noted.append("paused"))
    monkeypatch.setattr(KlineSeries, "note_trading", lambda self, since: noted.append("trading"))
    bench = Bench([deep("AUSDT", 30)])
    bench.warm()
    noted.clear()
    for status in ("TRADING_HALT", "TRADING"):
        bench.statuses = {"AUSDT": status}
        if by == "events":
            announce(bench, "AUSDT", status)
        else:
            ask_for_listings(bench)
        bench.run(2)
    assert noted[0] == "paused"
    assert noted[-1] == "trading"


def relist(bench: Bench, name: str) -> TinySymbol:
    """Let another contract with the name of one of the bench begin to trade now, with ids and candles of its own."""
    bench.run(60 - bench.exchange() % MINUTE / 1000 + 0.5)
    began = bench.exchange() - bench.exchange() % MINUTE
    young = TinySymbol(name, [7] * 20, first_trade=77, began=began)
    bench.replace(young)
    return young


def held_of_old(bench: Bench, name: str, young: TinySymbol) -> bool:
    """Return whether anything that is kept is older than the new contract."""
    series = bench.store.klines(name, "1m")
    rows = series.rows(100, None, exact=True)
    trades = bench.store.trades(name).read(100)
    interest = bench.store.open_interest(name, "1h")
    return (
        any(row[0] < young.truth.opens[0] for row in rows)
        or any(trade.id >= FIRST_TRADE for trade in trades)
        or 0 < interest.state(0).answered < young.truth.opens[0]
    )


@pytest.mark.parametrize("how", ["an end and a beginning", "another onboard date", "only exchangeInfo", "delisted"])
def test_a_contract_that_is_listed_under_the_name_of_another_begins_again(how: str) -> None:
    bench = Bench([deep("AUSDT", 30), deep("BUSDT", 30)])
    bench.onboarded = {"BUSDT": BEGAN}
    bench.warm()
    if how == "delisted":
        bench.unlisted = {"BUSDT"}
        announce(bench, "BUSDT", "SETTLING")
        bench.dropped = lambda stream, frame: b"BUSDT" in frame
        assert bench.run(10, until=lambda: "BUSDT" in bench.store.delisted)
        bench.unlisted, bench.dropped = set(), lambda stream, frame: False
    young = relist(bench, "BUSDT")
    if how != "an end and a beginning":
        bench.onboarded = {"BUSDT": bench.exchange()}
    if how == "only exchangeInfo":
        ask_for_listings(bench)
    elif how == "another onboard date":
        frame = samples.contract_frame("BUSDT", "TRADING", event=bench.exchange(), onboarded=bench.exchange())
        bench.deliver("!contractInfo", frame)
    else:
        announce(bench, "BUSDT", "SETTLING")
        announce(bench, "BUSDT", "TRADING")
    assert bench.run(10, until=lambda: bench.agrees("BUSDT") and bench.all_live()), bench.lacking()
    assert not held_of_old(bench, "BUSDT", young)
    assert bench.store.trades("BUSDT").state(0).complete
    assert bench.store.open_interest("BUSDT", "1h").state(0).answered >= bench.store.renewed["BUSDT"]
    assert "AUSDT" not in bench.store.renewed


def test_what_was_answered_before_exchange_info_may_belong_to_the_contract_that_had_the_name() -> None:
    bench = Bench([deep("AUSDT", 30), deep("BUSDT", 30)])
    bench.holds = lambda fetch: fetch.key.kind is Kind.LISTINGS
    assert bench.run(10, until=lambda: bench.store.open_interest("BUSDT", "1h").state(0).answered > 0)
    young = relist(bench, "BUSDT")
    bench.onboarded = {"AUSDT": BEGAN, "BUSDT": bench.exchange()}
    [fetch] = bench.held
    bench.holds = lambda fetch: False
    bench.receive(fetch, bench.answer(fetch, bench.exchange()), bench.exchange())
    assert bench.run(10, until=lambda: bench.agrees("BUSDT") and bench.all_live()), bench.lacking()
    assert not held_of_old(bench, "BUSDT", young)
    assert bench.store.open_interest("BUSDT", "1h").state(0).answered >= bench.store.renewed["BUSDT"]
    assert "AUSDT" not in bench.store.renewed


def test_without_exchange_info_the_trade_ids_show_that_it_may_be_another_contract() -> None:
    """Its candles continue those of the contract that had the name, and nobody has announced it."""
    bench = Bench([deep("AUSDT", 30), deep("BUSDT", 30)])
    bench.warm()
    bench.holds = lambda fetch: fetch.key.kind is Kind.LISTINGS
    young = relist(bench, "BUSDT")
    series = bench.store.klines("BUSDT", "1m")
    assert bench.run(8, until=lambda: bench.store.trades("BUSDT").last_heard()[0] < FIRST_TRADE)
    assert bench.run(2, until=lambda: "ids" in series.state(bench.exchange()).doubt)
    assert "ids" not in bench.store.klines("AUSDT", "1m").state(bench.exchange()).doubt
    since = bench.seconds
    assert bench.run(30, until=lambda: not series.state(bench.exchange()).doubt)
    assert bench.run(5, until=lambda: bench.agrees("BUSDT") and bench.all_live()), bench.lacking()
    assert series.rows(100, None, exact=True)[0][0] == young.truth.opens[0]
    assert len(bench.of(Kind.KLINES, symbol="BUSDT", since=since)) <= 4


def test_where_the_listings_show_the_same_contract_its_candles_are_read_from_memory_at_once() -> None:
    bench = Bench([deep("AUSDT", 30), deep("BUSDT", 30)])
    bench.warm()
    relist(bench, "BUSDT")
    series = bench.store.klines("BUSDT", "1m")
    assert bench.run(8, until=lambda: bench.store.trades("BUSDT").last_heard()[0] < FIRST_TRADE)
    since = bench.seconds
    assert bench.run(2, until=lambda: "ids" in series.state(bench.exchange()).doubt)
    assert bench.run(2, until=lambda: "ids" not in series.state(bench.exchange()).doubt)
    bench.run(12)
    whole = [fetch for _, fetch in bench.of(Kind.KLINES, symbol="BUSDT", since=since) if fetch.request.rows > 100]
    assert 1 <= len(whole) <= 2
    assert series.unsettled(bench.exchange()) == ""


def test_what_was_requested_for_the_old_contract_is_not_merged_into_the_new_one() -> None:
    bench = Bench([deep("AUSDT", 30), deep("BUSDT", 30)])
    bench.warm()
    asked = bench.exchange()
    (_, fetch), *_ = bench.of(Kind.KLINES, symbol="BUSDT")
    old = bench.answer(fetch, asked)
    young = relist(bench, "BUSDT")
    announce(bench, "BUSDT", "SETTLING")
    announce(bench, "BUSDT", "TRADING")
    bench.run(1)
    bench.receive(fetch, old, asked)
    assert bench.run(10, until=lambda: bench.agrees("BUSDT") and bench.all_live()), bench.lacking()
    assert not held_of_old(bench, "BUSDT", young)


def test_what_a_lagging_replica_said_of_the_new_contract_is_forgotten_once_every_replica_knows_it() -> None:
    """It was requested for the new contract, and contained candles and trades of the old one for minutes."""
    bench = Bench([deep("AUSDT", 30), deep("BUSDT", 30)])
    bench.warm()
    fetches = [bench.of(kind, symbol="BUSDT")[0][1] for kind in (Kind.KLINES, Kind.TRADES)]
    old = [bench.answer(fetch, bench.exchange()) for fetch in fetches]
    young = relist(bench, "BUSDT")
    announce(bench, "BUSDT", "SETTLING")
    announce(bench, "BUSDT", "TRADING")
    bench.run(9)
    for fetch, body in zip(fetches, old, strict=True):
        state = bench.engine.reconciler.states[fetch.key]
        bench.receive(replace(fetch, link=state.link, epoch=state.epoch), body, bench.exchange())
    assert held_of_old(bench, "BUSDT", young)
    assert bench.run(5, until=lambda: not held_of_old(bench, "BUSDT", young))
    assert bench.run(5, until=lambda: bench.agrees("BUSDT") and bench.all_live()), bench.lacking()
    assert not held_of_old(bench, "BUSDT", young)


def test_listings_that_were_requested_before_an_event_are_requested_again_after_it() -> None:
    bench = Bench([deep("AUSDT", 30), deep("BUSDT", 30)])
    bench.warm()
    bench.holds = lambda fetch: fetch.key.kind is Kind.LISTINGS
    ask_for_listings(bench)
    bench.run(0.5)
    [fetch] = bench.held
    before = bench.answer(fetch, bench.exchange())
    announce(bench, "BUSDT", "TRADING")
    bench.run(3)
    assert bench.held == [fetch], "one at a time"
    bench.receive(fetch, before, bench.exchange() - 3_500)
    bench.run(0.5)
    assert len(bench.held) == 2
    bench.receive(bench.held[1], before, bench.exchange())
    bench.run(60)
    assert len(bench.held) == 2


def test_listings_are_requested_again_where_events_may_have_been_missed() -> None:
    bench = Bench([deep("AUSDT", 30)])
    bench.warm()
    since = bench.seconds
    bench.cut_route()
    assert bench.run(20, until=bench.all_live)
    bench.run(2)
    assert len(bench.of(Kind.LISTINGS, since=since)) == 1


@pytest.mark.parametrize(
    ("key", "sent", "asked"),
    [
        (Key(Kind.KLINES, "AUSDT", "1m"), endpoints.klines("AUSDT", "1m", 5), True),
        (Key(Kind.ANSWER, "AUSDT"), endpoints.funding_rate("AUSDT", 5), True),
        (Key(Kind.SPOT, "AUSDT"), endpoints.spot_price("AUSDT"), False),
    ],
)
def test_a_symbol_refused_by_the_futures_host_is_a_reason_to_request_the_listings(
    key: Key, sent: Request[Any], asked: bool
) -> None:
    """This holds also where the answer would have belonged to no series."""
    bench = Bench([deep("AUSDT", 30)])
    bench.warm()
    since = bench.seconds
    bench.engine.fetched(Fetch(key, sent, Cause.READ), UNKNOWN, bench.at())
    bench.run(3)
    assert bool(bench.of(Kind.LISTINGS, since=since)) is asked
    assert bench.store.delisted == {}
