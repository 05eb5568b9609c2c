from __future__ import annotations

import importlib
import sys
from array import array
from collections.abc import Iterator
from typing import Any

import pytest

from ats_sync import DataManager, MissingExtra, NotRunning
from ats_sync.simulator import SimulatedExchange
from ats_sync.tables import COLUMNS, WHOLE, klines_array, klines_frame

from .support import from_memory, reads

pytest.importorskip("numpy")

FIRST = 1_700_000_000_000
ROWS: list[list[Any]] = [
    [FIRST + i * 60_000, 1.5 + i, 2.5, 0.5, 2.0, 10.25, FIRST + i * 60_000 + 59_999, 20.5, 7 + i, 5.0, 10.0, 0.0]
    for i in range(3)
]


def columns_of(rows: list[list[Any]]) -> list[Any]:
    return [array("q" if name in WHOLE else "d", [row[index] for row in rows]) for index, name in enumerate(COLUMNS)]


@pytest.fixture(autouse=True, scope="module")
def pandas() -> Any:
    """Load the package where it is used: each process of the suite collects this file."""
    return pytest.importorskip("pandas")


@pytest.fixture(scope="module")
def dm() -> Iterator[DataManager]:
    with (
        SimulatedExchange(symbols=["BTCUSDT"], seed=7) as exchange,
        DataManager(["BTCUSDT"], ["1h", "1M"], config=exchange.config()) as manager,
    ):
        yield manager


@pytest.mark.parametrize("candles", [ROWS, columns_of(ROWS)], ids=["rows", "columns"])
def test_an_array_has_the_items_by_name(candles: Any) -> None:
    table = klines_array(candles)
    assert table.dtype.names == COLUMNS
    assert {name: table.dtype[name].kind for name in COLUMNS} == {
        name: "i" if name in WHOLE else "f" for name in COLUMNS
    }
    assert [list(row) for row in table.tolist()] == ROWS


@pytest.mark.parametrize("candles", [[], columns_of([])], ids=["rows", "columns"])
def test_no_candles_are_an_empty_table(candles: Any) -> None:
    assert len(klines_array(candles)) == 0
    assert len(klines_frame(candles)) == 0


def test_a_frame_is_indexed_by_open_time(pandas: Any) -> None:
    frame = klines_frame(columns_of(ROWS))
    assert frame.index.name == "open_time"
    assert str(frame.index.tz) == "UTC"
    assert list(frame.columns) == [name for name in COLUMNS if name not in ("open_time", "ignore")]
    first = frame.iloc[0]
    assert frame.index[0] == pandas.Timestamp(ROWS[0][0], unit="ms", tz="UTC")
    assert first["close_time"] == pandas.Timestamp(ROWS[0][6], unit="ms", tz="UTC")
    assert (first["open"], first["trades"]) == (1.5, 7)
    assert str(frame["trades"].dtype) == "int64"
    assert frame.resample("2min").agg({"high": "max"}).shape == (2, 1)


@pytest.mark.parametrize("form", [list, columns_of], ids=["rows", "columns"])
@pytest.mark.parametrize("count", [0, 1, 300])
def test_a_frame_is_what_pandas_itself_makes_of_the_rows(pandas: Any, form: Any, count: int) -> None:
    rows = [
        [FIRST + i * 60_000, 0.1 * i, 2.5, 0.5, 2.0, 7.5 * i, FIRST + i * 60_000 + 59_999, 20.5, i, 5.0, 1e-9 * i, 0.0]
        for i in range(count)
    ]
    kinds = {name: "int64" if name in WHOLE else "float64" for name in COLUMNS}
    plain = pandas.DataFrame(rows, columns=list(COLUMNS)).astype(kinds)
    for name in ("open_time", "close_time"):
        plain[name] = pandas.to_datetime(plain[name].astype("int64"), unit="ms", utc=True)
    expected = plain.set_index("open_time").drop(columns="ignore")
    expected.columns = pandas.Index(list(expected.columns))
    frame = klines_frame(form(rows))
    pandas.testing.assert_frame_equal(frame, expected, check_exact=True, check_column_type="equiv")
    assert frame.index.dtype == expected.index.dtype
    assert frame.index.name == "open_time"


@pytest.mark.shared_threads
@pytest.mark.parametrize("limit", [1, 2, 300])
def test_the_manager_gives_what_get_klines_gives(dm: DataManager, limit: int) -> None:
    def between_two_trades() -> tuple[Any, Any, Any]:
        while True:
            rows = dm.get_klines("btcusdt", "1h", limit)
            table = dm.get_klines_array("btcusdt", "1h", limit)
            frame = dm.get_klines_frame("btcusdt", "1h", limit)
            if dm.get_klines("btcusdt", "1h", limit) == rows:
                return rows, table, frame

    rows, table, frame = from_memory(dm, between_two_trades)
    assert len(rows) == limit
    assert [list(row) for row in table.tolist()] == rows
    assert frame["close"].tolist() == [row[4] for row in rows]


@pytest.mark.shared_threads
def test_a_table_belongs_to_the_caller(dm: DataManager) -> None:
    table = dm.get_klines_array("BTCUSDT", "1h", 50)
    frame = dm.get_klines_frame("BTCUSDT", "1h", 50)
    table["close"] = -1.0
    frame.loc[:, "close"] = -1.0
    frame.iloc[:, 0] = -1.0
    assert (frame["open"] == -1.0).all()
    assert (dm.get_klines_frame("BTCUSDT", "1h", 50)[["open", "close"]] > 0).all(axis=None)
    assert all(row[4] > 0 for row in dm.get_klines("BTCUSDT", "1h", 50))


@pytest.mark.shared_threads
def test_what_is_not_followed_comes_by_rest(dm: DataManager) -> None:
    before = reads(dm)
    assert len(dm.get_klines_array("BTCUSDT", "5m", 40)) == 40
    assert reads(dm) == before + 1


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtra, match=r"ats-sync\[frames\]"):
        klines_frame(ROWS)
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(MissingExtra, match=r"ats-sync\[arrays\]"):
        klines_array(ROWS)


def test_neither_is_loaded_by_the_import_alone() -> None:
    tables = importlib.import_module("ats_sync.tables")
    assert not hasattr(tables, "numpy")
    assert not hasattr(tables, "pandas")


def test_without_a_running_manager_it_says_so() -> None:
    with pytest.raises(NotRunning):
        DataManager(["BTCUSDT"]).get_klines_array("BTCUSDT", "1h")
