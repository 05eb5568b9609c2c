from __future__ import annotations

from typing import Any

import pytest

from ats_sync.clock import Clock
from ats_sync.config import Config
from ats_sync.engine.stream_session import FUTURE_EVENT, MAX_UNSENT, StreamSession, Wait
from ats_sync.store.link import Link
from ats_sync.store.market import MarketStore, keys_of
from ats_sync.store.series import Change, StoreEvent

from ..venue.samples import MIDNIGHT, compact, trade_frame

SYMBOL = "BTCUSDT"
PING, SILENCE, DRAIN = 1.0, 6.0, 0.02


class Line:
    """Clocks that are moved by hand, and what was sent at which second after the start."""

    def __init__(self) -> None:
        self.passed = 0.0
        self.sent: list[tuple[float, str]] = []

    def wall(self) -> float:
        return MIDNIGHT / 1000.0 + self.passed

    def steady(self) -> float:
        return 500.0 + self.passed

    def send_text(self, text: str) -> None:
        self.sent.append((self.passed, text))

    def ping(self) -> None:
        self.sent.append((self.passed, "ping"))


class Wire(Line):
    """A connection that brings these messages, one at a time, and then fails."""

    def __init__(self, *brings: bytes) -> None:
        super().__init__()
        self.last_pong: float | None = None
        self.brings = list(brings)
        self.replies: list[dict[str, Any]] = []
        self.notices: list[StoreEvent] = []

    def receive(self) -> list[bytes]:
        if not self.brings:
            raise ConnectionResetError
        return [self.brings.pop(0)]

    def replied(self, message: dict[str, Any]) -> None:
        self.replies.append(message)

    def noticed(self, notices: list[StoreEvent]) -> None:
        self.notices += notices


class Stream:
    """A session and what its owner does with it."""

    def __init__(self) -> None:
        config = Config(ping_interval=PING, silence_limit=SILENCE, drain_interval=DRAIN)
        self.line = Line()
        self.clock = Clock(self.line)
        self.clock.set_exchange(self.clock.wall())
        self.store = MarketStore(config, self.clock.now)
        self.store.follow(keys_of((SYMBOL,), ("1m",), ("1h",)))
        self.link = Link(1, "market", 0.0)
        self.session = StreamSession(config, self.clock, self.store, self.link)
        self.pong: float | None = None
        self.session.opened()

    def wait(self) -> float:
        return self.session.before_wait(self.line)

    def passes(self, seconds: float) -> None:
        """Let time go by while the socket is silent."""
        end = self.line.passed + seconds
        while self.session.over is None and self.line.passed < end:
            wait = self.wait()
            if self.session.over is None:
                self.line.passed = min(end, self.line.passed + max(wait, 0.001))

    def pongs(self) -> None:
        self.pong = self.clock.now()
        self.session.received([], self.pong)


def at(seconds: float) -> float:
    """Return the exchange's time this many seconds after the start."""
    return MIDNIGHT / 1000.0 + seconds


@pytest.fixture
def stream() -> Stream:
    return Stream()


class TestSending:
    def test_messages_go_in_order_before_the_wait(self, stream: Stream) -> None:
        for text in ("first", "second"):
            stream.session.send(text)
        assert stream.line.sent == []
        assert stream.wait() == PING
        assert stream.line.sent == [(0.0, "first"), (0.0, "second")]
        stream.wait()
        assert len(stream.line.sent) == 2

    def test_what_nobody_takes_does_not_accumulate_for_ever(self, stream: Stream) -> None:
        for number in range(MAX_UNSENT + 5):
            stream.session.send(str(number))
        stream.wait()
        assert len(stream.line.sent) == MAX_UNSENT


class TestSilence:
    def test_is_pinged_once_and_then_ends_the_connection(self, stream: Stream) -> None:
        stream.passes(60)
        assert stream.line.sent == [(pytest.approx(PING), "ping")]
        assert stream.line.passed == pytest.approx(SILENCE)
        assert stream.session.over == "silent for 6 s"
        assert not stream.link.up

    def test_is_broken_by_frames(self, stream: Stream) -> None:
        for _ in range(20):
            stream.passes(0.9)
            stream.session.received([trade_frame(1)], None)
        assert stream.session.over is None
        assert stream.line.sent == []

    def test_is_broken_by_pongs(self, stream: Stream) -> None:
        for _ in range(10):
            stream.passes(PING + 0.1)
            stream.pongs()
        assert stream.session.over is None
        assert [text for _, text in stream.line.sent] == ["ping"] * 10

    def test_before_the_connection_was_made_does_not_count(self) -> None:
        stream = Stream()
        stream.line.passed = 15.0  # a slow handshake
        stream.session.opened()
        assert stream.wait() == PING
        assert stream.session.over is None

    def test_a_wake_without_anything_to_take_does_not_break_it(self, stream: Stream) -> None:
        stream.passes(3.0)
        stream.session.received([], None)
        stream.passes(60)
        assert stream.line.passed == pytest.approx(SILENCE)


class TestProof:
    def test_a_frame_proves_its_own_time(self, stream: Stream) -> None:
        stream.line.passed = 5.0
        stream.session.received([trade_frame(1, at=MIDNIGHT + 1_000), trade_frame(2, at=MIDNIGHT + 2_000)], None)
        assert stream.link.watermark == pytest.approx(at(2.003))

    @pytest.mark.parametrize("seconds", [FUTURE_EVENT + 0.5, 3_600.0, 8e9])
    def test_a_frame_from_the_future_proves_nothing(self, stream: Stream, seconds: float) -> None:
        stream.session.received([trade_frame(1, at=MIDNIGHT)], None)
        stream.line.passed = 5.0
        stream.session.received([trade_frame(2, at=MIDNIGHT + 5_000 + round(seconds * 1000))], None)
        assert stream.link.watermark == pytest.approx(at(0.003))
        assert not stream.clock.proven()

    def test_a_frame_a_little_ahead_corrects_the_clock(self, stream: Stream) -> None:
        stream.session.received([trade_frame(1, at=MIDNIGHT + 500)], None)
        assert stream.link.watermark == pytest.approx(at(0.503))
        assert stream.clock.exchange() == pytest.approx(at(0.503))

    def test_a_pong_proves_the_moment_its_ping_was_sent(self, stream: Stream) -> None:
        stream.passes(3.0)
        stream.pongs()
        assert stream.link.watermark == pytest.approx(at(PING))

    def test_a_pong_counts_once(self, stream: Stream) -> None:
        stream.passes(1.5)
        stream.pongs()
        stream.passes(1.5)  # the next ping is under way
        stream.session.received([], stream.pong)
        assert stream.link.watermark == pytest.approx(at(PING))

    def test_a_reply_proves_nothing(self, stream: Stream) -> None:
        reply = {"result": None, "id": 3}
        assert stream.session.received([compact(reply)], None) == ([], [reply])
        assert stream.link.watermark == 0.0


class TestReceiving:
    def test_frames_reach_the_store_and_what_it_notices_is_returned(self, stream: Stream) -> None:
        stream.store.trades(SYMBOL).go_live(stream.link)
        assert stream.session.received([trade_frame(5)], None) == ([], [])
        notices, replies = stream.session.received([trade_frame(9)], None)
        assert [notice.change for notice in notices] == [Change.GAP]
        assert replies == []
        assert [trade.id for trade in stream.store.trades(SYMBOL).read(5)] == [9]


class TestTheEnd:
    def test_is_known_at_once_to_a_reader(self, stream: Stream) -> None:
        stream.session.end("replaced")
        assert stream.session.over == "replaced"
        assert not stream.link.up

    def test_that_somebody_else_caused_is_not_taken_for_silence(self, stream: Stream) -> None:
        stream.line.passed = 60.0
        stream.session.end("replaced")
        stream.wait()
        assert stream.session.over == "replaced"


def test_data_is_received_at_once_on_a_quiet_connection_and_gathers_on_a_busy_one() -> None:
    stream = Stream()
    assert stream.session.pause() == 0.0
    stream.session.received([], None)
    stream.line.passed += 0.005
    assert stream.session.pause() == pytest.approx(DRAIN - 0.005)
    stream.line.passed += 0.5
    assert stream.session.pause() == 0.0


def test_it_waits_for_the_socket_and_then_for_more_passes_on_what_came_and_ends_with_the_connection() -> None:
    stream = Stream()
    reply = {"result": None, "id": 1}
    wire = Wire(trade_frame(5), trade_frame(9), compact(reply))
    run = stream.session.run(wire, wire)
    assert next(run) == Wait(PING, gather=False)
    assert run.send(False) == Wait(PING, gather=False), "it was woken"
    assert run.send(True) == Wait(PING, gather=False)
    assert stream.link.frames == 1
    assert run.send(True) == Wait(pytest.approx(DRAIN), gather=True), "frames gather"
    assert run.send(False) == Wait(PING, gather=False)
    assert [notice.change for notice in wire.notices] == [Change.GAP]
    stream.line.passed += DRAIN
    assert run.send(True) == Wait(PING, gather=False)
    assert wire.replies == [reply]
    stream.line.passed += DRAIN
    with pytest.raises(ConnectionResetError):
        run.send(True)


def test_it_ends_at_its_next_wait_and_does_not_gather_then() -> None:
    stream = Stream()
    wire = Wire(trade_frame(5), trade_frame(6))
    run = stream.session.run(wire, wire)
    next(run)
    run.send(True)
    assert run.send(True).gather
    stream.session.end("replaced")
    with pytest.raises(StopIteration) as over:
        run.send(True)
    assert over.value.value == "replaced"
    assert len(wire.brings) == 1


def test_nothing_gathers_where_the_interval_is_zero() -> None:
    clock = Clock(Line())
    config = Config(drain_interval=0.0)
    session = StreamSession(config, clock, MarketStore(config, clock.now), Link(1, "market", 0.0))
    session.received([], None)
    assert session.pause() == 0.0
