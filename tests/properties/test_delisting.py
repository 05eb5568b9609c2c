"""A symbol is delisted: its reads say so, it costs nothing more, and the others go on."""

from __future__ import annotations

import pytest

from ats_sync.errors import InvalidSymbol
from ats_sync.feeds import Key, Kind
from ats_sync.queries.candles import Klines
from ats_sync.reads import memory_only

from ..virtual.faults import Cut, Delist, Rest, Shutdown
from ..virtual.schedules import MEETING_KINDS, fixed
from ..virtual.script import Setting
from ..virtual.world import Read, Schedule, run


@pytest.mark.parametrize(("setting", "symbol"), [(0, 0), (0, 1), (3, 1), (3, 2)])
def test_a_delisted_symbol_is_noticed_and_left_alone(setting: int, symbol: int) -> None:
    names = ("BTCUSDT", "币安人生USDT", "BTCDOMUSDT")
    world = run(
        Schedule(
            setting,
            seed=symbol,
            faults=(Delist(20_000, names[symbol]), Cut(120_000)),
            reads=(Read(200_000, "klines", symbol), Read(230_000, "trades", symbol)),
        )
    )
    assert set(world.process.store.delisted) == {names[symbol]}
    assert world.served["raised"] == 2
    with memory_only(), pytest.raises(InvalidSymbol, match=names[symbol]):
        world.process.reads.read(Klines(Key(Kind.KLINES, names[symbol], "1m"), 5, None, exact=True), len)
    requests = world.exchange.asked[names[symbol]]
    assert [at for at in requests if at > world.line.start + 200_000] == []


def test_the_last_one_is_live_again_after_a_cut_though_it_is_halted() -> None:
    """A symbol that nobody follows is still quoted, which shows that the streams are alive."""
    setting = Setting(
        511109,
        1_795_391_997_000,
        ("BTCUSDT", "1000PEPEUSDT"),
        ("1m", "1M"),
        0.0015,
        script=((960, "halt", "BTCUSDT"),),
        book_ticks=(1500, 1500),
    )
    faults = (
        Rest(23_750, 18_100, "shape"),
        Shutdown(15_400, 10_000, "market"),
        Delist(10_850, "1000PEPEUSDT"),
        Cut(22_250, "public"),
    )
    run(Schedule(setting, 474912, faults, connection_max_age=25.0))


@pytest.mark.parametrize("number", [3, 6, 12, 27, 31, 71])
def test_the_promises_hold_whatever_else_happens_to_the_market(number: int) -> None:
    run(fixed("delisting", number, MEETING_KINDS))
