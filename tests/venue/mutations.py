"""Payloads that have something wrong in them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

junk = st.one_of(
    st.none(), st.booleans(), st.integers(), st.integers(-(2**70), 2**70), st.floats(), st.text(max_size=5),
    st.just([]), st.just({}), st.just("1e999"), st.lists(st.integers(), max_size=2),
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, whole: bytes) -> bytes:
    """Return ``whole`` with something wrong in it: bytes changed, cut or doubled, or one JSON value replaced."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        end = min(len(data), at + draw(st.integers(0, 12)))
        match draw(st.integers(0, 4)):
            case 0:
                data[at:end] = draw(st.binary(max_size=6))
            case 1:
                data[at:end] = data[at:end] * 2
            case 2:
                del data[at:]
            case 3:
                data[at:end] = draw(
                    st.sampled_from([b"", b'"', b"{", b"}", b"[", b"]", b",", b":", b"0", b".", b"-", b" "])
                )
            case _:
                del data[:at]
    return bytes(data)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value inside a JSON value."""
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found += places(item, (*path, key))
    return found


@st.composite
def replaced(draw: st.DrawFn, whole: bytes) -> bytes:
    """Return ``whole`` with one of its values replaced or left out."""
    value = json.loads(whole)
    path = draw(st.sampled_from(places(value)[1:]))
    parent = value
    for key in path[:-1]:
        parent = parent[key]
    if draw(st.booleans()):
        parent[path[-1]] = draw(junk)
    else:
        del parent[path[-1]]
    return json.dumps(value, separators=(",", ":")).encode()
