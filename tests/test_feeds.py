from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import pytest

from ats_sync.feeds import (
    ACTIVITY,
    CLOCK,
    FEEDS,
    LISTINGS,
    PRIORITY,
    RATIOS,
    SHARED,
    TICKERS,
    Cause,
    Feed,
    Key,
    Kind,
    Poll,
    Scope,
    Stream,
    route_of,
    stream_of,
)
from ats_sync.simulator.names import delivers
from ats_sync.venue import endpoints
from ats_sync.venue.endpoints import Host, Route

SYMBOL, CHINESE = "BTCUSDT", "币安人生USDT"
POLLED = [(kind, feed.poll) for kind, feed in FEEDS.items() if feed.poll is not None]
STREAM = Stream(name=lambda key: "x", route=Route.MARKET, timeout=3.0, max_age=5.0)
POLL = Poll(every=240.0, max_age=300.0, beside_stream=False)


def feed(**policy: Any) -> Feed:
    return Feed(kind=Kind.MARK, **({"scope": Scope.SYMBOL} | policy))


# --- names --------------------------------------------------------------------------------------------


def test_a_key_reads_as_its_parts_without_those_that_are_empty() -> None:
    assert str(Key(Kind.KLINES, SYMBOL, "1h")) == "BTCUSDT klines 1h"
    assert str(Key(Kind.BOOK, SYMBOL)) == "BTCUSDT orderbook"
    assert str(Key(Kind.MARK)) == "mark"


def test_a_kind_is_found_under_its_name_as_under_itself() -> None:
    assert {kind: hash(kind) for kind in Kind} == {kind.value: hash(kind.value) for kind in Kind}
    assert Kind("orderbook") is Kind.BOOK
    with pytest.raises(ValueError, match="nothing"):
        Kind("nothing")


def test_every_cause_has_a_priority_of_its_own_and_a_reader_waits_only_for_probes() -> None:
    assert PRIORITY.keys() == set(Cause)
    assert len(set(PRIORITY.values())) == len(Cause)
    assert sorted(Cause, key=PRIORITY.__getitem__)[:2] == [Cause.PROBE, Cause.READ]
    assert max(Cause, key=PRIORITY.__getitem__) is Cause.AUDIT


@pytest.mark.parametrize(
    ("key", "stream", "route"),
    [
        (Key(Kind.KLINES, CHINESE, "1h"), "币安人生usdt@kline_1h", Route.MARKET),
        (Key(Kind.SPOT_KLINES, SYMBOL, "1h"), "spot/btcusdt@kline_1h", Route.SPOT),
        (Key(Kind.TRADES, SYMBOL), "btcusdt@aggTrade", Route.MARKET),
        (Key(Kind.BOOK, SYMBOL), "btcusdt@depth20@100ms", Route.PUBLIC),
        (Key(Kind.DEPTH, SYMBOL), "btcusdt@depth@100ms", Route.PUBLIC),
        (Key(Kind.MARK), "!markPrice@arr@1s", Route.MARKET),
        (Key(Kind.LIQUIDATIONS), "!forceOrder@arr", Route.MARKET),
        (Key(Kind.TICKERS), "!ticker@arr", Route.MARKET),
        (Key(Kind.QUOTES), "!bookTicker", Route.PUBLIC),
        (Key(Kind.CONTRACTS), "!contractInfo", Route.MARKET),
        (Key(Kind.OPEN_INTEREST, SYMBOL, "1h"), None, Route.MARKET),
        *((Key(kind, SYMBOL, "1h"), None, Route.MARKET) for kind in RATIOS),
        (Key(Kind.SPOT), None, Route.MARKET),
        (Key(Kind.CLOCK), None, Route.MARKET),
        (Key(Kind.LISTINGS), None, Route.MARKET),
    ],
)
def test_every_kind_has_its_stream_and_its_route(key: Key, stream: str | None, route: Route) -> None:
    assert stream_of(key) == stream
    assert route_of(key) is route


@pytest.mark.parametrize("kind", [kind for kind, feed in FEEDS.items() if feed.stream is not None])
def test_the_exchange_delivers_every_stream_on_its_route_and_on_no_other(kind: Kind) -> None:
    """On a wrong route a subscription is accepted and stays silent for ever."""
    key = Key(kind, SYMBOL, "1h")
    stream = (stream_of(key) or "").removeprefix("spot/")
    assert delivers(route_of(key).value, stream)
    futures = [route for route in Route if route is not Route.SPOT and delivers(route.value, stream)]
    assert [route_of(key)] == ([Route.SPOT] if FEEDS[kind].spot else futures)


# --- the table ----------------------------------------------------------------------------------------


def test_every_kind_that_is_followed_has_its_policy() -> None:
    assert set(FEEDS) == set(Kind) - {Kind.ANSWER}
    for kind, policy in FEEDS.items():
        assert policy.kind is kind
        assert policy.stream is not None or policy.poll is not None
        assert policy.own_stream == (policy.stream_timeout > 0 and not policy.shared), "or it never counts as dead"
    every = {kind: poll.every for kind, poll in POLLED}
    assert (every[Kind.OPEN_INTEREST], every[Kind.SPOT], every[Kind.MARK]) == (240, 48, 0.8 * 3600)


@pytest.mark.parametrize(("kind", "poll"), POLLED, ids=lambda each: getattr(each, "value", None))
def test_a_value_is_polled_again_before_it_is_too_old_and_kept_for_longer(kind: Kind, poll: Poll) -> None:
    if poll.max_age is not None:
        assert poll.every < poll.max_age, "or every poll would come too late"
        assert poll.retention == 0.0 or poll.retention > poll.max_age


def test_what_is_followed_once_for_all_symbols_is_every_kind_of_that_scope() -> None:
    assert Counter([*SHARED, *ACTIVITY]) == Counter(Key(kind) for kind, feed in FEEDS.items() if feed.shared)
    assert all(stream_of(key) is not None for key in ACTIVITY), "without streams none of it is followed"
    assert CLOCK in SHARED
    assert LISTINGS in SHARED
    assert TICKERS in ACTIVITY


def test_one_kind_is_the_clock_one_lists_contracts_and_one_announces_them() -> None:
    for duty, kind in (
        ("sets_clock", Kind.CLOCK),
        ("lists_contracts", Kind.LISTINGS),
        ("announces_contracts", Kind.CONTRACTS),
        ("shows_contracts", Kind.TICKERS),
    ):
        assert [each for each, feed in FEEDS.items() if getattr(feed, duty)] == [kind]


def test_the_clock_and_the_listings_are_requested_before_everything_else() -> None:
    """Without them no answer can be dated, and nothing that was kept can be loaded."""
    first = min(PRIORITY.values())
    for key in (CLOCK, LISTINGS):
        poll = FEEDS[key.kind].poll
        assert poll is not None
        assert (PRIORITY[poll.cause], FEEDS[key.kind].warm_up_order) == (first, 0)


def test_only_candles_close_and_those_of_spot_pairs_notify_nobody() -> None:
    assert {kind for kind, feed in FEEDS.items() if feed.closes} == {Kind.KLINES, Kind.SPOT_KLINES}
    assert [kind for kind, feed in FEEDS.items() if feed.notifies] == [Kind.KLINES]
    assert [kind for kind, feed in FEEDS.items() if feed.derivable] == [Kind.KLINES]


def test_what_belongs_to_the_spot_pair_is_requested_of_its_host() -> None:
    assert {kind for kind, feed in FEEDS.items() if feed.host is Host.SPOT} == {Kind.SPOT, Kind.SPOT_KLINES}
    assert FEEDS[Kind.KLINES].host is Host.FUTURES


def test_a_ratio_bears_the_name_of_its_path_and_shares_its_limit_with_open_interest() -> None:
    for kind in RATIOS:
        assert endpoints.ratio(kind.value, SYMBOL, "1h", 30).path == f"/futures/data/{kind.value}"
    assert {kind for kind, feed in FEEDS.items() if feed.shares_limit} == {Kind.OPEN_INTEREST, *RATIOS}


@pytest.mark.parametrize(
    ("key", "pulled"),
    [
        (Key(Kind.KLINES, SYMBOL, "1h"), [Key(Kind.KLINES, SYMBOL, "1h")]),
        (Key(Kind.TICKERS, SYMBOL), [TICKERS, Key(Kind.TICKERS, SYMBOL)]),
        (TICKERS, [TICKERS]),
        (Key(Kind.QUOTES, SYMBOL), [Key(Kind.QUOTES, SYMBOL), Key(Kind.BOOK, SYMBOL)]),
        (Key(Kind.LISTINGS, SYMBOL), [LISTINGS]),
    ],
)
def test_another_process_pulls_what_a_read_looks_at(key: Key, pulled: list[Key]) -> None:
    assert list(FEEDS[key.kind].pulled(key)) == pulled


# --- a policy -----------------------------------------------------------------------------------------


def test_a_policy_never_changes() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        FEEDS[Kind.MARK].notifies = True  # type: ignore[misc]


def test_a_series_has_its_own_stream_unless_one_serves_all() -> None:
    assert feed(stream=STREAM).own_stream
    assert not feed(stream=STREAM, scope=Scope.EVERYTHING).own_stream
    assert not feed(poll=POLL).own_stream
    assert (feed(stream=STREAM).stream_timeout, feed(poll=POLL).stream_timeout) == (3.0, 0.0)
    without = dataclasses.replace(STREAM, timeout=None)
    assert feed(stream=without).stream_timeout == 0.0


def test_no_request_serves_what_comes_for_all_by_stream_alone() -> None:
    assert feed(stream=STREAM, scope=Scope.EVERYTHING).stream_only
    assert not feed(stream=STREAM, poll=POLL, scope=Scope.EVERYTHING).stream_only
    assert not feed(stream=STREAM).stream_only, "the series of one symbol is requested when it is read"


def test_some_polls_stop_while_streams_are_enabled() -> None:
    instead, beside = feed(stream=STREAM, poll=POLL), feed(poll=dataclasses.replace(POLL, beside_stream=True))
    assert [instead.polled(streams=streams) for streams in (True, False)] == [False, True]
    assert [beside.polled(streams=streams) for streams in (True, False)] == [True, True]
    assert [feed(stream=STREAM).polled(streams=streams) for streams in (True, False)] == [False, False]


@pytest.mark.parametrize(
    ("policy", "streams", "by_event", "max_age"),
    [
        ({"stream": STREAM, "poll": POLL}, True, True, 5.0),
        ({"stream": STREAM, "poll": POLL}, False, False, 300.0),
        ({"stream": STREAM}, True, True, 5.0),
        ({"stream": STREAM}, False, True, 5.0),
        ({"poll": POLL}, True, False, 300.0),
        ({"poll": POLL}, False, False, 300.0),
        ({"stream": dataclasses.replace(STREAM, max_age=None), "poll": POLL}, True, True, None),
        ({"stream": STREAM, "poll": Poll(every=1.0)}, False, False, None),
    ],
)
def test_a_value_is_as_old_as_its_event_where_a_stream_brings_it_and_as_its_answer_where_a_poll_does(
    policy: dict[str, Any], streams: bool, by_event: bool, max_age: float | None
) -> None:
    made = feed(**policy)
    assert made.ages_by_event(streams=streams) is by_event
    assert made.max_age(streams=streams) == max_age
