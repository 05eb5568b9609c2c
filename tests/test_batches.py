"""The candles of many symbols as one table."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import pytest

from ats_sync import (
    DataManager,
    DataUnavailableError,
    InvalidArgument,
    InvalidSymbol,
    MissingExtra,
    NotInMemory,
    NotRunning,
    StaleDataError,
    memory_only,
)
from ats_sync.simulator import SimulatedExchange
from ats_sync.tables import COLUMNS

from .support import from_memory, reads, until

numpy = pytest.importorskip("numpy")
pytestmark = pytest.mark.shared_threads

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
YOUNG = "NEWUSDT"


@pytest.fixture(autouse=True, scope="module")
def pandas() -> None:
    """Load pandas, without which there are no frames. (Each process of the suite collects this file, and loads pandas
    only where it is used.)"""
    pytest.importorskip("pandas")


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(symbols=[*SYMBOLS, "XRPUSDT"], seed=11) as it:
        it.list_symbol(YOUNG, price=2.0)
        yield it


@pytest.fixture(scope="module")
def dm(exchange: SimulatedExchange) -> Iterator[DataManager]:
    with DataManager([*SYMBOLS, YOUNG], ["1h"], config=exchange.config(read_timeout=3.0)) as manager:
        yield manager


def rows_of(batch: Any, symbol: str) -> list[list[float]]:
    table = batch.array[batch.symbols.index(symbol)]
    return [list(row) for row in table[~numpy.isnan(table[:, 0])].tolist()]


@pytest.mark.parametrize("limit", [1, 2, 100])
def test_each_symbol_has_what_get_klines_gives(dm: DataManager, limit: int) -> None:
    def between_two_trades() -> tuple[Any, Any]:
        while True:
            singles = [dm.get_klines(symbol, "1h", limit) for symbol in dm.symbols]
            batch = dm.read_klines(interval="1h", limit=limit)
            if [dm.get_klines(symbol, "1h", limit) for symbol in dm.symbols] == singles:
                return singles, batch

    singles, batch = from_memory(dm, between_two_trades)
    assert batch.symbols == dm.symbols
    assert batch.columns == COLUMNS
    assert batch.array.shape == (len(dm.symbols), limit, len(COLUMNS))
    assert batch.array.dtype == numpy.float64
    assert batch.errors == {}
    assert [rows_of(batch, symbol) for symbol in batch.symbols] == singles


def test_a_shorter_history_is_empty_at_the_beginning(dm: DataManager) -> None:
    batch = dm.read_klines(["BTCUSDT", YOUNG], "1h", 50)
    young = batch.array[1]
    known = len(dm.get_klines(YOUNG, "1h", 50))
    assert 0 < known < 50
    assert numpy.isnan(young[: 50 - known]).all()
    assert not numpy.isnan(young[50 - known :]).any()


def test_a_frame_has_the_rows_of_the_single_frames(dm: DataManager) -> None:
    def between_two_trades() -> tuple[Any, Any]:
        while True:
            single = dm.get_klines_frame("ETHUSDT", "1h", 40)
            frame = dm.read_klines(SYMBOLS, "1h", 40).frame()
            if dm.get_klines_frame("ETHUSDT", "1h", 40).equals(single):
                return single, frame

    single, frame = from_memory(dm, between_two_trades)
    assert frame.index.names == ["symbol", "open_time"]
    assert len(frame) == 3 * 40
    assert frame.loc["ETHUSDT"].equals(single)
    assert list(frame.loc["ETHUSDT"].dtypes) == list(single.dtypes)
    assert frame["close"].unstack("symbol").shape == (40, 3)


def test_it_belongs_to_the_caller(dm: DataManager) -> None:
    batch = dm.read_klines(SYMBOLS, "1h", 30)
    batch.array[:] = -1.0
    assert all(row[4] > 0 for row in dm.get_klines("BTCUSDT", "1h", 30))


def test_what_is_not_followed_comes_by_rest(dm: DataManager) -> None:
    before = reads(dm)
    batch = dm.read_klines([*SYMBOLS, "XRPUSDT"], "5m", 20)
    assert not numpy.isnan(batch.array).any()
    assert reads(dm) == before + 4


def test_a_symbol_that_cannot_be_read_is_raised_or_named(exchange: SimulatedExchange, dm: DataManager) -> None:
    with pytest.raises(InvalidSymbol, match="NOSUCHUSDT"):
        dm.read_klines(["BTCUSDT", "NOSUCHUSDT"], "1h", 10)
    batch = dm.read_klines(["NOSUCHUSDT", "BTCUSDT"], "1h", 10, errors="name")
    assert list(batch.errors) == ["NOSUCHUSDT"]
    assert isinstance(batch.errors["NOSUCHUSDT"], InvalidSymbol)
    assert numpy.isnan(batch.array[0]).all()
    assert not numpy.isnan(batch.array[1]).any()
    assert set(batch.frame().index.get_level_values("symbol")) == {"BTCUSDT"}


def test_on_the_thread_of_an_event_loop_nothing_is_requested(dm: DataManager) -> None:
    before = reads(dm)
    with memory_only():
        batch = dm.read_klines(["BTCUSDT", "XRPUSDT"], "1h", 10, errors="name")
        with pytest.raises(NotInMemory):
            dm.read_klines(["XRPUSDT"], "1h", 10)
    assert isinstance(batch.errors["XRPUSDT"], NotInMemory)
    assert reads(dm) == before


def test_where_neither_stream_nor_rest_answers_every_symbol_is_named(exchange: SimulatedExchange) -> None:
    with DataManager(SYMBOLS, ["1h"], config=exchange.config(read_timeout=1.0)) as dm:
        exchange.fail_rest("503")
        exchange.refuse()
        try:
            exchange.cut(how="reset")
            until(lambda: dm.status().state.value != "live")
            batch = dm.read_klines(SYMBOLS, "1h", 10, max_age=0.0, errors="name")
        finally:
            exchange.clear_faults()
        assert set(batch.errors) == set(SYMBOLS)
        assert all(isinstance(error, (StaleDataError, DataUnavailableError)) for error in batch.errors.values())
        assert numpy.isnan(batch.array).all()


def test_bad_input_is_refused_before_anything_is_requested(dm: DataManager) -> None:
    with pytest.raises(InvalidArgument, match="errors"):
        dm.read_klines(SYMBOLS, "1h", 10, errors="ignore")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="limit"):
        dm.read_klines(SYMBOLS, "1h", 0)
    with pytest.raises(InvalidArgument, match="empty"):
        dm.read_klines([], "1h", 10)
    with pytest.raises(NotRunning):
        DataManager(SYMBOLS).read_klines()


def test_a_missing_package_is_named_with_its_extra(dm: DataManager, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = dm.read_klines(SYMBOLS, "1h", 10)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match=r"ats-sync\[frames\]"):
        batch.frame()
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(MissingExtra, match=r"ats-sync\[arrays\]"):
        dm.read_klines(SYMBOLS, "1h", 10)
