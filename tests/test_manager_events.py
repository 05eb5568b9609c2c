"""Events of a manager on the simulated exchange, over real sockets, across a cut exactly at the turn."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest

from ats_sync import (
    CandleEvent,
    DataManager,
    InvalidArgument,
    InvalidInterval,
    InvalidSymbol,
    NotRunning,
    Overall,
    Turn,
)
from ats_sync.simulator import SimulatedExchange, before_turn

from .support import requests_by_cause, until, until_moment

INTERVAL = "1m"


def test_each_candle_comes_once_through_a_cut_at_the_turn() -> None:
    with SimulatedExchange(symbols=8, seed=3, start=before_turn(INTERVAL, seconds=8)) as ex:
        config = ex.config(reconnect_min=0.2, reconnect_max=1.0)
        dm = DataManager(ex.symbols, [INTERVAL], config=config)
        called: list[Any] = []
        states: list[tuple[Any, ...]] = []
        dm.on_closed(called.append)
        dm.on_state(lambda *change: states.append(change))
        with dm:
            turn_at = dm.get_klines(ex.symbols[0], INTERVAL, limit=1)[0][0] + 60_000
            candles = dm.closed(ex.symbols, [INTERVAL], since=turn_at - 180_000)
            turns = dm.turns(INTERVAL, grace=20.0)
            got: list[Any] = []
            reader = threading.Thread(target=lambda: got.extend(candles))
            reader.start()
            until_moment(ex, turn_at - 50)
            ex.cut(how="reset")
            turn = next(turns)
            assert isinstance(turn, Turn)
            assert (set(turn.closed), turn.late) == (set(ex.symbols), ())
            until(lambda: sum(isinstance(each, CandleEvent) and each.final_at is not None for each in got) >= 8)
            until(lambda: len(called) >= 8)
        reader.join(10.0)
        assert not reader.is_alive(), "close() of the manager ends every iterator"
        for symbol in ex.symbols:
            truth = ex.rest("/fapi/v1/klines", symbol=symbol, interval=INTERVAL, startTime=turn_at - 180_000, limit=3)
            events = [each for each in got if each.symbol == symbol]
            assert [json.loads(each.text) for each in events] == truth
            assert turn.closed[symbol] == events[-1].row
        assert sorted(each.symbol for each in called) == sorted(ex.symbols)
        assert {each.open_time for each in called} == {turn.open_time}
        assert (states[0][:2], states[-1][1]) == ((Overall.STOPPED, Overall.STARTING), Overall.STOPPED)
        assert [old for old, *_ in states[1:]] == [new for _, new, *_ in states[:-1]]
        with pytest.raises(NotRunning):
            dm.turns(INTERVAL)


def test_derived_candles_close_with_the_only_stream() -> None:
    intervals = ["1m", "3m", "15m", "1h"]
    with SimulatedExchange(symbols=3, seed=3, start=before_turn("1h", seconds=8)) as ex:
        symbol, opened = ex.symbols[0], ex.now() // 3_600_000 * 3_600_000
        with DataManager(ex.symbols, intervals, config=ex.config(derive_intervals=True)) as dm:
            turns = dm.turns("1h", grace=20.0)
            row = dm.wait_closed(symbol, "15m", after=opened + 30 * 60_000, timeout=40.0)
            turn = next(turns)
            assert isinstance(turn, Turn)
            assert (set(turn.closed), turn.open_time, turn.late) == (set(ex.symbols), opened, ())
            derivations = {feed.interval: feed.derivation for feed in dm.status().feeds if feed.kind == "klines"}
            sources = {"3m": "derived from 1m", "15m": "derived from 3m", "1h": "derived from 15m"}
            assert derivations == {"1m": "", **sources}
            truth = ex.rest("/fapi/v1/klines", symbol=symbol, interval="15m", startTime=opened, limit=4)
            assert row == [float(each) if isinstance(each, str) else each for each in truth[3]]
            klines = sum(each.streams for each in dm.status().connections if each.route == "market")
            assert klines == 3 + 3 + 4
            assert requests_by_cause(dm)["read"] == 0


def test_a_turn_causes_no_request_a_listing_is_announced_and_bad_input_is_refused() -> None:
    with (
        SimulatedExchange(symbols=4, seed=5, start=before_turn(INTERVAL, seconds=9)) as ex,
        DataManager(ex.symbols, [INTERVAL], config=ex.config()) as dm,
    ):
        listed: list[Any] = []
        delisted: list[Any] = []
        dm.on_listed(listed.append)
        dm.on_delisted(delisted.append)
        gone = dm.symbols[3]
        wrong: list[Any] = [
            (lambda: dm.turns("7m"), InvalidInterval),
            (lambda: dm.turns("4h"), InvalidInterval),
            (lambda: dm.turns(INTERVAL, grace=-1.0), InvalidArgument),
            (lambda: dm.turns(INTERVAL, grace=float("nan")), InvalidArgument),
            (lambda: dm.closed(["NOSUCHUSDT"], [INTERVAL]), InvalidSymbol),
            (lambda: dm.closed(ex.symbols, ["1h"]), InvalidSymbol),
            (lambda: dm.closed(ex.symbols, []), InvalidArgument),
            (lambda: dm.closed(ex.symbols, since=1_795_219_200), InvalidArgument),
            (lambda: dm.closed(ex.symbols, provisional=-0.1), InvalidArgument),
            (lambda: dm.on_closed("print"), InvalidArgument),  # type: ignore[arg-type]
            (lambda: dm.on_state(None), InvalidArgument),  # type: ignore[arg-type]
            (lambda: dm.on_listed(3), InvalidArgument),  # type: ignore[arg-type]
        ]
        for call, error in wrong:
            with pytest.raises(error):
                call()

        until(lambda: dm.status().state is Overall.LIVE)
        ex.list_symbol("SIM1USDT")
        ex.delist(gone)
        until(lambda: listed and delisted)
        assert ([each.symbol for each in listed], [each.symbol for each in delisted]) == (["SIM1USDT"], [gone])

        async def first() -> Any:
            async for turn in dm.turns(INTERVAL, grace=20.0):
                return turn

        before = requests_by_cause(dm)["read"]
        turn = asyncio.run(first())
        assert (set(turn.closed), turn.late) == (set(dm.symbols) - {gone}, ())
        assert requests_by_cause(dm)["read"] == before
