from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ats_sync.store import remembered
from ats_sync.store.remembered import SPARE, FloatColumns
from ats_sync.venue.klines import Row, float_rows, kline_text_of

from ..venue import samples
from ..venue.samples import MIDNIGHT, MINUTE


def texts(count: int, first: int = 0) -> list[bytes]:
    return [samples.row_text(samples.row(MIDNIGHT + number * MINUTE)) for number in range(first, first + count)]


def packed(found: list[bytes]) -> bytes:
    return b"],[".join(found)


def remember(floats: FloatColumns, found: list[bytes]) -> list[Row]:
    """Do what a series does with rows that are read again; return them as they were decoded."""
    rows = floats.decode(packed(found))
    floats.pack(rows)
    columns = floats.pack(rows)
    assert columns is not None
    floats.put(columns)
    return rows


def taken(floats: FloatColumns, count: int) -> list[Row]:
    columns = floats.take(count)
    assert columns is not None
    return floats.rows(columns)


def test_remembered_rows_are_what_decoding_gives() -> None:
    floats = FloatColumns()
    assert floats.take(1) is None
    remember(floats, texts(20))
    for count in (0, 1, 7, 20):
        assert taken(floats, count) == float_rows(texts(count, 20 - count))
    assert floats.take(21) is None
    floats.closed(texts(1, 20)[0])
    assert taken(floats, 5) == float_rows(texts(5, 16))
    floats.keep(3)
    assert taken(floats, 3) == float_rows(texts(3, 18))
    assert floats.take(4) is None
    assert floats.size > 0
    floats.forget()
    assert floats.take(1) is None
    assert floats.size == 0


def test_what_is_given_is_the_callers_own() -> None:
    floats = FloatColumns()
    decoded = remember(floats, texts(5))
    for row in (*decoded, *taken(floats, 5)):
        row[0] = row[4] = -1
    assert taken(floats, 5) == float_rows(texts(5))
    columns = floats.take(5)
    assert columns is not None
    for column in columns:
        del column[:1]
    columns.clear()
    assert taken(floats, 5) == float_rows(texts(5))


def test_floats_are_remembered_when_they_are_read_again() -> None:
    floats = FloatColumns()
    rows = floats.decode(packed(texts(5)))
    assert floats.pack(rows) is None
    assert floats.pack(rows) is not None


def test_only_as_much_is_remembered_as_was_ever_read_at_once() -> None:
    floats = FloatColumns()
    remember(floats, texts(40))
    floats.take(10)
    for number in range(40, 100):
        floats.closed(texts(1, number)[0])
        assert taken(floats, 10) == float_rows(texts(10, number - 9))
    assert floats.take(10 + SPARE + 1) is None
    floats.take(90)
    for number in range(100, 160):
        floats.closed(texts(1, number)[0])
    assert taken(floats, 90) == float_rows(texts(90, 70)), "a reader of more rows is given room"


def test_the_history_of_a_young_contract_grows() -> None:
    floats = FloatColumns()
    remember(floats, texts(3))
    for number in range(3, 3 * SPARE):
        assert taken(floats, number) == float_rows(texts(number))
        floats.closed(texts(1, number)[0])


def test_series_with_other_times_never_share_them() -> None:
    one, other = FloatColumns(), FloatColumns()
    holed = texts(2) + texts(8, 4)
    remember(one, texts(10))
    remember(other, holed)
    for _ in range(2):
        assert taken(other, 10) == float_rows(holed)
        assert taken(one, 10) == float_rows(texts(10))


def test_shared_times_are_bounded() -> None:
    floats = FloatColumns()
    remember(floats, texts(200))
    for count in range(1, 200):
        taken(floats, count)
    assert len(remembered._alike) <= remembered.MOST_ALIKE


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
def test_columns_contain_the_numbers_that_the_strings_represent(decimals: list[list[str]]) -> None:
    rows = [
        [MIDNIGHT + i, *row[:5], MIDNIGHT + i + 1, row[5], 7, *row[6:]]  # in the order of the exchange
        for i, row in enumerate(decimals)
    ]
    texts = [kline_text_of(row) for row in rows]
    expected = repr(float_rows(texts))
    decoded = FloatColumns.decode(packed(texts))
    assert repr(decoded) == expected, "to the last bit, and none is int"
    assert repr(FloatColumns.rows(FloatColumns.columns(decoded))) == expected
