"""Commands as the protocol of the shared store writes them: each argument once, where it is made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Packed(NamedTuple):
    """Several arguments of a command, packed already."""

    arguments: int
    pieces: Sequence[bytes]
    """Their texts, as :func:`pack` makes them, in as many pieces as it takes to copy none of them twice."""


Argument = str | bytes | int | float | Packed
Command = Sequence[Argument]
"""A command of the server, with its arguments."""


END = b"\r\n"
"""What each argument ends with."""


def begin(size: int) -> bytes:
    """Return what an argument of so many bytes begins with."""
    return b"$%d\r\n" % size


def pack(argument: bytes) -> bytes:
    """Return one argument as it is sent."""
    return b"%b%b%b" % (begin(len(argument)), argument, END)


def count(arguments: Iterable[Argument]) -> int:
    """Return how many arguments the server will see."""
    return sum(each.arguments if type(each) is Packed else 1 for each in arguments)


def pack_command(command: Command) -> bytes:
    """Return a command as it is sent."""
    pieces = [b"*%d\r\n" % count(command)]
    for each in command:
        if type(each) is Packed:
            pieces += each.pieces
        else:
            pieces.append(pack(each if isinstance(each, bytes) else str(each).encode()))
    return b"".join(pieces)
