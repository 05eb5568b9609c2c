"""Packed rows behave like a list of their texts, whatever is appended, replaced and dropped."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ats_sync.store.packed import PAGE, PackedRows, packed_objects

BETWEEN = b"],["

texts = st.integers(0, 10**12).map(lambda number: b'%d,"%d.5"' % (number, number))


class LikeAList(RuleBasedStateMachine):
    """The same operations on packed rows and on a plain list."""

    shown = BETWEEN

    def __init__(self) -> None:
        super().__init__()
        self.packed = self.empty()
        self.plain: list[bytes] = []

    def empty(self) -> PackedRows:
        return PackedRows(BETWEEN)

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
        assert self.packed.slice(count) == self.shown.join(expected)

    @precondition(lambda self: self.plain)
    @rule(data=st.data())
    def row(self, data: Any) -> None:
        index = data.draw(st.integers(0, len(self.plain) - 1))
        assert self.packed.row(index) == self.plain[index]

    @rule()
    def copy(self) -> None:
        """Pass the pieces to another process."""
        there = self.empty()
        there.restore(self.packed.pages(), self.packed.skipped, self.packed.tail())
        self.packed = there

    @rule(added=texts)
    def pieces_stay_the_same_objects(self, added: bytes) -> None:
        pages, tail = list(self.packed.pages()), self.packed.tail()
        assert self.packed.tail() is tail
        self.packed.append(added)
        self.plain.append(added)
        assert all(one is other for one, other in zip(pages, self.packed.pages(), strict=False))

    @rule()
    def whole(self) -> None:
        assert self.packed.texts() == self.plain
        if self.plain:
            assert self.packed.first() == self.plain[0]

    @invariant()
    def the_same(self) -> None:
        """Check the rows without a read that would join the newest ones."""
        assert len(self.packed) == len(self.plain)
        if self.plain:
            assert self.packed.last() == self.plain[-1]

    def teardown(self) -> None:
        self.whole()


class ObjectsLikeAList(LikeAList):
    """The same for JSON objects, which are separated by another text in memory."""

    shown = b","

    def empty(self) -> PackedRows:
        return packed_objects()


TestLikeAList = LikeAList.TestCase
TestLikeAList.settings = settings(max_examples=40)
TestObjectsLikeAList = ObjectsLikeAList.TestCase
TestObjectsLikeAList.settings = settings(max_examples=40)


def test_a_slice_is_the_content_of_a_json_array() -> None:
    packed = PackedRows(BETWEEN, [b"%d,1" % number for number in range(2 * PAGE + 5)])
    for count in (1, 5, 6, PAGE, PAGE + 5, 2 * PAGE + 5, 1000):
        rows = json.loads(b"[[" + packed.slice(count) + b"]]")
        assert [row[0] for row in rows] == list(range(2 * PAGE + 5))[-count:]


def test_no_rows_have_no_first_and_no_last_one() -> None:
    empty = PackedRows(BETWEEN)
    for ask in (empty.first, empty.last, lambda: PackedRows(BETWEEN, [b"1,1"]).row(1)):
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


def test_the_memory_of_dropped_rows_is_freed() -> None:
    packed = PackedRows(BETWEEN, [b"%d,1" % number for number in range(500)])
    whole = packed.size
    for number in range(500, 5_000):
        packed.append(b"%d,1" % number)
        packed.drop_oldest(1)
    assert len(packed) == 500
    assert packed.size < 2 * whole


@pytest.mark.parametrize("count", [1, PAGE - 1, PAGE, PAGE + 3, 3 * PAGE + 3])
@pytest.mark.parametrize("appended", [True, False])
def test_objects_are_shortened_in_whatever_form_they_come(count: int, appended: bool) -> None:
    long = [b'{"s":"BTCUSDT","a":%d,"st":1}' % number for number in range(count)]
    short = [b'{"a":%d}' % number for number in range(count)]
    shorter = (b'"s":"BTCUSDT",', b""), (b',"st":1}', b"}")
    packed = packed_objects(() if appended else long, shorter)
    for text in long if appended else ():
        packed.append(text)
        assert packed.last() in (text, short[len(packed) - 1])
    assert packed.texts() == short
    assert json.loads(b"[" + packed.slice(count) + b"]") == [{"a": number} for number in range(count)]
    assert packed.size == packed_objects(short).size
