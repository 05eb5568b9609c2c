from __future__ import annotations

from ats_sync.store.trade_columns import TradeColumns
from ats_sync.venue.trades import Trade, trades_text

from ..venue import samples
from ..venue.everything import stream_trade


def trades(first: int, count: int) -> list[Trade]:
    return [stream_trade(samples.trade_frame(number)) for number in range(first, first + count)]


def columns_of(found: list[Trade]) -> TradeColumns:
    return TradeColumns.of(found[0].id, trades_text(found)[1:-1], len(found))


def listed(columns: TradeColumns) -> list[tuple[int, float, float, int, bool]]:
    items = zip(columns.prices, columns.quantities, columns.times, columns.makers, strict=True)
    return [(columns.first + i, price, qty, at, maker == 1) for i, (price, qty, at, maker) in enumerate(items)]


def expected(found: list[Trade]) -> list[tuple[int, float, float, int, bool]]:
    return [(each.id, float(each.price), float(each.quantity), each.time, each.buyer_is_maker) for each in found]


def test_columns_are_the_numbers_of_the_trades() -> None:
    columns = columns_of(trades(7, 5))
    assert listed(columns) == expected(trades(7, 5))
    assert (len(columns), columns.after) == (5, 12)


def test_columns_are_joined_and_cut() -> None:
    joined = columns_of(trades(7, 5)).joined(columns_of(trades(12, 3)))
    assert listed(joined) == expected(trades(7, 8))
    assert listed(joined.last(4)) == expected(trades(11, 4))
    assert listed(joined.last(99)) == listed(joined)
    assert listed(joined.last(0)) == []


def test_a_cut_is_a_copy() -> None:
    columns = columns_of(trades(1, 3))
    columns.last(3).prices[0] = -1.0
    assert listed(columns) == expected(trades(1, 3))
