from __future__ import annotations

import pytest

from ats_sync.simulator.market import Frame
from ats_sync.simulator.wire import BINARY, CLOSE, close_frame, wire_of, ws_frame


def test_the_examples_of_rfc_6455() -> None:
    assert ws_frame(b"Hello") == bytes.fromhex("810548656c6c6f")
    assert ws_frame(b"Hel", final=False) == bytes.fromhex("010348656c")
    assert ws_frame(b"\0" * 256, BINARY)[:4] == bytes.fromhex("827e0100")
    assert ws_frame(b"\0" * 65536, BINARY)[:10] == bytes.fromhex("827f0000000000010000")


@pytest.mark.parametrize(("size", "header"), [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10)])
def test_the_shortest_length_is_used(size: int, header: int) -> None:
    assert len(ws_frame(b"x" * size)) == header + size


def test_a_close_has_its_code() -> None:
    assert close_frame(1001, "bye") == bytes((0x80 | CLOSE, 5, 3, 233)) + b"bye"


def test_combined_and_bare() -> None:
    wire = wire_of(Frame("币@trade", 5, '{"e":"trade"}'))
    assert wire.bare[2:] == b'{"e":"trade"}'
    assert wire.combined[2:].decode() == '{"stream":"币@trade","data":{"e":"trade"}}'
