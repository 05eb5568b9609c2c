from __future__ import annotations

from ats_sync.shared.protocol import Packed, count, pack, pack_command


def test_a_command_is_written_as_the_protocol_requires() -> None:
    assert pack_command(("SET", b"k", 12, 1.5)) == b"*4\r\n$3\r\nSET\r\n$1\r\nk\r\n$2\r\n12\r\n$3\r\n1.5\r\n"


def test_packed_arguments_count_as_the_number_they_stand_for() -> None:
    pieces = [pack(b"field"), b"$5\r\n", b"he", b"ad!", b"\r\n"]
    command = ("HSET", "key", Packed(2, pieces))
    assert count(command) == 4
    assert pack_command(command) == pack_command(("HSET", "key", "field", "head!"))
