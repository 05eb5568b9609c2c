from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.errors import MalformedAnswer
from ats_sync.venue.klines import (
    flat_text,
    float_rows,
    kline_text,
    kline_texts,
    open_times,
    scan_kline,
    scan_kline_last_trade,
    string_rows,
    text_open_time,
    text_trades,
)
from ats_sync.venue.payload import DecodeError

from . import recording as real
from . import samples
from .everything import FINAL, scanned, shuffled
from .mutations import mutated, replaced
from .samples import MIDNIGHT, MINUTE, compact, frame


@settings(deadline=None, max_examples=40)
@given(st.randoms(use_true_random=False), st.sampled_from([None, 1]), st.booleans())
def test_a_kline_is_read_by_name_in_any_order(order: random.Random, indent: int | None, final: bool) -> None:
    row = samples.row(MIDNIGHT, trades=31)
    data = samples.kline_data(row, symbol="BTCUSDT", interval="1m", event=MIDNIGHT + 500, final=final)
    data |= {"st": 1, "ps": "BTCUSDT", "zz": [1, {"y": "1"}]}
    message = json.dumps(shuffled({"stream": "btcusdt@kline_1m", "data": data}, order), indent=indent).encode()
    assert scanned(message, scan_kline) == (MIDNIGHT, 31, final, MIDNIGHT + 500)
    assert scanned(message, scan_kline_last_trade) == data["k"]["L"]
    assert scanned(message, kline_text) == samples.row_text(row)


def test_a_kline_event_and_the_row_of_rest_have_one_text() -> None:
    rows = [samples.row(MIDNIGHT + i * MINUTE, trades=i) for i in range(3)]
    texts = kline_texts(compact(rows))
    assert texts == [samples.row_text(row) for row in rows]
    assert [kline_text(samples.kline_frame(row)) for row in rows] == texts
    assert string_rows(texts) == rows
    assert [text_open_time(text) for text in texts] == [row[0] for row in rows]
    assert [text_trades(text) for text in texts] == [0, 1, 2]


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.one_of(st.integers(1_000_000_000_000, 4_000_000_000_000), st.integers(0, 10**17)).map(
            lambda opened: b'%d,"1.5","2",3' % opened
        ),
        max_size=5,
    )
)
def test_open_times_are_those_of_each_text(texts: list[bytes]) -> None:
    assert open_times(texts) == [text_open_time(text) for text in texts]


def test_a_malformed_open_time_is_refused_wherever_it_is() -> None:
    good = [samples.row(MIDNIGHT + i * MINUTE, trades=1) for i in range(3)]
    for place in range(3):
        for wrong in (0, 999_999_999_999, 4_000_000_000_001, 10**16):
            rows = [[wrong, *row[1:]] if place == index else row for index, row in enumerate(good)]
            with pytest.raises(MalformedAnswer, match="open time"):
                kline_texts(compact(rows))


def test_floats_replace_the_strings() -> None:
    row = samples.row(MIDNIGHT)
    (floats,) = float_rows([samples.row_text(row)])
    assert floats == [float(value) if isinstance(value, str) else value for value in row]
    assert [type(value) for value in floats] == [int, *[float] * 5, int, float, int, float, float, float]


def test_an_empty_answer_has_no_rows() -> None:
    assert kline_texts(b"[]") == kline_texts(b" [ ] ") == []
    assert string_rows([]) == float_rows([]) == []


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=5), st.sampled_from([None, 1]))
def test_rows_with_white_space_are_the_same_rows(trades: list[int], indent: int | None) -> None:
    rows = [samples.row(MIDNIGHT + i * MINUTE, trades=n) for i, n in enumerate(trades)]
    assert kline_texts(json.dumps(rows, indent=indent).encode()) == kline_texts(compact(rows))


def test_the_flat_row_is_what_rest_shows() -> None:
    previous = samples.row(MIDNIGHT, price="0.00004120")
    flat = flat_text(MIDNIGHT + MINUTE, MIDNIGHT + 2 * MINUTE - 1, samples.row_text(previous))
    assert string_rows([flat]) == [samples.row(MIDNIGHT + MINUTE, price="0.00004120", trades=0)]


BAD_FIELDS: list[Any] = [
    None,
    "",
    "x",
    5,
    -1.5,
    True,
    [],
    {},
    "1,2",
    "1.2.3",
    ".",
    "1.",
    ".5",
    "--1",
    "nan",
    "inf",
    " 1",
    "1\n",
]


@pytest.mark.parametrize("index", [1, 2, 3, 4, 5, 7, 9, 10, 11])
@pytest.mark.parametrize("bad", BAD_FIELDS)
def test_a_row_with_a_bad_decimal_is_refused(index: int, bad: Any) -> None:
    rows = [samples.row(MIDNIGHT), samples.row(MIDNIGHT + MINUTE)]
    rows[1][index] = bad
    with pytest.raises(MalformedAnswer):
        kline_texts(compact(rows))


@pytest.mark.parametrize("index", [0, 6, 8])
@pytest.mark.parametrize("bad", [None, "", "5", 1.5, True, [], {}])
def test_a_row_with_a_bad_whole_number_is_refused(index: int, bad: Any) -> None:
    rows = [samples.row(MIDNIGHT), samples.row(MIDNIGHT + MINUTE)]
    rows[0][index] = bad
    with pytest.raises(MalformedAnswer):
        kline_texts(compact(rows))


@pytest.mark.parametrize(
    ("index", "raw"), [(0, b""), (6, b""), (8, b""), (0, b"."), (0, b"1.5"), (0, b"007"), (8, b"00"), (8, b".")]
)
def test_a_row_that_is_not_json_is_refused(index: int, raw: bytes) -> None:
    parts = [compact(value) for value in samples.row(MIDNIGHT)]
    parts[index] = raw
    with pytest.raises(MalformedAnswer):
        kline_texts(b"[[" + b",".join(parts) + b"]]")


@pytest.mark.parametrize(("opened", "event"), [(5, 10), (MIDNIGHT + 10 * MINUTE, MIDNIGHT), (10**18, 10**18)])
def test_a_candle_with_an_impossible_time_is_refused(opened: int, event: int) -> None:
    with pytest.raises(DecodeError):
        scan_kline(samples.kline_frame(samples.row(opened), event=event))
    with pytest.raises(MalformedAnswer):
        kline_texts(compact([samples.row(10**18)]))


@pytest.mark.parametrize("field", list("tohlcvTqnVQ"))
@pytest.mark.parametrize("bad", ["missing", "", None, [], "x"])
def test_a_candle_with_a_bad_field_has_no_text(field: str, bad: Any) -> None:
    data = samples.kline_data(samples.row(MIDNIGHT), symbol="A", interval="1m", event=MIDNIGHT, final=True)
    if bad == "missing":
        del data["k"][field]
    else:
        data["k"][field] = bad
    with pytest.raises(DecodeError):
        kline_text(frame("a@kline_1m", data))


def test_every_real_candle_is_scanned_and_decoded_alike(recording: Path) -> None:
    seen = list(real.of_stream(recording, "@kline_1m"))
    assert len(seen) == 67
    assert sum(data["k"]["x"] for _, data in seen) == 4
    for message, data in seen:
        k = data["k"]
        assert scan_kline(message) == (k["t"], k["n"], k["x"], data["E"])
        assert scan_kline_last_trade(message) == k["L"]
        expected = [k["t"], *(k[name] for name in "ohlcv"), k["T"], k["q"], k["n"], k["V"], k["Q"], k["B"]]
        assert string_rows([kline_text(message)]) == [expected]


@settings(deadline=None, max_examples=80)
@given(mutated(FINAL) | replaced(FINAL))
def test_a_candle_that_has_a_text_has_a_row(message: bytes) -> None:
    try:
        text = kline_text(message)
    except DecodeError:
        return
    (row,) = float_rows([text])
    assert len(row) == 12
    assert string_rows([text])[0][0] == text_open_time(text)
