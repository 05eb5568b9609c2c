from __future__ import annotations

import pytest

from ats_sync.config import Config
from ats_sync.engine.moment import Moment
from ats_sync.engine.quality import DRIFT, SAMPLE_EVERY, WEIGHTS, WINDOW, Quality, QualityMeter, Sample
from ats_sync.feeds import Key, Kind
from ats_sync.store.link import Link
from ats_sync.store.market import MarketStore, keys_of
from ats_sync.store.series import Counts, Origin

from ..venue import samples
from ..venue.samples import MIDNIGHT
from .bench import Bench

SYMBOL = "AUSDT"


class Meter:
    def __init__(self) -> None:
        self.store = MarketStore(Config(), lambda: 0.0)
        self.store.follow(keys_of([SYMBOL], ["1m"], []))
        self.link = Link(1, "public", MIDNIGHT / 1000)
        self.meter = QualityMeter(self.store)
        self.second = 0.0
        self.number = 0
        self.store.klines(SYMBOL, "1m").go_live(self.link)
        self.store.trades(SYMBOL).go_live(self.link)

    def at(self, *, proven: bool = True) -> Moment:
        return Moment(1_000.0 + self.second, MIDNIGHT + int(self.second * 1000), proven)

    def passes(self, seconds: float, *, alive: bool = True, proven: bool = True) -> None:
        """Deliver one trade and one state of the book a second."""
        for _ in range(int(seconds)):
            self.second += 1.0
            if alive:
                self.number += 1
                now = self.at().exchange / 1000
                self.link.advance(now, now)
                self.trade(self.number)
                self.store.ingest([samples.book_frame(self.number, event=self.at().exchange, symbol=SYMBOL)], self.link)
            self.meter.sample(self.at(proven=proven))

    def trade(self, number: int) -> None:
        self.store.ingest([samples.trade_frame(number, symbol=SYMBOL, at=self.at().exchange)], self.link)

    def quality(self) -> Quality:
        return self.meter.judge(SYMBOL, self.at())


def test_nothing_wrong_is_a_full_score() -> None:
    meter = Meter()
    meter.passes(400)
    quality = meter.quality()
    assert quality.score == 1.0
    assert quality.verdict == "publish"
    assert WINDOW - SAMPLE_EVERY <= quality.seconds <= WINDOW + SAMPLE_EVERY
    assert (quality.missing, quality.out_of_order, quality.drift, quality.mismatch) == (0, 0, 0, 0)


def test_lost_and_late_events_cost_their_share() -> None:
    meter = Meter()
    meter.passes(100)
    meter.number += 10
    meter.passes(100)
    quality = meter.quality()
    assert 0 < quality.missing < 0.1
    meter.trade(meter.number)
    meter.trade(meter.number - 1)
    worse = meter.quality()
    assert worse.out_of_order > 0
    assert worse.score < quality.score < 1.0


def test_time_without_a_live_stream_is_missing() -> None:
    meter = Meter()
    meter.passes(100)
    meter.link.up = False
    meter.passes(100, alive=False)
    quality = meter.quality()
    assert 0.4 < quality.missing < 0.6
    assert quality.verdict == "stop"


def test_doubt_about_the_clock_is_drift() -> None:
    meter = Meter()
    meter.passes(100)
    meter.passes(100, proven=False)
    quality = meter.quality()
    assert 0.4 < quality.drift < 0.6
    assert quality.missing == 0


def test_corrected_candles_are_mismatches() -> None:
    meter = Meter()
    meter.passes(50)
    series = meter.store.klines(SYMBOL, "1m")
    rows = [samples.row(MIDNIGHT - i * samples.MINUTE) for i in (4, 3, 2, 1, 0)]
    asked = meter.at().exchange
    series.replace([samples.row_text(row) for row in rows], Origin(asked, 499))
    wrong = samples.row(MIDNIGHT - 4 * samples.MINUTE, price="1.0")
    series.replace([samples.row_text(row) for row in [wrong, *rows[1:]]], Origin(asked, 5))
    quality = meter.quality()
    assert quality.mismatch == pytest.approx(1 / 4)


def test_what_is_past_is_forgiven_after_five_minutes() -> None:
    meter = Meter()
    meter.passes(50)
    meter.number += 50
    meter.passes(20)
    assert meter.quality().score < 1.0
    meter.passes(WINDOW + 2 * SAMPLE_EVERY)
    assert meter.quality().score == 1.0


def test_the_parts_weigh_as_documented() -> None:
    assert WEIGHTS == {"missing": 0.35, "out_of_order": 0.15, "drift": 0.20, "mismatch": 0.30}
    assert sum(WEIGHTS.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("score", "verdict"), [(1.0, "publish"), (0.9, "publish"), (0.8999, "degrade"), (0.85, "degrade"), (0.84, "stop")]
)
def test_the_verdict(score: float, verdict: str) -> None:
    assert Quality(score, 0, 0, 0, 0, 300).verdict == verdict


def test_only_what_is_followed_has_a_quality() -> None:
    meter = Meter()
    with pytest.raises(KeyError):
        meter.meter.judge("OTHER", meter.at())


def test_samples_do_not_grow_and_go_with_their_symbol() -> None:
    meter = Meter()
    meter.passes(1_000)
    assert len(meter.meter.rounds().of(SYMBOL)) == WINDOW / SAMPLE_EVERY + 1
    meter.store.unfollow(meter.store.followed_keys())
    meter.passes(20)
    assert not list(meter.meter.rounds().symbols())
    assert not meter.meter.rounds().of(SYMBOL)


def test_a_symbol_that_is_followed_in_part_has_a_quality_too() -> None:
    store = MarketStore(Config(), lambda: 0.0)
    store.follow([Key(Kind.TRADES, SYMBOL)])
    meter = QualityMeter(store)
    assert meter.judge(SYMBOL, Moment(1.0, MIDNIGHT)).score == 1.0


def test_a_sample_of_what_has_changed_equals_one_of_everything() -> None:
    bench = Bench({"AUSDT": 12, "BUSDT": 5, "CUSDT": 0})
    bench.follow("CUSDT", intervals=("1h",))
    depth = Key(Kind.DEPTH, "BUSDT")
    bench.engine.follow(bench.store.follow([depth]), bench.at())
    meter = QualityMeter(bench.store)
    seen = set()

    def whole(symbol: str) -> Sample:
        exchange = bench.exchange() / 1000.0
        every = [each for key, each in bench.store.series.items() if key.symbol == symbol and not each.feed.spot]
        counts = Counts(*map(sum, zip(*(each.counts() for each in every), strict=True)))
        down = any(each.feed.own_stream and each.is_down(exchange) for each in every)
        late = any(each.link is not None and each.link.age(exchange) > DRIFT for each in every)
        return Sample(bench.now, counts, live=not down, drifted=late)

    def check() -> None:
        meter._due = 0.0
        meter.sample(bench.at())
        for symbol in bench.store.symbols:
            sample = meter.rounds()[-1].of(symbol)
            assert sample == whole(symbol)
            seen.add((sample.live, sample.drifted))

    def passes(seconds: float) -> None:
        for _ in range(int(seconds / 0.5)):
            check()
            bench.run(0.5)

    passes(30)
    bench.cut_route()
    passes(10)
    bench.dropped = lambda stream, frame: stream == "ausdt@kline_1m"
    passes(10)
    bench.dropped = lambda stream, frame: False
    for link in bench.links.values():
        link.watermark -= 5.0
    check()
    assert seen >= {(True, False), (False, False), (False, True)}
