from __future__ import annotations

import pytest

from ats_sync.engine.remedies import GIVEN_UP_FOR
from ats_sync.feeds import Key, Kind

from .bench import Bench, deep


@pytest.mark.parametrize(
    ("stream", "kind", "within"),
    [
        ("ausdt@kline_1m", Kind.KLINES, 3.5),
        ("ausdt@aggTrade", Kind.TRADES, 3.5),
        ("ausdt@depth20@100ms", Kind.BOOK, 6.5),
    ],
)
def test_a_stream_that_dies_alone_is_suspected_and_subscribed_to_again(stream: str, kind: Kind, within: float) -> None:
    bench = Bench([deep("AUSDT", 60), deep("BUSDT", 60)])
    bench.warm()
    key = next(key for key in bench.engine.reconciler.states if key.kind is kind and key.symbol == "AUSDT")
    state = bench.engine.reconciler.states[key]
    epoch = state.epoch
    bench.dropped = lambda told, frame: told == stream and state.epoch == epoch
    assert bench.run(within, until=lambda: state.link is None), "it was not noticed"
    assert bench.run(10, until=bench.all_live)
    assert state.remedies == 1
    bench.run(30)
    assert state.remedies == 1
    others = [each for each in bench.engine.reconciler.states.values() if each is not state]
    assert not any(each.remedies for each in others), "no other is suspected"
    assert bench.agrees()


def test_a_stream_that_no_attempt_revives_is_served_by_rest_and_tried_again_later() -> None:
    bench = Bench([deep("AUSDT", 60), deep("BUSDT", 60)])
    bench.warm()
    key = Key(Kind.KLINES, "AUSDT", "1m")
    bench.dropped = lambda told, frame: told == "ausdt@kline_1m"
    assert bench.run(60, until=lambda: key in bench.engine.reconciler.remedies.quarantined)
    assert "REST" in bench.series().state(bench.exchange()).suspected
    given_up = bench.seconds
    bench.run(GIVEN_UP_FOR - 10)
    assert key in bench.engine.reconciler.remedies.quarantined
    assert len(bench.of(Kind.KLINES, since=given_up + 1, symbol="AUSDT")) <= 15
    bench.dropped = lambda told, frame: False
    assert bench.run(30, until=bench.all_live)
    assert not bench.engine.reconciler.remedies.quarantined
    bench.run(70)
    assert bench.agrees()


def test_no_stream_is_blamed_for_a_quiet_market() -> None:
    bench = Bench([deep("AUSDT", 0), deep("BUSDT", 1), deep("CUSDT", 3)])
    bench.warm()
    bench.run(300)
    assert not any(state.remedies for state in bench.engine.reconciler.states.values())
