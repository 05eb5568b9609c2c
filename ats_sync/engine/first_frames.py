"""What the first frame of a new subscription proves where an earlier answer is known: that nothing was missed."""

from __future__ import annotations

from ..config import Config
from ..feeds import Kind
from ..store.klines import KlineSeries
from ..store.market import MarketStore
from ..store.trades import TradeRing
from .moment import Moment
from .state import State

FIRST_FRAME_WITHIN = 1.5
"""What is quiet for so long after its acknowledgement (seconds) is asked for."""


class FirstFrames:
    """A trade tells its number and a candle's frame the whole candle, so what goes before them is known or not."""

    def __init__(self, config: Config, store: MarketStore) -> None:
        self._config = config
        self._store = store

    def series(self, state: State) -> KlineSeries | TradeRing | None:
        """The series, where its frames can prove it."""
        key = state.key
        return self._store.trades.get(key.symbol) if key.kind is Kind.TRADES else self._store.candles(key)

    def wait(self, state: State) -> float:
        """How long (seconds) the first frame is worth waiting for before anything is asked."""
        series = self.series(state)
        if series is None or series.begun() or not len(series):
            return 0.0
        if isinstance(series, KlineSeries) and (state.live_once or self.short(series)):
            return 0.0  # A repair of candles weighs little and is not put off.
        return FIRST_FRAME_WITHIN

    def close_the_gap(self, state: State, at: Moment) -> bool:
        """Make a series live where they have proved that it may; whether it is live by that."""
        series, link = self.series(state), state.link
        if series is None or link is None or series.link is link or not series.goes_on():
            return False
        if isinstance(series, KlineSeries) and (self.short(series) or series.standing(at.exchange).doubt):
            return False
        series.go_live(link)
        if isinstance(series, KlineSeries) or state.known:
            state.live_once = state.known = True
        return True

    def first_rows(self, series: KlineSeries) -> int:
        """With how many rows a series is begun."""
        return min(series.first_rows or self._config.warmup_klines, series.depth)

    def short(self, series: KlineSeries) -> bool:
        """Whether rows are lacking: an early read may have begun the history with a few only."""
        return not series.complete and len(series) + 1 < self.first_rows(series)
