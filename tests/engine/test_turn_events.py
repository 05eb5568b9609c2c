from __future__ import annotations

import random

import pytest

from ats_sync.engine import turn
from ats_sync.engine.jobs import Fetch
from ats_sync.engine.turn import Changed, EngineEvent, Fetched, Inbox, Lost, Noticed, Opened, Replied
from ats_sync.errors import RequestTimeout
from ats_sync.feeds import Cause, Key, Kind
from ats_sync.store.link import Link
from ats_sync.store.series import Change, StoreEvent
from ats_sync.venue import endpoints

LINK = Link(1, "market", 0.0)


def gap(symbol: str) -> Noticed:
    return Noticed(StoreEvent(Change.GAP, Key(Kind.TRADES, symbol)))


def reply(number: int) -> Replied:
    return Replied(1, {"result": None, "id": number})


def test_events_of_all_kinds_keep_their_order_of_arrival() -> None:
    fetch = Fetch(Key(Kind.CLOCK), endpoints.time(), Cause.POLL)
    arrived: list[EngineEvent] = [
        gap("A"), reply(1), Opened(1, LINK), Changed(), Fetched(fetch, None), gap("B"), reply(1),
        Lost(1, LINK, "cut", RequestTimeout("late")), Changed(), Fetched(fetch, RequestTimeout("late")),
    ]  # fmt: skip
    random.Random(1).shuffle(arrived)
    inbox = Inbox()
    for event in arrived:
        inbox.add(event)
    assert len(inbox) == len(arrived)
    assert inbox.take() == arrived
    assert not inbox
    assert inbox.take() == []


def test_a_notice_that_waits_is_not_added_again() -> None:
    inbox = Inbox()
    for event in (gap("A"), reply(1), gap("A"), gap("B"), gap("A")):
        inbox.add(event)
    assert inbox.take() == [gap("A"), reply(1), gap("B")]
    inbox.add(gap("A"))
    assert inbox.take() == [gap("A")], "it is new again once it was taken"


def test_only_the_oldest_replies_are_dropped_where_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "MAX_REPLIES", 3)
    inbox = Inbox()
    for number in range(3):
        inbox.add(reply(number))
        inbox.add(Opened(number, LINK))
    assert inbox.dropped == 0
    inbox.add(reply(3))
    inbox.add(reply(4))
    assert inbox.dropped == 2
    assert inbox.take() == [Opened(0, LINK), Opened(1, LINK), reply(2), Opened(2, LINK), reply(3), reply(4)]
    for number in range(3):
        inbox.add(reply(number))
    assert inbox.dropped == 2, "those that were taken no longer count"
