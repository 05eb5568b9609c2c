"""The old ``binance_safe`` module, on recorded answers."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from typing import Any

import pytest
import requests
from responses import CallbackResponse

from ats_sync import Config, get_data_manager
from compat import binance, binance_safe

from .conftest import Recorded

INTEREST = "https://fapi.binance.com/futures/data/openInterestHist"


def row_of(symbol: str) -> dict[str, Any]:
    return {"symbol": symbol, "sumOpenInterest": "1.5", "sumOpenInterestValue": "3.0", "timestamp": 1760004000000}


def test_the_same_functions_as_in_binance() -> None:
    for name in ("get_klines", "get_open_interest_hist", "get_funding_hist", "get_ticker_24h"):
        assert getattr(binance_safe, name) is getattr(binance, name)


class TestBatch:
    def test_each_symbol_has_its_rows_and_a_failure_none(
        self, recorded: Recorded, caplog: pytest.LogCaptureFixture
    ) -> None:
        def answer(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
            symbol = request.params["symbol"]  # type: ignore[attr-defined]
            if symbol == "BADUSDT":
                return 400, {}, json.dumps({"code": -1121, "msg": "Invalid symbol."})
            return 200, {}, json.dumps([row_of(symbol)])

        recorded.mock.add(CallbackResponse("GET", INTEREST, answer))
        symbols = [f"X{number}USDT" for number in range(30)]
        asked = [*symbols[:7], "badusdt", "BTC/USDT", None, *symbols[7:], symbols[0]]
        with caplog.at_level(logging.WARNING, "compat.binance_safe"):
            found = asyncio.run(binance_safe.batch_get_open_interest_hist(asked, "4h", "7"))  # type: ignore[arg-type]
        assert list(found) == asked[:-1]
        for symbol in symbols:
            assert found[symbol] == [row_of(symbol)]
        assert [found[symbol] for symbol in ("badusdt", "BTC/USDT", None)] == [[], [], []]  # type: ignore[index]
        assert "badusdt" in caplog.text
        assert "-1121" in caplog.text
        sent = [params for _, params in recorded.sent()]
        assert sorted(params.pop("symbol") for params in sent) == sorted(["BADUSDT", *symbols])
        assert all(params == {"period": "4h", "limit": "7"} for params in sent)

    def test_no_more_than_a_batch_at_once_and_the_loop_goes_on(self, recorded: Recorded) -> None:
        lock = threading.Lock()
        at_once = most = 0
        looped = threading.Event()

        def answer(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
            nonlocal at_once, most
            with lock:
                at_once += 1
                most = max(most, at_once)
            # Answered only once the loop has run.
            assert looped.wait(20)
            with lock:
                at_once -= 1
            return 200, {}, "[]"

        recorded.mock.add(CallbackResponse("GET", INTEREST, answer))

        async def scan() -> dict[str, list[Any]]:
            asyncio.get_running_loop().call_later(0.05, looped.set)
            symbols = [f"X{number}USDT" for number in range(12)]
            return await binance_safe.batch_get_open_interest_hist(symbols, batch_size=3)

        assert len(asyncio.run(scan())) == 12
        assert 1 <= most <= 3
        assert [name for name in recorded.started if "open-interest" in name]

    def test_no_symbols(self, recorded: Recorded) -> None:
        assert asyncio.run(binance_safe.batch_get_open_interest_hist([])) == {}
        assert recorded.sent() == []

    def test_cancelling_does_not_wait_for_answers(self, recorded: Recorded) -> None:
        under_way, release = threading.Event(), threading.Event()

        def answer(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
            under_way.set()
            assert release.wait(20)
            return 200, {}, "[]"

        recorded.mock.add(CallbackResponse("GET", INTEREST, answer))

        async def scan() -> str:
            batch = asyncio.ensure_future(binance_safe.batch_get_open_interest_hist(["A", "B", "C"], batch_size=1))
            await asyncio.to_thread(under_way.wait, 20)
            batch.cancel()
            try:
                await batch
            except asyncio.CancelledError:
                return "cancelled before the answer" if not release.is_set() else "too late"
            finally:
                release.set()
            return "not cancelled"

        assert asyncio.run(scan()) == "cancelled before the answer"
        for thread in threading.enumerate():
            if thread.name.startswith("open-interest"):
                thread.join(20)
        assert len(recorded.sent()) == 1


def test_the_budget_is_reported_while_no_manager_runs(recorded: Recorded) -> None:
    share = Config().weight_share
    limit = int(2400 * share)
    idle = {"requests": 0, "weight": 0, "requests_limit": limit, "weight_limit": limit}
    assert binance_safe.get_rate_limiter_status() == idle
    recorded.answer("compat/klines")
    binance_safe.get_klines("BTCUSDT", "1h", 1500)
    status = binance_safe.get_rate_limiter_status()
    # The recorded answer says that 9 of the minute are used, fewer than the 10 of this request.
    assert status == {**idle, "requests": 1, "weight": 10}
    assert not get_data_manager().running
