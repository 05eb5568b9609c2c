"""What is noted about closed candles."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ats_sync.store.closed import ClosedCandles, Closing, Closings, Source
from ats_sync.store.packed import PackedRows

from ..venue import samples
from ..venue.samples import MIDNIGHT, MINUTE


@given(st.lists(st.tuples(st.integers(0, 2**40), st.sampled_from(Source)), max_size=300), st.integers(1, 50))
def test_the_newest_are_kept_and_few_others(noted: list[tuple[int, Source]], most: int) -> None:
    closings = Closings()
    for number, (at, source) in enumerate(noted):
        closings.note(MIDNIGHT + number * MINUTE, Closing(at, source), most)
    for number, (at, source) in list(enumerate(noted))[-most:]:
        assert closings.get(MIDNIGHT + number * MINUTE) == (at, source)
    assert closings.get(MIDNIGHT + len(noted) * MINUTE) is None
    assert len(closings) <= most + most // 4 + 1


def test_the_first_note_about_a_candle_stays() -> None:
    closings = Closings()
    closings.note(MIDNIGHT, Closing(5, Source.STREAM), 10)
    closings.note(MIDNIGHT, Closing(9, Source.REST), 10)
    assert closings.get(MIDNIGHT) == (5, Source.STREAM)
    assert closings.first() == MIDNIGHT


@given(st.integers(1, 200), st.integers(0, 150), st.data())
def test_each_packed_row_is_found_by_its_place(count: int, dropped: int, data: st.DataObject) -> None:
    texts = [b"%d,x" % number for number in range(count)]
    rows = PackedRows(b"],[")
    for text in texts:
        rows.append(text)
    dropped = min(dropped, count - 1)
    rows.drop_oldest(dropped)
    place = data.draw(st.integers(0, count - dropped - 1))
    assert rows.row(place) == texts[dropped + place]


@given(st.sets(st.integers(0, 150), min_size=1), st.integers(-3, 155), st.integers(-1, 1))
def test_the_first_row_from_a_time_on_is_found_across_holes(there: set[int], number: int, off: int) -> None:
    closed = ClosedCandles("1m", 500)
    rows = [(at, samples.row_text(samples.row(at))) for at in (MIDNIGHT + n * MINUTE for n in sorted(there))]
    closed.begin(rows[0][0])
    closed.merge(rows, rows[-1][0] + MINUTE)
    opened = MIDNIGHT + number * MINUTE + off
    expected = next((text for at, text in rows if at >= opened), None)
    assert closed.at_or_after(opened) == expected
