from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ats_sync.store import remembered
from ats_sync.store.remembered import READ_MORE_OFTEN, ROW_BYTES, ExactRows, FloatColumns, RowBudget
from ats_sync.venue.klines import float_rows, kline_text_of, string_rows

from ..venue import samples
from ..venue.samples import MIDNIGHT, MINUTE


def texts(count: int, first: int = 0) -> list[bytes]:
    return [samples.row_text(samples.row(MIDNIGHT + number * MINUTE)) for number in range(first, first + count)]


def memos() -> list[Any]:
    return [FloatColumns(), ExactRows(RowBudget(100 * ROW_BYTES))]


def packed(found: list[bytes]) -> bytes:
    return b"],[".join(found)


def remember(memo: Any, found: list[bytes]) -> Any:
    """What a series does with rows that are read again; return them as they were decoded."""
    rows = memo.decode(packed(found))
    memo.pack(rows)
    memo.put(memo.pack(rows))
    return rows


def rows_of(memo: Any, found: list[bytes]) -> list[list[Any]]:
    return string_rows(found) if isinstance(memo, ExactRows) else float_rows(found)


@pytest.mark.parametrize("memo", memos(), ids=["floats", "strings"])
def test_decoded_rows_are_what_decoding_gives(memo: Any) -> None:
    assert memo.take(1) is None
    remember(memo, texts(20))
    for count in (0, 1, 7, 20):
        picked = memo.take(count)
        assert memo.rows(picked) == rows_of(memo, texts(count, 20 - count))
    assert memo.take(21) is None
    memo.closed(texts(1, 20)[0])
    assert memo.rows(memo.take(5)) == rows_of(memo, texts(5, 16))
    memo.keep(3)
    assert memo.rows(memo.take(3)) == rows_of(memo, texts(3, 18))
    assert memo.take(4) is None
    assert memo.size > 0
    memo.forget()
    assert memo.take(1) is None
    assert memo.size == 0


@pytest.mark.parametrize("memo", memos(), ids=["floats", "strings"])
def test_what_is_given_is_the_callers_own(memo: Any) -> None:
    remember(memo, texts(5))
    for row in memo.rows(memo.take(5)):
        row[0] = row[4] = -1
    assert memo.rows(memo.take(5)) == rows_of(memo, texts(5))
    picked = memo.take(5)
    if isinstance(memo, FloatColumns):
        for column in picked:
            del column[:1]
    picked.clear()
    assert memo.rows(memo.take(5)) == rows_of(memo, texts(5))


@pytest.mark.parametrize("memo", memos(), ids=["floats", "strings"])
def test_what_was_just_decoded_is_the_callers_own_too(memo: Any) -> None:
    decoded = remember(memo, texts(5))
    assert decoded == rows_of(memo, texts(5))
    for row in decoded:
        row[0] = row[4] = -1
    assert memo.rows(memo.take(5)) == rows_of(memo, texts(5))


def test_floats_are_remembered_when_they_are_read_again() -> None:
    memo = FloatColumns()
    rows = memo.decode(packed(texts(5)))
    assert memo.pack(rows) is None
    assert memo.pack(rows) is not None
    memo.release()
    assert memo.pack(rows) is None


def test_series_with_other_times_never_share_them() -> None:
    one, other = FloatColumns(), FloatColumns()
    holed = texts(2) + texts(8, 4)
    remember(one, texts(10))
    remember(other, holed)
    for _ in range(2):
        assert other.rows(other.take(10) or []) == float_rows(holed)
        assert one.rows(one.take(10) or []) == float_rows(texts(10))


def test_shared_times_are_bounded() -> None:
    memo = FloatColumns()
    remember(memo, texts(200))
    for count in range(1, 200):
        memo.rows(memo.take(count) or [])
    assert len(remembered._alike) <= remembered.MOST_ALIKE


def filled(budget: RowBudget, count: int = 10) -> ExactRows:
    rows = ExactRows(budget)
    remember(rows, texts(count))
    return rows


def test_the_budget_is_kept_and_who_came_first_stays() -> None:
    budget = RowBudget(25 * ROW_BYTES)
    first, second, third = filled(budget), filled(budget), filled(budget)
    assert [rows.take(10) is not None for rows in (first, second, third)] == [True, True, False]
    assert sum(rows.size for rows in (first, second, third)) <= 25 * ROW_BYTES


def missed(rows: ExactRows) -> bool:
    """Read as a series does; whether they had to be decoded."""
    if rows.take(10) is not None:
        return False
    remember(rows, texts(10))
    return True


def test_what_nobody_reads_makes_room() -> None:
    budget = RowBudget(25 * ROW_BYTES)
    first, second = filled(budget), filled(budget)
    late = ExactRows(budget)
    for _ in range(2 * READ_MORE_OFTEN + 2):
        assert not missed(first), "it is read all the time"
        missed(late)
    assert late.take(10) is not None
    assert second.take(10) is None


def test_a_scan_round_more_than_fits_finds_the_same_ones_each_time() -> None:
    budget = RowBudget(35 * ROW_BYTES)
    scanned = [ExactRows(budget) for _ in range(10)]
    rounds = [[number for number, rows in enumerate(scanned) if not missed(rows)] for _ in range(20)]
    assert rounds[1:] == [[0, 1, 2]] * 19


def test_what_is_needed_more_than_a_scan_needs_it_finds_room() -> None:
    budget = RowBudget(35 * ROW_BYTES)
    scanned = [ExactRows(budget) for _ in range(10)]
    hot = ExactRows(budget)
    found = []
    for _ in range(3):
        for rows in scanned:
            missed(rows)
            found.append(not missed(hot))
    assert all(found[10:])


def test_released_room_is_for_others() -> None:
    budget = RowBudget(10 * ROW_BYTES)
    first = filled(budget)
    first.release()
    assert first.take(1) is None
    assert filled(budget).take(10) is not None


def test_growing_counts_what_was_kept_before() -> None:
    budget = RowBudget(10 * ROW_BYTES)
    rows = filled(budget, 4)
    remember(rows, texts(10))
    assert rows.take(10) is not None
    remember(rows, texts(11))
    assert rows.take(1) is None
    assert filled(budget).take(10) is not None


DECIMALS = st.one_of(
    st.from_regex(r"\A[0-9]{1,30}(\.[0-9]{1,20})?\Z"),
    st.sampled_from(
        [
            "0",
            "007.50",
            "1234567",
            "18446744073709551617",
            "9007199254740993",
            "-1.5",
            "-0",
            "1E-7",
            "1e5",
            "0.1",
            "5e-324",
            "1e400",
        ]
    ),
)


@given(st.lists(st.lists(DECIMALS, min_size=9, max_size=9), min_size=1, max_size=4))
def test_columns_have_the_numbers_that_the_strings_stand_for(decimals: list[list[str]]) -> None:
    rows = [
        [MIDNIGHT + i, *row[:5], MIDNIGHT + i + 1, row[5], 7, *row[6:]]  # in the order of the exchange
        for i, row in enumerate(decimals)
    ]
    texts = [kline_text_of(row) for row in rows]
    expected = repr(float_rows(texts))
    decoded = FloatColumns.decode(packed(texts))
    assert repr(decoded) == expected, "to the last bit, and none is int"
    assert repr(FloatColumns.rows(FloatColumns.columns(decoded))) == expected
