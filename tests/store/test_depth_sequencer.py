from __future__ import annotations

from ats_sync.store.depth_sequencer import MOST_AHEAD, MOST_UNAPPLIED, RECENT, DepthSequencer, Diff
from ats_sync.store.link import Link


def link(number: int = 1) -> Link:
    return Link(number, "public", 0.0)


def diff(last: int, previous: int | None = None) -> Diff:
    return Diff(last - 1 if previous is None else previous, last, last, b"%d" % last)


def lasts(diffs: list[Diff] | None) -> list[int] | None:
    return None if diffs is None else [each.last for each in diffs]


def chain_of(first: int, stop: int, source: Link) -> DepthSequencer:
    chain = DepthSequencer()
    for last in range(first, stop):
        chain.add(diff(last), source)
    return chain


def test_what_continues_a_snapshot() -> None:
    chain = chain_of(10, 15, link())
    assert lasts(chain.after(8)) is None
    assert lasts(chain.after(9)) == [10, 11, 12, 13, 14]
    assert lasts(chain.after(12)) == [13, 14]
    assert lasts(chain.after(14)) == []
    assert lasts(chain.after(20)) == []
    assert lasts(DepthSequencer().after(5)) == []


def test_nothing_is_applied_twice_or_left_out() -> None:
    source = link()
    chain = chain_of(10, 15, source)
    chain.rebase(11, 0)
    assert lasts(chain.take(2)) == [12, 13]
    chain.add(diff(15), source)
    assert chain.pending == 2
    assert lasts(chain.take()) == [14, 15]
    assert lasts(chain.take()) == []
    assert lasts(chain.after(12)) == [13, 14, 15], "a snapshot may be older than what was applied"
    chain.rebase(13, 0)
    assert lasts(chain.take()) == [14, 15]


def test_a_snapshot_that_is_older_than_the_one_before() -> None:
    source = link()
    chain = chain_of(10, 12, source)
    chain.rebase(20, 0)
    assert chain.after(15) is None
    chain.add(diff(25, 11), source)
    assert lasts(chain.take()) == [25]
    assert lasts(chain.after(15)) == [25]
    assert chain.after(10) is None


def test_bounds() -> None:
    source = link()
    chain = chain_of(1, 5 * MOST_UNAPPLIED, source)
    assert chain.pending <= MOST_UNAPPLIED + RECENT
    chain.take()
    assert len(chain._events) == RECENT
    other = link(2)
    for last in range(10_000, 10_000 + 3 * MOST_AHEAD):
        assert chain.add(diff(last), other)
    assert len(chain._ahead) == MOST_AHEAD


def test_the_connection_that_ends_has_not_told_what_the_other_began_with() -> None:
    old, new = link(), link(2)
    chain = chain_of(10, 12, old)
    assert chain.add(diff(20), new)
    assert chain.add(diff(21), new)
    old.up = False
    assert not chain.add(diff(22), new)
    assert lasts(chain.after(19)) == [20, 21, 22]
    assert chain.source is new
    assert chain.holes == 0


def test_ids_that_begin_again_leave_nothing_out() -> None:
    """Four new counts within five minutes suspended the book."""
    source = link()
    chain = chain_of(10, 12, source)
    assert not chain.add(Diff(1, 2, 12, b"2"), source)
    assert chain.holes == 0
    assert lasts(chain.after(1)) == [2]
    assert not chain.add(Diff(7, 8, 13, b"8"), source)
    assert chain.holes == 1


def test_what_came_ahead_with_a_hole_in_it() -> None:
    old, new = link(), link(2)
    chain = chain_of(10, 12, old)
    assert chain.add(diff(20), new)
    assert chain.add(diff(22), new)
    for last in range(12, 21):
        assert chain.add(diff(last), old)
    assert chain.source is old
    assert chain.add(diff(21), old)
    assert chain.source is new
    assert chain.last_update_id == 22


def test_a_snapshot_leads_up_to_what_came_ahead() -> None:
    old, new = link(), link(2)
    chain = chain_of(10, 12, old)
    assert chain.add(diff(20), new)
    assert chain.add(diff(21), new)
    chain.rebase(19, 0)
    assert chain.last_update_id == 21
    assert chain.source is new
    assert lasts(chain.take()) == [20, 21]


def test_forgetting() -> None:
    source = link()
    chain = chain_of(10, 15, source)
    chain.forget()
    assert (chain.last_update_id, chain.pending, chain.source) == (-1, 0, None)
    assert lasts(chain.after(3)) == []
    assert not chain.add(diff(30), source)
    assert lasts(chain.after(29)) == [30]
