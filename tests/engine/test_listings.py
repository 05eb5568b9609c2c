"""Which contracts are gone: what one answer says is weighed against everything that streams."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ats_sync.engine.listings import CONFIRM_AFTER
from ats_sync.errors import AtsSyncError, RequestRejected
from ats_sync.feeds import LISTINGS, Kind
from ats_sync.store.klines import KlineSeries
from ats_sync.venue.listings import Phase

from ..venue import samples
from ..venue.samples import MINUTE
from .bench import BEGAN, FIRST_TRADE, Bench, TinySymbol, deep, failing

UNKNOWN = RequestRejected("Invalid symbol.", status=400, code=-1121)


def ask(bench: Bench) -> None:
    """Have exchangeInfo asked for now."""
    bench.engine.reconciler.polls.again(LISTINGS, bench.at(), 0.0)


def tell(bench: Bench, symbol: str, status: str) -> None:
    """An event of ``!contractInfo``."""
    bench.deliver("!contractInfo", samples.contract_frame(symbol, status, event=bench.exchange()))


@pytest.mark.parametrize("status", ["TRADING_HALT", "TRADING_CANCEL_ONLY", "PRE_SETTLE", "A_STATUS_OF_NEXT_YEAR"])
def test_a_halted_contract_is_served_and_holds_nobody_up(status: str) -> None:
    bench = Bench([deep("AUSDT", 5), deep("HALTED", 0)])
    bench.statuses = {"HALTED": status}
    bench.warm()
    assert bench.engine.missing(bench.at()) == []
    bench.run(60)
    assert bench.store.delisted == {}
    assert bench.store.contract_status("HALTED") == status
    assert bench.agrees("HALTED")


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
            tell(bench, "AUSDT", status)
        else:
            ask(bench)
        bench.run(2)
    assert noted[0] == "paused"
    assert noted[-1] == "trading"


def test_one_answer_of_a_maintenance_window_buries_nothing() -> None:
    names = [f"{letter}USDT" for letter in "ABCDEF"]
    bench = Bench([deep(name, 30) for name in names])
    bench.warm()
    bench.statuses = dict.fromkeys(names, "CLOSE")
    ask(bench)
    bench.run(1)
    assert bench.store.phase("AUSDT") is Phase.GONE
    since = bench.seconds
    bench.statuses = {}
    assert not bench.run(30, until=lambda: bool(bench.store.delisted))
    assert all(bench.link_of(f"{name.lower()}@aggTrade") is not None for name in names)
    assert len(bench.of(Kind.LISTINGS, since=since)) >= 1, "doubt is asked again within seconds"
    assert bench.store.phase("AUSDT") is Phase.TRADING


def test_two_answers_at_once_bury_nothing_however_old_the_first_one_looks() -> None:
    """As where the exchange's time became known between them."""
    bench = Bench([deep(f"{letter}USDT", 0) for letter in "ABCDEF"], follow=False)
    bench.dropped = lambda stream, frame: stream == "!bookTicker"
    bench.statuses = {"AUSDT": "SETTLING"}
    bench.holds = lambda fetch: fetch.key == LISTINGS
    bench.follow(*bench.symbols)
    bench.run(3)
    (fetch,) = bench.held
    bench.receive(fetch, bench.answer(fetch, bench.exchange()), bench.exchange() - 900_000)
    bench.holds = lambda fetch: False
    ask(bench)
    bench.run(0.2)
    assert bench.store.phase("AUSDT") is Phase.GONE
    assert not bench.store.delisted
    assert bench.run(10, until=lambda: "AUSDT" in bench.store.delisted), "the next answers agree, and nothing happens"


def test_a_maintenance_is_known_by_the_whole_market_where_little_of_it_is_followed() -> None:
    names = [f"{letter}USDT" for letter in "ABCDEF"]
    bench = Bench([deep(name, 0) for name in names], follow=False)
    bench.follow("AUSDT", "BUSDT")
    bench.warm()
    bench.statuses = dict.fromkeys(names, "CLOSE")
    ask(bench)
    assert not bench.run(60, until=lambda: bool(bench.store.delisted))
    bench.statuses = {}
    bench.run(10)
    assert bench.store.phase("AUSDT") is Phase.TRADING


def test_what_trades_is_not_delisted_by_any_number_of_answers() -> None:
    bench = Bench([deep("AUSDT", 30), deep("BUSDT", 30)])
    bench.warm()
    bench.statuses = {"AUSDT": "SETTLING"}
    ask(bench)
    since = bench.seconds
    assert not bench.run(300, until=lambda: bool(bench.store.delisted))
    assert 4 <= len(bench.of(Kind.LISTINGS, since=since)) <= 12, "each time after a longer pause"


def test_a_quiet_contract_is_not_delisted_by_one_answer() -> None:
    bench = Bench([deep("AUSDT", 30), deep("QUIET", 0)])
    bench.warm()
    bench.statuses = {"QUIET": "SETTLING"}
    ask(bench)
    bench.run(1)
    bench.statuses = {}
    assert not bench.run(30, until=lambda: bool(bench.store.delisted))


def test_a_mark_that_moves_tells_that_a_quiet_contract_lives() -> None:
    bench = Bench([deep("AUSDT", 30), deep("QUIET", 0)])
    bench.warm()
    bench.statuses = {"QUIET": "SETTLING"}
    ask(bench)
    link = bench.link_of("!markPrice@arr@1s")
    assert link is not None
    bench.dropped = lambda stream, frame: stream.startswith("!markPrice")
    for step in range(20):
        frame = samples.marks_frame(["QUIET"], event=bench.exchange(), price=f"7.{6200 + step}")
        bench.store.marks.apply(frame, link)
        bench.run(1)
    assert bench.store.delisted == {}


@pytest.mark.parametrize("moves", [True, False])
def test_a_mark_tells_whether_a_contract_lives_that_was_said_to_be_gone_before_any_mark_came(moves: bool) -> None:
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


def test_a_contract_that_has_left_is_delisted_after_two_answers() -> None:
    bench = Bench([deep("AUSDT", 30), deep("GONE", 0)])
    bench.warm()
    bench.unlisted = {"GONE"}
    ask(bench)
    assert bench.run(CONFIRM_AFTER + 2, until=lambda: "GONE" in bench.store.delisted)
    assert set(bench.store.delisted) == {"GONE"}


def test_an_event_and_an_answer_that_agree_bury_at_once() -> None:
    bench = Bench([deep("AUSDT", 30), deep("GONE", 0)])
    bench.warm()
    bench.unlisted = {"GONE"}
    tell(bench, "GONE", "SETTLING")
    assert bench.run(2, until=lambda: "GONE" in bench.store.delisted)


def test_a_refused_request_and_an_answer_that_agree_bury_at_once() -> None:
    bench = Bench([deep("AUSDT", 30), deep("GONE", 0)])
    bench.warm()
    bench.unlisted = {"GONE"}
    (_, fetch), *_ = bench.of(Kind.KLINES, symbol="GONE")
    bench.engine.fetched(fetch, UNKNOWN, bench.at())
    assert bench.run(2, until=lambda: "GONE" in bench.store.delisted)


def test_one_refused_request_is_no_burial() -> None:
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
    bench.dropped = lambda stream, frame: b"BUSDT" in frame  # nothing is heard of it, nor any mark
    ask(bench)
    assert bench.run(140, until=lambda: "BUSDT" in bench.store.delisted)
    bench.dropped = lambda stream, frame: False
    assert bench.run(5, until=lambda: not bench.store.delisted)
    bench.statuses = {}
    assert bench.run(20, until=lambda: bench.agrees("BUSDT") and bench.all_live())


def test_an_event_brings_a_contract_back_at_once() -> None:
    bench = Bench([deep("AUSDT", 30), deep("BUSDT", 0)])
    bench.warm()
    bench.unlisted = {"BUSDT"}
    ask(bench)
    assert bench.run(20, until=lambda: "BUSDT" in bench.store.delisted)
    bench.unlisted = set()
    bench.run(1)
    tell(bench, "BUSDT", "TRADING")
    assert bench.run(2, until=lambda: not bench.store.delisted)


def test_a_pending_contract_holds_nobody_up_and_goes_live_with_its_first_trade() -> None:
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
    tell(bench, "NEWUSDT", "TRADING")
    assert bench.run(10, until=bench.all_live), bench.lacking()
    assert bench.agrees("NEWUSDT")


def relist(bench: Bench, name: str) -> TinySymbol:
    """Another contract with the name of one of the bench begins to trade now, with ids and candles of its own."""
    bench.run(60 - bench.exchange() % MINUTE / 1000 + 0.5)
    began = bench.exchange() - bench.exchange() % MINUTE
    young = TinySymbol(name, [7] * 20, first_trade=77, began=began)
    bench.replace(young)
    return young


def held_of_old(bench: Bench, name: str, young: TinySymbol) -> bool:
    """Whether anything that is held is older than the new contract."""
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
        tell(bench, "BUSDT", "SETTLING")
        bench.dropped = lambda stream, frame: b"BUSDT" in frame
        assert bench.run(10, until=lambda: "BUSDT" in bench.store.delisted)
        bench.unlisted, bench.dropped = set(), lambda stream, frame: False
    young = relist(bench, "BUSDT")
    if how != "an end and a beginning":
        bench.onboarded = {"BUSDT": bench.exchange()}
    if how == "only exchangeInfo":
        ask(bench)
    elif how == "another onboard date":
        frame = samples.contract_frame("BUSDT", "TRADING", event=bench.exchange(), onboarded=bench.exchange())
        bench.deliver("!contractInfo", frame)
    else:
        tell(bench, "BUSDT", "SETTLING")
        tell(bench, "BUSDT", "TRADING")
    assert bench.run(10, until=lambda: bench.agrees("BUSDT") and bench.all_live()), bench.lacking()
    assert not held_of_old(bench, "BUSDT", young)
    assert bench.store.trades("BUSDT").state(0).complete
    assert bench.store.open_interest("BUSDT", "1h").state(0).answered >= bench.store.renewed["BUSDT"]
    assert "AUSDT" not in bench.store.renewed


def test_what_was_answered_before_exchange_info_may_be_of_the_contract_that_had_the_name() -> None:
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


def test_where_exchange_info_cannot_be_had_the_trade_ids_tell_that_it_may_be_another_contract() -> None:
    """Its candles follow on those of the contract that had the name, and nobody has announced it."""
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


def test_what_was_requested_of_the_old_contract_is_not_merged_into_the_new_one() -> None:
    bench = Bench([deep("AUSDT", 30), deep("BUSDT", 30)])
    bench.warm()
    asked = bench.exchange()
    (_, fetch), *_ = bench.of(Kind.KLINES, symbol="BUSDT")
    old = bench.answer(fetch, asked)
    young = relist(bench, "BUSDT")
    tell(bench, "BUSDT", "SETTLING")
    tell(bench, "BUSDT", "TRADING")
    bench.run(1)
    bench.receive(fetch, old, asked)
    assert bench.run(10, until=lambda: bench.agrees("BUSDT") and bench.all_live()), bench.lacking()
    assert not held_of_old(bench, "BUSDT", young)


def test_what_a_replica_that_lags_said_of_it_is_forgotten_as_soon_as_every_replica_knows_it() -> None:
    """It was requested of the new contract, and had the candles and trades of the old one for minutes."""
    bench = Bench([deep("AUSDT", 30), deep("BUSDT", 30)])
    bench.warm()
    fetches = [bench.of(kind, symbol="BUSDT")[0][1] for kind in (Kind.KLINES, Kind.TRADES)]
    old = [bench.answer(fetch, bench.exchange()) for fetch in fetches]
    young = relist(bench, "BUSDT")
    tell(bench, "BUSDT", "SETTLING")
    tell(bench, "BUSDT", "TRADING")
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
    ask(bench)
    bench.run(0.5)
    [fetch] = bench.held
    before = bench.answer(fetch, bench.exchange())
    tell(bench, "BUSDT", "TRADING")
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
