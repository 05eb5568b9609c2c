from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ats_sync.store.history import History

STEP = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 90)),
    st.tuples(st.just("drop"), st.integers(0, 40)),
    st.tuples(st.just("replace"), st.integers(0, 60)),
)


def text(number: int) -> bytes:
    return b'%d,"%d.5","1"' % (number, number * number)


def agrees(history: History, rows: list[bytes]) -> None:
    assert len(history) == len(rows)
    assert bool(history) == bool(rows)
    assert history.texts() == rows
    for count in (0, 1, 2, len(rows) // 2, len(rows) - 1, len(rows), len(rows) + 5):
        if count >= 0:
            assert history.newest(count) == rows[max(0, len(rows) - count) :]
    if rows:
        assert (history.first(), history.last()) == (rows[0], rows[-1])
    else:
        for end in (history.first, history.last):
            with pytest.raises(IndexError):
                end()


@given(st.lists(STEP, max_size=12))
def test_it_holds_what_a_list_would(steps: list[tuple[str, int]]) -> None:
    history, rows, number = History(), list[bytes](), 0
    agrees(history, rows)
    for step, count in steps:
        added = [text(number + i) for i in range(count)]
        if step == "append":
            for each in added:
                history.append(each)
                rows.append(each)
        elif step == "replace":
            history.replace(added)
            rows = added
        else:
            count = min(count, len(rows))
            history.drop_oldest(count)
            del rows[:count]
        number += count
        agrees(history, rows)


def test_what_is_read_is_the_callers_own() -> None:
    history = History()
    for number in range(5):
        history.append(text(number))
    history.newest(2).clear()
    history.texts().clear()
    assert len(history.newest(2)) == 2
    assert len(history.texts()) == 5


def test_what_was_dropped_is_let_go() -> None:
    history = History()
    history.replace([text(number) for number in range(500)])
    whole = history.size
    for number in range(500, 5_000):
        history.append(text(number))
        history.drop_oldest(1)
    assert len(history) == 500
    assert history.size < 2 * whole
