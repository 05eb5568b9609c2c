from __future__ import annotations

import pytest

from ats_sync.errors import RequestTimeout, StaleDataError
from ats_sync.feeds import Key, Kind
from ats_sync.queries.candles import KlineColumns, Klines
from ats_sync.store.link import DOWN
from ats_sync.venue.intervals import MINUTE

from ..desk import SYMBOL, Body, Desk
from ..venue import samples
from ..venue.samples import MIDNIGHT

KEY = Key(Kind.KLINES, SYMBOL, "1m")
ROWS = [samples.row(MIDNIGHT + (i - 9) * MINUTE, length=MINUTE, trades=3) for i in range(10)]


def warm() -> Desk:
    desk = Desk(KEY)
    desk.later(30.0)
    desk.merge(KEY, ROWS, limit=10)
    desk.store.klines(SYMBOL, "1m").go_live(desk.link)
    return desk


def test_fresh_candles_come_from_memory() -> None:
    desk = warm()
    assert desk.read(Klines(Key(Kind.KLINES, SYMBOL, "1m"), 5, None, exact=True)) == ROWS[-5:]
    columns = desk.read(KlineColumns(KEY, 5, None))
    assert list(columns[0]) == [row[0] for row in ROWS[-5:]]
    assert desk.asked == []
    assert desk.counters.hits == 2


def test_what_is_not_followed_is_requested() -> None:
    desk = warm()
    texts = [samples.row_text(row) for row in ROWS]
    desk.answers = [texts, texts]
    assert desk.read(Klines(Key(Kind.KLINES, SYMBOL, "5m"), 4, None, exact=True)) == ROWS[-4:]
    assert desk.wanted == [Key(Kind.KLINES, SYMBOL, "5m")]
    desk.read(Klines(Key(Kind.KLINES, "ETHUSDT", "5m"), 4, None, exact=True))
    assert len(desk.wanted) == 1, "nobody watches it"
    assert [fetch.request.rows for fetch in desk.asked] == [4, 4]


def test_what_is_in_doubt_is_requested_from_the_open_candle_on() -> None:
    desk = warm()
    desk.link.up = False
    desk.answers = [Body(samples.compact(ROWS[-2:]))]
    assert desk.read(Klines(Key(Kind.KLINES, SYMBOL, "1m"), 5, None, exact=True)) == ROWS[-5:]
    assert [fetch.request.rows for fetch in desk.asked] == [2]


def test_while_the_time_is_in_doubt_memory_is_not_taken_for_newer_than_the_answer() -> None:
    desk = warm()
    desk.clock.doubt()
    recomputed = [ROWS[-2], samples.row(MIDNIGHT, length=MINUTE, trades=1)]
    desk.answers = [Body(samples.compact(recomputed))]
    assert desk.read(Klines(KEY, 5, None, exact=True)) == [*ROWS[-5:-2], *recomputed]


def test_an_answer_that_found_the_candles_begun_again_is_not_completed_from_earlier_ones() -> None:
    desk = warm()
    desk.link.up = False
    relisted = [samples.row(MIDNIGHT + i * MINUTE, length=MINUTE, trades=9) for i in (-1, 0)]

    def listed_again() -> Body:
        desk.store.begin_again([KEY], desk.clock.exchange_ms() + 1)
        return Body(samples.compact(relisted))

    desk.answers = [listed_again, Body(samples.compact(relisted))]
    assert desk.read(Klines(KEY, 5, None, exact=True)) == relisted
    assert [fetch.request.rows for fetch in desk.asked] == [2, 5]


def test_an_answer_that_does_not_count_refreshes_nothing() -> None:
    desk = Desk(KEY)
    desk.store.begin_again([KEY], desk.clock.exchange_ms() + 31_000)
    desk.later(40.0)
    desk.merge(KEY, ROWS, limit=10)
    desk.store.klines(SYMBOL, "1m").go_live(desk.link)
    desk.link.up = False
    desk.clock.set_exchange(MIDNIGHT / 1000 + 20.0, MIDNIGHT / 1000 + 41.0)
    newer = [*ROWS[-3:-1], samples.row(MIDNIGHT, length=MINUTE, trades=8)]
    desk.answers = [Body(samples.compact(newer[-2:])), Body(samples.compact(newer))]
    assert desk.read(Klines(KEY, 3, None, exact=True)) == newer


def test_more_rows_than_memory_has_are_all_requested() -> None:
    desk = Desk(KEY)
    desk.later(30.0)
    desk.merge(KEY, ROWS, limit=10)
    desk.merge(KEY, ROWS[-3:], limit=3)
    desk.store.klines(SYMBOL, "1m").go_live(desk.link)
    desk.answers = [[samples.row_text(row) for row in ROWS]]
    desk.read(Klines(Key(Kind.KLINES, SYMBOL, "1m"), 50, None, exact=True))
    assert [fetch.request.rows for fetch in desk.asked] == [50]


def test_where_rest_fails_what_is_known_stands_in_the_error() -> None:
    desk = warm()
    desk.link.up = False
    desk.answers = [RequestTimeout("x")]
    with pytest.raises(StaleDataError) as caught:
        desk.read(Klines(Key(Kind.KLINES, SYMBOL, "1m"), 5, None, exact=True))
    assert caught.value.data == ROWS[-5:]


def test_the_error_says_why_young_data_is_not_trusted() -> None:
    desk = warm()
    desk.link.up = False
    desk.answers = [RequestTimeout("x"), RequestTimeout("x")]
    with pytest.raises(StaleDataError, match=rf"\(its bound is 3 s, but {DOWN}\)"):
        desk.read(Klines(KEY, 5, None, exact=True))
    desk.later(20.0)
    with pytest.raises(StaleDataError, match=r"old \(its bound is 3 s\) and"):
        desk.read(Klines(KEY, 5, None, exact=True))


def slow(desk: Desk, *, lasts: float) -> None:
    """Merge an answer of ``/time`` that was under way for this long: the exchange's time is its early end or any later
    one."""
    now = desk.clock.wall()
    desk.clock.set_exchange(now, now + lasts)


def test_no_row_is_shown_before_its_candle_has_begun_where_the_request_path_is_slow() -> None:
    desk = warm()
    slow(desk, lasts=2.9)  # it was slow on the way out, so the early end is right
    desk.later(28.6)
    rows = desk.read(Klines(Key(Kind.KLINES, SYMBOL, "1m"), 5, None, exact=True))
    assert rows == ROWS[-5:]
    desk.later(1.5)
    assert desk.read(Klines(Key(Kind.KLINES, SYMBOL, "1m"), 5, None, exact=True))[-1][0] == MIDNIGHT + MINUTE
    assert desk.asked == []


def test_where_the_way_back_is_slow_events_show_that_the_candle_has_begun() -> None:
    desk = warm()
    slow(desk, lasts=2.9)  # it was slow on the way back, so the late end is right
    desk.later(28.0)
    now = round(desk.clock.exchange() * 1000)
    desk.clock.saw_event(now - 50)
    rows = desk.read(Klines(Key(Kind.KLINES, SYMBOL, "1m"), 5, None, exact=True))
    assert rows[-1][0] == MIDNIGHT + MINUTE
    assert desk.asked == []
