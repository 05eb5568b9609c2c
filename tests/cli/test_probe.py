"""The probe confirms every fact on the embedded exchange, and names one that has changed."""

from __future__ import annotations

import socket
from argparse import Namespace
from typing import Any

import pytest

from ats_sync.cli import probe
from ats_sync.cli.exits import CommandFailed
from ats_sync.cli.probe import FACTS, MOST_WEIGHT, REQUESTS, Reply, Seen


def test_the_embedded_exchange_keeps_every_fact(capsys: pytest.CaptureFixture[str]) -> None:
    status = probe.run(Namespace(live=False))
    out = capsys.readouterr().out
    assert status == 0, out
    assert sum(line.lstrip().startswith("kept ") for line in out.splitlines()) == len(FACTS)


def test_an_unreachable_exchange_is_reported_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("BINANCE_FAPI_BASE", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(CommandFailed, match="could not be reached") as caught:
            probe.run(Namespace(live=True))
    assert caught.value.status == probe.UNREACHABLE


def test_what_was_not_seen_counts_as_changed() -> None:
    nothing = Seen(
        answers=dict.fromkeys(REQUESTS, Reply(None, None, None)),
        replies={"market": []},
        ponged={"market": False},
        used=[None],
    )
    kept = [fact.name for fact in FACTS if fact.check(nothing)[0]]
    assert all("silent" in name for name in kept), kept


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


def test_all_of_it_stays_under_the_weight_that_it_promises() -> None:
    assert sum(weight + 2 for _, _, weight in REQUESTS.values()) < MOST_WEIGHT // 2
