"""Packed rows behave like a list of their texts, whatever is appended, replaced and dropped."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ats_sync.store.packed import PAGE, PackedRows, Pages

BETWEEN = b"],["

texts = st.integers(0, 10**12).map(lambda number: b'%d,"%d.5"' % (number, number))


class LikeAList(RuleBasedStateMachine):
    """The same operations on packed rows and on a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.packed = PackedRows(BETWEEN)
        self.plain: list[bytes] = []

    @rule(added=st.lists(texts, max_size=3 * PAGE))
    def replace(self, added: list[bytes]) -> None:
        self.packed.replace(added)
        self.plain = list(added)

    @rule(added=st.lists(texts, max_size=PAGE + 2))
    def append(self, added: list[bytes]) -> None:
        for text in added:
            self.packed.append(text)
        self.plain += added

    @precondition(lambda self: self.plain)
    @rule(data=st.data())
    def drop_oldest(self, data: Any) -> None:
        count = data.draw(st.integers(0, len(self.plain)))
        self.packed.drop_oldest(count)
        del self.plain[:count]

    @rule(count=st.integers(0, 4 * PAGE))
    def newest(self, count: int) -> None:
        expected = self.plain[max(0, len(self.plain) - count) :]
        assert self.packed.newest(count) == expected
        assert self.packed.slice(count) == BETWEEN.join(expected)

    @invariant()
    def the_same(self) -> None:
        assert len(self.packed) == len(self.plain)
        assert self.packed.texts() == self.plain
        if self.plain:
            assert (self.packed.first(), self.packed.last()) == (self.plain[0], self.plain[-1])


TestLikeAList = LikeAList.TestCase
TestLikeAList.settings = settings(max_examples=40)


def test_a_slice_is_what_stands_in_a_json_array() -> None:
    packed = PackedRows(BETWEEN, [b"%d,1" % number for number in range(2 * PAGE + 5)])
    for count in (1, 5, 6, PAGE, PAGE + 5, 2 * PAGE + 5, 1000):
        rows = json.loads(b"[[" + packed.slice(count) + b"]]")
        assert [row[0] for row in rows] == list(range(2 * PAGE + 5))[-count:]


def test_nothing_is_first_or_last_of_nothing() -> None:
    empty = PackedRows(BETWEEN)
    for ask in (empty.first, empty.last):
        with pytest.raises(IndexError):
            ask()
    assert empty.slice(5) == b""
    assert empty.newest(5) == []


def test_the_size_is_that_of_the_text() -> None:
    packed = PackedRows(BETWEEN, [b"12345"] * (PAGE + 1))
    assert packed.size == PAGE * 5 + (PAGE - 1) * len(BETWEEN) + 5


def test_what_is_read_is_the_callers_own() -> None:
    packed = PackedRows(BETWEEN, [b"%d,1" % number for number in range(PAGE + 5)])
    packed.newest(2).clear()
    packed.texts().clear()
    assert len(packed.newest(2)) == 2
    assert len(packed.texts()) == PAGE + 5


def test_what_was_dropped_is_let_go() -> None:
    packed = PackedRows(BETWEEN, [b"%d,1" % number for number in range(500)])
    whole = packed.size
    for number in range(500, 5_000):
        packed.append(b"%d,1" % number)
        packed.drop_oldest(1)
    assert len(packed) == 500
    assert packed.size < 2 * whole


def numbered(count: int, first: int = 0) -> list[bytes]:
    return [b'{"a":%d}' % number for number in range(first, first + count)]


@pytest.mark.parametrize("seed", range(20))
def test_they_are_a_list_that_loses_its_oldest(seed: int) -> None:
    dice = random.Random(seed)
    pages, truth, number = Pages(), list[bytes](), 0
    for _ in range(60):
        for text in numbered(dice.randrange(2 * PAGE), number):
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
        assert pages.json(count) == b",".join(truth[max(0, len(truth) - count) :])
    assert Pages(truth).all() == truth


def test_what_is_given_is_the_callers_own() -> None:
    for count in (3, PAGE, PAGE + 3):
        pages = Pages(numbered(count))
        for some in (2, count):
            pages.newest(some).clear()
        assert pages.all() == numbered(count)


def test_a_text_with_a_zero_byte_moves_no_other() -> None:
    bad = 5
    held = numbered(PAGE)
    held[bad] = b'{"a":\0}'
    found = Pages(held).all()
    assert found[bad] == b"null"
    assert found[:bad] + found[bad + 1 :] == held[:bad] + held[bad + 1 :]


def test_pages_are_shortened() -> None:
    held = [b'{"s":"BTCUSDT","a":%d,"st":1}' % number for number in range(PAGE + 3)]
    pages = Pages(held, ((b'"s":"BTCUSDT",', b""), (b',"st":1}', b"}")))
    assert pages.all() == numbered(PAGE) + held[PAGE:]
    assert pages.json(PAGE + 2) == b",".join(numbered(PAGE + 3)[1:]), "as the newest are in an array"
