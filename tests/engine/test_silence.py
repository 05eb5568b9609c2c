from __future__ import annotations

import pytest

from ats_sync.config import Config
from ats_sync.engine.connection import Connection, Phase, Progress, Streams
from ats_sync.engine.moment import Moment
from ats_sync.engine.silence import LONGEST, STEADY_STREAMS, Silence
from ats_sync.store.link import Link
from ats_sync.store.market import MarketStore
from ats_sync.venue.endpoints import BOOK_TICKERS_STREAM, MARK_PRICES_STREAM, TICKERS_STREAM, Route

BEGAN = 1_795_219_200_000
STEP = 0.25


class Road:
    """A route whose connections carry one stream and deliver nothing, unless :meth:`frame` is called."""

    def __init__(self, stream: str) -> None:
        self.store = MarketStore(Config(), lambda: self.steady)
        self.steady = 100.0
        self.silence = Silence(self.store)
        self.stream = stream
        self.given_up: list[float] = []
        self.trades = False
        self._connect()

    def _connect(self) -> None:
        self.link = Link(1, "public", self.exchange() / 1000.0)
        streams = Streams({self.stream: Progress.ACKNOWLEDGED})
        self.connection = Connection(1, Route.PUBLIC, Phase.OPEN, self.steady, self.steady, streams=streams)

    def exchange(self) -> int:
        return BEGAN + round(self.steady * 1000)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP)):
            self.steady += STEP
            if self.trades:
                self.store.tickers.traded["BTCUSDT"] = self.exchange() - 1000
            at = Moment(self.steady, self.exchange(), True, 0)
            self.silence.heard(self.link, at)
            if self.silence.judge(self.connection, self.link, at):
                self.given_up.append(self.steady)
                self._connect()
            self.silence.keep([self.link])

    def pauses(self) -> list[float]:
        return [after - before for before, after in zip([100.0, *self.given_up], self.given_up, strict=False)]


@pytest.mark.parametrize("stream", STEADY_STREAMS)
def test_the_first_connection_that_delivers_nothing_is_given_up_soon(stream: str) -> None:
    road = Road(stream)
    road.run(STEADY_STREAMS[stream] + 2 * STEP)
    assert len(road.given_up) == 1


@pytest.mark.parametrize("stream", [TICKERS_STREAM, BOOK_TICKERS_STREAM])
def test_each_connection_is_given_twice_as_long_where_the_whole_market_rests(stream: str) -> None:
    road = Road(stream)
    road.run(3600)
    first = STEADY_STREAMS[stream]
    pauses = road.pauses()
    assert pauses[:3] == pytest.approx([first, first * 2, first * 4], abs=3 * STEP)
    assert pauses[-1] == pytest.approx(LONGEST, abs=3 * STEP)


@pytest.mark.parametrize("stream", [TICKERS_STREAM, BOOK_TICKERS_STREAM])
def test_where_something_trades_a_silent_connection_is_at_fault(stream: str) -> None:
    road = Road(stream)
    road.trades = True
    road.run(600)
    assert max(road.pauses()) <= STEADY_STREAMS[stream] + 2.0


def test_a_connection_has_a_moment_to_report_that_the_market_wakes_up() -> None:
    road = Road(BOOK_TICKERS_STREAM)
    road.run(100)
    given_up = len(road.given_up)
    road.trades = True
    road.run(5)
    assert len(road.given_up) == given_up
    road.link.frames += 1
    road.run(STEADY_STREAMS[BOOK_TICKERS_STREAM] - 1)
    assert len(road.given_up) == given_up


def test_marks_come_even_if_the_market_rests() -> None:
    road = Road(MARK_PRICES_STREAM)
    road.run(60)
    assert max(road.pauses()) <= STEADY_STREAMS[MARK_PRICES_STREAM] + 3 * STEP


def test_a_frame_ends_the_series_of_silent_connections() -> None:
    road = Road(BOOK_TICKERS_STREAM)
    road.run(100)
    road.link.frames += 1
    road.run(STEP)
    before = len(road.given_up)
    road.run(STEADY_STREAMS[BOOK_TICKERS_STREAM] + 2 * STEP)
    assert len(road.given_up) == before + 1


def test_a_connection_without_steady_streams_may_be_silent_for_ever() -> None:
    road = Road("btcusdt@aggTrade")
    road.run(600)
    assert not road.given_up
