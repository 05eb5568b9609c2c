"""The probe confirms every fact on the simulated exchange, and names one that has changed."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import socket
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ats_sync.cli import probe
from ats_sync.cli.exits import CommandFailed
from ats_sync.cli.probe import FACTS, MOST_WEIGHT, REQUESTS, SPOT_REQUESTS, Reply, Seen


@pytest.fixture(scope="module")
def probed() -> tuple[int, str, Seen]:
    """Exit status, output and everything that was seen in one run on the simulated exchange."""
    seen: list[Seen] = []
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as out:
        honest = probe.look
        patch.setattr(probe, "look", lambda config: seen.append(honest(config)) or seen[-1])
        status = probe.run(Namespace(live=False))
    return status, out.getvalue(), seen[0]


def test_the_simulated_exchange_keeps_every_fact(probed: tuple[int, str, Seen]) -> None:
    status, out, seen = probed
    assert status == 0, out
    assert sum(line.lstrip().startswith("kept ") for line in out.splitlines()) == len(FACTS)
    assert seen.spent < MOST_WEIGHT // 2


def without(rows: Any, name: str) -> None:
    """Take a field out of the last of the rows."""
    del (rows[-1] if isinstance(rows, list) else rows)[name]


MARKET, PUBLIC = probe.MARKET, probe.PUBLIC
CHANGES: dict[str, tuple[str, Callable[[Seen], object]]] = {
    "a mark of all": (
        "fields of each row of !markPrice@arr@1s",
        lambda seen: without(seen.frames["market", MARKET[3]][0], "i"),
    ),
    "a ticker of all": (
        "fields of each row of !ticker@arr",
        lambda seen: without(seen.frames["market", MARKET[4]][0], "L"),
    ),
    "the marks of all are empty": (
        "fields of each row of !markPrice@arr@1s",
        lambda seen: seen.frames.update({("market", MARKET[3]): [[]]}),
    ),
    "a quote of all": ("fields of !bookTicker", lambda seen: without(seen.frames["public", PUBLIC[3]], "u")),
    "a row that is not an object": (
        "fields of !bookTicker",
        lambda seen: seen.frames["public", PUBLIC[3]].append("BTCUSDT"),
    ),
    "a partial book": ("fields of depth20", lambda seen: without(seen.frames["public", PUBLIC[0]], "T")),
    "a spot candle": (
        "fields of a spot kline",
        lambda seen: without(seen.frames["spot", probe.SPOT_KLINES][0]["k"], "Q"),
    ),
    "rare streams are refused": (
        "!contractInfo and !forceOrder@arr are acknowledged",
        lambda seen: seen.replies["market"].remove({"result": None, "id": 3}),
    ),
    "a listing": (
        "fields of !contractInfo, if one comes",
        lambda seen: seen.frames.update({("market", "!contractInfo"): [{"E": 1, "s": "BTCUSDT", "ot": 1}]}),
    ),
    "a liquidation": (
        "fields of !forceOrder@arr, if one comes",
        lambda seen: seen.frames.update({("market", "!forceOrder@arr"): [{"E": 1, "o": {"s": "BTCUSDT"}}]}),
    ),
    "exchangeInfo's price": ("exchangeInfo weighs 1", lambda seen: reply(seen, "exchangeInfo", grew=20)),
    "exchangeInfo without a date": (
        "fields of each contract in exchangeInfo",
        lambda seen: without(seen.answers["exchangeInfo"].body["symbols"], "onboardDate"),
    ),
    "exchangeInfo without a filter": (
        "filters of each contract in exchangeInfo",
        lambda seen: seen.answers["exchangeInfo"].body["symbols"][-1].update(filters=[{"filterType": "LOT_SIZE"}]),
    ),
    "exchangeInfo with a new status": (
        "every status in exchangeInfo is a known one",
        lambda seen: seen.answers["exchangeInfo"].body["symbols"][-1].update(status="NAPPING"),
    ),
    "exchangeInfo with another limit": (
        "exchangeInfo allows a weight of 2400 per minute",
        lambda seen: seen.answers["exchangeInfo"].body["rateLimits"][0].update(limit=1200),
    ),
    "exchangeInfo without limits": (
        "exchangeInfo allows a weight of 2400 per minute",
        lambda seen: seen.answers["exchangeInfo"].body.update(rateLimits=[]),
    ),
    "open interest weighs": ("openInterestHist weighs 0", lambda seen: reply(seen, "openInterestHist", grew=1)),
    "open interest": (
        "fields of openInterestHist",
        lambda seen: without(seen.answers["openInterestHist"].body, "sumOpenInterestValue"),
    ),
    "funding weighs": ("fundingRate weighs 0", lambda seen: reply(seen, "fundingRate", grew=1)),
    "funding": (
        "fields of fundingRate, rateType among them",
        lambda seen: without(seen.answers["fundingRate"].body, "rateType"),
    ),
    "spot prices weigh more": ("spot ticker/price weighs 2", lambda seen: reply(seen, "spot ticker/price", grew=4)),
    "a spot price": (
        "fields of a spot price",
        lambda seen: without(seen.answers["spot ticker/price"].body, "price"),
    ),
    "spot candles weigh more": ("spot klines weighs 2", lambda seen: reply(seen, "spot klines", grew=10)),
    "a spot candle of REST": (
        "a spot kline row has 12 fields",
        lambda seen: seen.answers["spot klines"].body[-1].pop(),
    ),
}
"""What the exchange changes, and the one fact that it is reported as."""


def reply(seen: Seen, name: str, **changed: Any) -> None:
    """Change an answer."""
    seen.answers[name] = replace(seen.answers[name], **changed)


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_exchange_is_noticed(probed: tuple[int, str, Seen], change: str) -> None:
    changed = copy.deepcopy(probed[2])
    name, make = CHANGES[change]
    make(changed)
    assert [fact.name for fact in FACTS if not fact.check(changed)[0]] == [name]


def test_the_exchange_of_october_2026_keeps_the_facts_of_its_frames_and_answers(october_2026: Path) -> None:
    seen = Seen()
    for stream, file in RECORDED.items():
        recorded = json.loads((october_2026 / "ws" / f"stream_{file}.json").read_text())
        seen.frames["public" if stream in PUBLIC else "market", stream] = [recorded["data"]]
    for name, file in (("exchangeInfo", "exchange_info"), ("fundingRate", "funding_rate")):
        seen.answers[name] = Reply(json.loads((october_2026 / "rest" / f"{file}.json").read_text()), None, None)
    for fact in FACTS:
        if fact.name in KEPT_IN_OCTOBER:
            assert fact.check(seen)[0], (fact.name, fact.check(seen))
    assert {fact.name for fact in FACTS} >= KEPT_IN_OCTOBER


RECORDED = {
    MARKET[0]: "btcusdt_kline_1m",
    MARKET[1]: "btcusdt_aggTrade",
    MARKET[2]: "btcusdt_markPrice_1s",
    MARKET[3]: "all_markPrice_arr_1s",
    MARKET[4]: "all_ticker_arr",
    PUBLIC[0]: "btcusdt_depth20_100ms",
    PUBLIC[2]: "btcusdt_bookTicker",
}
KEPT_IN_OCTOBER = {
    *("fields of a kline", "fields of aggTrade", "fields of markPrice", "fields of depth20", "fields of bookTicker"),
    *("fields of each row of !markPrice@arr@1s", "fields of each row of !ticker@arr"),
    *("fields of each contract in exchangeInfo", "filters of each contract in exchangeInfo"),
    *("every status in exchangeInfo is a known one", "exchangeInfo allows a weight of 2400 per minute"),
    "fields of fundingRate, rateType among them",
}


def test_an_unreachable_exchange_is_reported_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("BINANCE_FAPI_BASE", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(CommandFailed, match="could not be reached") as caught:
            probe.run(Namespace(live=True))
    assert caught.value.status == probe.UNREACHABLE


def test_what_was_not_seen_counts_as_changed() -> None:
    nothing = Seen(
        answers=dict.fromkeys((*REQUESTS, *SPOT_REQUESTS), Reply(None, None, None)),
        replies={"market": []},
        ponged={"market": False},
        used=[None],
    )
    kept = [fact.name for fact in FACTS if fact.check(nothing)[0]]
    assert all("silent" in name or "if one comes" in name for name in kept), kept


@pytest.mark.parametrize(
    ("name", "asked"),
    [("klines 100 weighs 1", Reply([[0] * 12], None, 2)), ("klines 100 weighs 1", Reply([], None, None))],
)
def test_a_weight_that_differs_is_a_change(name: str, asked: Any) -> None:
    seen = Seen(answers={"klines 100": asked})
    [fact] = [fact for fact in FACTS if fact.name == name]
    assert fact.check(seen)[0] is False


@pytest.mark.parametrize(("time", "kept"), [(999, False), (1_000, True), (1_100, True), (1_101, False)])
def test_a_book_whose_time_does_not_fit_its_diffs_is_a_change(time: int, kept: bool) -> None:
    diffs = [{"u": 7, "T": 1_000}, {"u": 9, "T": 1_100}]
    seen = Seen(frames={("public", "btcusdt@depth@100ms"): diffs}, snapshot={"lastUpdateId": 8, "T": time})
    [fact] = [fact for fact in FACTS if "book's T" in fact.name]
    assert fact.check(seen)[0] is kept


def test_a_run_stays_under_the_weight_that_it_promises() -> None:
    futures = sum(weight + 2 for _, _, weight in REQUESTS.values())
    spot = sum(4 * weight for _, _, weight in SPOT_REQUESTS.values())
    assert futures + spot < MOST_WEIGHT // 2
