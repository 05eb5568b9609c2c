"""One request and its outcome; the network is what the test says. With threads and sockets: ``test_requests.py``."""

from __future__ import annotations

import logging
import random
from typing import Any

import pytest

from ats_sync.clock import Clock
from ats_sync.config import Config
from ats_sync.engine.budget import Budget
from ats_sync.engine.dispatch import Dispatcher, Done, Retry, Send
from ats_sync.engine.jobs import Fetch, PendingRead
from ats_sync.engine.moment import moment
from ats_sync.errors import (
    ConnectionFailed,
    MalformedAnswer,
    NotRunning,
    RateLimited,
    RequestError,
    RequestTimeout,
)
from ats_sync.feeds import CLOCK, LISTINGS, Cause, Key, Kind
from ats_sync.logs import RateLimitedLogger
from ats_sync.runtime import executor
from ats_sync.runtime.counters import Counters
from ats_sync.runtime.executor import RequestExecutor
from ats_sync.store.market import MarketStore
from ats_sync.transport.answer import Answer
from ats_sync.venue import endpoints
from ats_sync.venue.endpoints import Bucket, Host

from ..desk import StandingTime
from ..venue import samples
from ..venue.samples import MIDNIGHT, compact

BOOK = Key(Kind.BOOK, "BTCUSDT")
NOW = MIDNIGHT / 1000


class Account:
    """An account that other processes share."""

    def __init__(self, until: float | None = None) -> None:
        self.until = until
        self.ends: list[object] = []

    def take(self, send: Send) -> float | None:
        return self.until

    def ended(self, send: Send, outcome: object) -> None:
        self.ends.append(outcome)


class Scene:
    """An executor, and what the network does with what it sends: ``outcome`` is returned or raised."""

    def __init__(self, outcome: Any, *, once: bool = True, account: Account | None = None) -> None:
        self.outcome = outcome
        self.time = StandingTime()
        self.clock = Clock(self.time)
        self.config = Config()
        self.store = MarketStore(self.config, self.clock.now, self.clock.exchange_ms)
        self.store.follow([BOOK])
        self.budget, self.counters = Budget(self.config), Counters()
        self.dispatcher = Dispatcher(self.config, self.budget, self.clock.to_wall, random.Random(3), once=once)
        self.executor = RequestExecutor(self.config, self.clock, self.store, self.budget, self.counters, account)
        self.sent: list[str] = []
        self.reader: PendingRead | None = None

    def get(self, url: str, params: Any, *, headers: Any, timeout: float) -> Answer:
        """Do what the client does."""
        self.sent.append(url)
        outcome = self.outcome() if callable(self.outcome) else self.outcome
        if isinstance(outcome, BaseException):
            raise outcome
        assert isinstance(outcome, Answer)
        return outcome

    def execute(self, key: Key = BOOK, request: Any = None, cause: Cause = Cause.READ) -> Done | Retry:
        fetch = Fetch(key, request or endpoints.depth("BTCUSDT", 20), cause)
        with self.budget.shared():
            at = moment(self.clock)
            self.reader = self.dispatcher.ask(fetch, at.steady + 10.0, at)
            send = self.dispatcher.next(at)
        assert isinstance(send, Send)
        client: Any = self
        return self.executor.execute(client, self.dispatcher, send)

    def statuses(self) -> dict[str, int]:
        return {status: count for (_, _, status), count in self.counters.outcomes().items()}

    def settled(self) -> PendingRead:
        assert self.reader is not None
        assert self.reader.settled
        assert self.dispatcher.under_way == 0
        return self.reader


def answer(body: object, *, sent_at: float = NOW, received_at: float = NOW) -> Answer:
    return Answer(body if isinstance(body, bytes) else compact(body), 200, {}, sent_at, received_at)


def test_an_answer_is_merged_counted_and_given_to_the_reader() -> None:
    scene = Scene(answer(samples.rest_book(7)))
    done = scene.execute()
    assert isinstance(done, Done)
    assert done.error is None
    book = scene.store.book("BTCUSDT")
    assert book is not None
    assert book.read() == scene.settled().value
    assert scene.settled().value.update_id == 7
    assert scene.sent == ["https://fapi.binance.com/fapi/v1/depth"]
    assert (scene.counters.requests()["read"], scene.statuses()) == (1, {"200": 1})


@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (RequestTimeout("late"), "none"),
        (ConnectionFailed("cut"), "none"),
        (MalformedAnswer("odd", status=200), "200"),
    ],
)
def test_a_failed_request_is_the_readers_error_and_changes_nothing(failure: RequestError, status: str) -> None:
    scene = Scene(failure)
    done = scene.execute()
    assert isinstance(done, Done)
    assert done.error is scene.settled().error is failure
    assert scene.statuses() == {status: 1}


def test_what_may_succeed_later_is_retried_where_the_caller_says_so() -> None:
    scene = Scene(ConnectionFailed("cut"), once=False)
    retry = scene.execute()
    assert isinstance(retry, Retry)
    assert retry.at > scene.clock.now()
    assert scene.reader is not None
    assert not scene.reader.settled


def test_a_fault_of_ours_is_logged_and_still_settles_the_request(caplog: pytest.LogCaptureFixture) -> None:
    bug = ZeroDivisionError("of ours")
    scene = Scene(bug)
    scene.execute()
    error = scene.settled().error
    assert type(error) is RequestError
    assert error.__cause__ is bug
    assert "failed unexpectedly" in caplog.text


def test_an_answer_that_cannot_be_merged_is_an_error_and_not_the_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(answer(b"<html>"))
    scene.execute()
    assert isinstance(scene.settled().error, MalformedAnswer)
    assert caplog.text == ""
    bug = ZeroDivisionError("of ours")

    def merge(*arguments: object) -> object:
        raise bug

    monkeypatch.setattr(scene.store, "merge", merge)
    scene.execute()
    error = scene.settled().error
    assert type(error) is RequestError
    assert error.__cause__ is bug
    assert "could not be merged" in caplog.text


def test_an_interrupted_request_is_settled_and_the_interruption_goes_on() -> None:
    scene = Scene(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        scene.execute()
    assert isinstance(scene.settled().error, RequestTimeout)
    with scene.budget.shared():
        assert scene.budget.usage(Bucket.FUTURES, moment(scene.clock)).cost > 0, "it may have been sent"


@pytest.fixture(autouse=True)
def own_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no other test of this process have logged the same a moment ago."""
    monkeypatch.setattr(executor, "log", RateLimitedLogger(logging.getLogger(executor.__name__)))


def test_a_refusal_for_the_rate_is_shown_and_its_host_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    account = Account()
    limited = RateLimited("HTTP 429", retry_at=NOW + 30.0, status=429)
    scene = Scene(limited, account=account)
    scene.execute()
    assert scene.settled().error is limited
    assert account.ends == [limited]
    assert (scene.counters.limits(), scene.statuses()) == ({Host.FUTURES: "HTTP 429"}, {"429": 1})
    assert "nothing is sent to the futures host" in caplog.text
    assert scene.budget.blocked_until(Host.FUTURES, scene.clock.now()) == pytest.approx(NOW + 30.0)
    Scene(limited, account=account).execute(Key(Kind.SPOT), endpoints.spot_price())
    assert "nothing is sent to the spot host" in caplog.text, "what one host says is no reason to leave it out"


def test_what_a_shared_account_has_no_room_for_is_not_sent() -> None:
    account = Account(NOW + 5.0)
    scene = Scene(answer(samples.rest_book(7)), account=account)
    retry = scene.execute()
    assert isinstance(retry, Retry)
    assert retry.at == NOW + 5.0
    assert (scene.sent, account.ends, scene.statuses()) == ([], [], {})
    assert scene.counters.requests()["read"] == 0
    scene = Scene(answer(samples.rest_book(7)), account=Account(NOW + 11.0))
    scene.execute()
    assert isinstance(scene.settled().error, RateLimited), "its reader will have given up"


def test_an_answer_that_comes_after_the_end_changes_nothing() -> None:
    scene = Scene(None)

    def closed() -> Answer:
        with scene.budget.shared():
            scene.dispatcher.close()
        return answer(samples.rest_book(7))

    scene.outcome = closed
    done = scene.execute()
    assert isinstance(done, Done)
    assert isinstance(done.error, NotRunning)
    book = scene.store.book("BTCUSDT")
    assert book is not None
    assert book.state(0).answered == 0


def test_only_a_repair_that_was_answered_counts_as_one() -> None:
    scene = Scene(answer(samples.rest_book(7)))
    scene.execute(cause=Cause.POLL)
    assert scene.counters.repairs() == (0, None)
    scene.execute(cause=Cause.REPAIR)
    assert scene.counters.repairs() == (1, BOOK)
    scene.outcome = RequestTimeout("late")
    scene.execute(cause=Cause.REPAIR)
    assert scene.counters.repairs() == (1, BOOK)


@pytest.mark.parametrize("slept", [0.0, 5.0, -5.0])
def test_the_exchanges_time_lies_between_sending_and_receiving_and_a_sleep_widens_it(slept: float) -> None:
    scene = Scene(None)
    server = MIDNIGHT + 90_000

    def under_way() -> Answer:
        sent_at = scene.clock.now()
        scene.time.at += 2.0
        received_at = scene.clock.now()
        scene.clock.wall = lambda: scene.time.at + slept
        return answer({"serverTime": server}, sent_at=sent_at, received_at=received_at)

    scene.outcome = under_way
    scene.execute(CLOCK, endpoints.time())
    assert scene.clock.synchronised
    assert scene.clock.exchange() == pytest.approx(server / 1000 + 2.0 + max(0.0, slept))
    assert scene.clock.uncertainty() == pytest.approx(2.0 + max(0.0, slept))


def test_the_limit_that_the_exchange_states_is_that_of_its_host() -> None:
    scene = Scene(answer(samples.exchange_info({"BTCUSDT": "TRADING"}, weight=1_000)))
    before = scene.budget.usage
    with scene.budget.shared():
        allowed = before(Bucket.FUTURES, moment(scene.clock)), before(Bucket.SPOT, moment(scene.clock))
    scene.execute(LISTINGS, endpoints.exchange_info())
    with scene.budget.shared():
        now = before(Bucket.FUTURES, moment(scene.clock)), before(Bucket.SPOT, moment(scene.clock))
    assert now[0][3] == 1_000 != allowed[0][3]
    assert now[1] == allowed[1]
