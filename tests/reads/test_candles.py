from __future__ import annotations

import pytest

from ats_sync.errors import RequestTimeout, StaleDataError
from ats_sync.feeds import Key, Kind
from ats_sync.venue.intervals import MINUTE

from ..venue import samples
from ..venue.samples import MIDNIGHT
from .desk import SYMBOL, Desk

KEY = Key(Kind.KLINES, SYMBOL, "1m")
ROWS = [samples.row(MIDNIGHT + (i - 9) * MINUTE, length=MINUTE, trades=3) for i in range(10)]


def warm() -> Desk:
    desk = Desk(KEY)
    desk.later(30.0)
    desk.merge(KEY, ROWS, limit=10)
    desk.store.klines[SYMBOL, "1m"].go_live(desk.link)
    return desk


def test_fresh_candles_come_from_memory() -> None:
    desk = warm()
    assert desk.reads.candles.rows(SYMBOL, "1m", 5, max_age=None, exact=True) == ROWS[-5:]
    columns = desk.reads.candles.columns(SYMBOL, "1m", 5, max_age=None)
    assert list(columns[0]) == [row[0] for row in ROWS[-5:]]
    assert desk.asked == []
    assert desk.counters.hits == 2


def test_what_is_not_followed_is_asked_for() -> None:
    desk = warm()
    texts = [samples.row_text(row) for row in ROWS]
    desk.answers = [texts, texts]
    assert desk.reads.candles.rows(SYMBOL, "5m", 4, max_age=None, exact=True) == ROWS[-4:]
    assert desk.wanted == [Key(Kind.KLINES, SYMBOL, "5m")]
    desk.reads.candles.rows("ETHUSDT", "5m", 4, max_age=None, exact=True)
    assert len(desk.wanted) == 1, "nobody watches it"
    assert [fetch.limit for fetch in desk.asked] == [4, 4]


def test_what_is_in_doubt_is_asked_for_from_the_open_candle_on() -> None:
    desk = warm()
    desk.link.up = False
    desk.answers = [[samples.row_text(row) for row in ROWS[-2:]]]
    assert desk.reads.candles.rows(SYMBOL, "1m", 5, max_age=None, exact=True) == ROWS[-5:]
    assert [fetch.limit for fetch in desk.asked] == [2]


def test_more_than_memory_has_is_asked_for_whole() -> None:
    desk = Desk(KEY)
    desk.later(30.0)
    desk.merge(KEY, ROWS, limit=10)
    desk.merge(KEY, ROWS[-3:], limit=3)
    desk.store.klines[SYMBOL, "1m"].go_live(desk.link)
    desk.answers = [[samples.row_text(row) for row in ROWS]]
    desk.reads.candles.rows(SYMBOL, "1m", 50, max_age=None, exact=True)
    assert [fetch.limit for fetch in desk.asked] == [50]


def test_where_rest_fails_what_is_known_stands_in_the_error() -> None:
    desk = warm()
    desk.link.up = False
    desk.answers = [RequestTimeout("x")]
    with pytest.raises(StaleDataError) as caught:
        desk.reads.candles.rows(SYMBOL, "1m", 5, max_age=None, exact=True)
    assert caught.value.data == ROWS[-5:]
