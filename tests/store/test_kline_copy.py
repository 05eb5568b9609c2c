"""How other processes see series of candles."""

from __future__ import annotations

from ats_sync.store.order import REORDERED_WITHIN

from ..venue import samples
from ..venue.samples import MIDNIGHT
from .candles import LINK, Truth, asked, series_of, warmed


def test_a_copy_is_read_as_the_original_and_its_body_is_sent_only_as_it_changes() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 9, 5, 6, 2, 8])
    series, copy = warmed(truth, 1), series_of(truth)
    series.go_live(LINK)
    mark: object = None
    bodies: list[bool] = []

    def copy_again(now: int) -> None:
        nonlocal mark
        copied = series.copied(mark)
        mark = copied.mark
        bodies.append(copied.body is not None)
        assert copy.take_copy(copied)
        assert copy.state(now) == series.state(now)
        for exact in (True, False):
            assert copy.rows(10, now, exact=exact) == series.rows(10, now, exact=exact)
        assert copy.closing(truth.opens[1]) == series.closing(truth.opens[1])

    copy_again(truth.opens[1])
    for trades in range(1, 6):
        series.apply(truth.frame(1, trades), LINK)
        copy_again(truth.told_at(1, trades))
    series.apply(truth.frame(1, final=True), LINK)
    copy_again(truth.opens[2])
    series.apply(truth.frame(3, 1), LINK)
    copy_again(truth.told_at(3, 1))
    assert copy.state(truth.told_at(3, 1)).doubt, "a candle is missing"
    series.suspect("silent")
    copy_again(truth.told_at(3, 2))
    assert bodies == [True, *[False] * 5, True, False, False]


def test_a_copy_shows_a_contradiction_and_its_end() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 9])
    series, copy = warmed(truth, 1), series_of(truth)
    at = truth.told_at(1, 5)
    series.apply(truth.frame(1, 5), LINK)
    series.apply(samples.kline_frame(truth.row(1, 2), event=at + 1), LINK)
    copy.take_copy(series.copied())
    assert copy.state(at + 2) == series.state(at + 2)
    later = at + 2 + REORDERED_WITHIN
    assert copy.state(later) == series.state(later)
    series.apply(truth.frame(1, 6), LINK)
    copy.take_copy(series.copied())
    assert copy.state(truth.told_at(1, 6)) == series.state(truth.told_at(1, 6))
    assert not copy.state(truth.told_at(1, 6)).doubt


def test_a_copy_is_in_doubt_for_the_same_reason() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6])
    series, copy = warmed(truth, 1), series_of(truth)
    now = asked(truth, 1)
    series.apply(truth.frame(1, 2), LINK)
    for doubted, change in ((True, lambda: series.note_recounted(now)), (False, series.note_listed)):
        form = series.copied().form
        change()
        assert series.frame_alone(form) is None, "the frame alone does not say so"
        assert copy.take_copy(series.copied())
        assert ("ids" in copy.state(now).doubt) is doubted


def test_while_only_the_open_candle_changes_its_frame_is_all_that_is_sent() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 9, 5])
    series, copy = warmed(truth, 1), series_of(truth)
    series.apply(truth.frame(1, 2), LINK)
    copied = series.copied()
    assert copied.texts == [truth.frame(1, 2)]
    assert copy.take_copy(copied)
    assert copy.rows(5, None, exact=True) == series.rows(5, None, exact=True)
    series.apply(truth.frame(1, 3), LINK)
    assert series.frame_alone(copied.form) == truth.frame(1, 3)
    series.apply(samples.kline_frame(truth.row(1, 1), event=truth.told_at(1, 3) + 1), LINK)
    assert series.frame_alone(copied.form) is None, "a contradiction is no frame alone"
    series.apply(truth.frame(1, final=True), LINK)
    series.apply(truth.frame(2, 1), LINK)
    assert series.frame_alone(copied.form) is None, "a candle has closed"
