from __future__ import annotations

import random

import pytest

from ats_sync.store.pages import PAGE, Pages


def texts(count: int, first: int = 0) -> list[bytes]:
    return [b'{"a":%d}' % number for number in range(first, first + count)]


@pytest.mark.parametrize("seed", range(20))
def test_they_are_a_list_that_loses_its_oldest(seed: int) -> None:
    dice = random.Random(seed)
    pages, truth, number = Pages(), list[bytes](), 0
    for _ in range(60):
        for text in texts(dice.randrange(2 * PAGE), number):
            pages.append(text)
            truth.append(text)
            number += 1
        gone = dice.randrange(len(truth) + 1) if dice.random() < 0.1 else min(len(truth), dice.randrange(PAGE))
        pages.drop_oldest(gone)
        del truth[:gone]
        assert len(pages) == len(truth)
        assert pages.all() == truth
        count = dice.randrange(len(truth) + 2)
        assert pages.newest(count) == truth[max(0, len(truth) - count) :]
    assert Pages(truth).all() == truth


def test_what_is_given_is_the_callers_own() -> None:
    for count in (3, PAGE, PAGE + 3):
        pages = Pages(texts(count))
        for some in (2, count):
            pages.newest(some).clear()
        assert pages.all() == texts(count)


def test_a_text_with_a_zero_byte_moves_no_other() -> None:
    bad = 5
    held = texts(PAGE)
    held[bad] = b'{"a":\0}'
    found = Pages(held).all()
    assert found[bad] == b"null"
    assert found[:bad] + found[bad + 1 :] == held[:bad] + held[bad + 1 :]


def test_what_is_needless_is_left_out_of_pages() -> None:
    held = [b'{"s":"BTCUSDT","a":%d,"st":1}' % number for number in range(PAGE + 3)]
    found = Pages(held, (b'"s":"BTCUSDT",', b',"st":1')).all()
    assert found == texts(PAGE) + held[PAGE:]
