from __future__ import annotations

import pytest

from ats_sync.store.candle import FINAL_BY_REST, FINAL_BY_STREAM, OPEN, Candle
from ats_sync.venue.payload import DecodeError

from ..venue import samples
from ..venue.samples import MIDNIGHT


def test_its_text_is_the_row_of_rest_whatever_it_came_as() -> None:
    row = samples.row(MIDNIGHT)
    text = samples.row_text(row)
    assert Candle(MIDNIGHT, OPEN, 1, 0, samples.kline_frame(row), True).text() == text
    assert Candle(MIDNIGHT, FINAL_BY_REST, 1, 0, text, False).text() == text
    with pytest.raises(DecodeError):
        Candle(MIDNIGHT, OPEN, 1, 0, b'{"data":{}}', True).text()


def test_only_an_open_one_is_not_final() -> None:
    finals = [Candle(MIDNIGHT, rank, 1, 0, b"", False).final for rank in (OPEN, FINAL_BY_STREAM, FINAL_BY_REST)]
    assert finals == [False, True, True]
