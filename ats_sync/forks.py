"""Telling objects with locks and threads that their process is a copy: of the threads only the forking one is in it."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forked(Protocol):
    """Has to begin afresh in a child process."""

    def after_fork(self) -> None: ...


_told: weakref.WeakSet[Forked] = weakref.WeakSet()


def tell(one: Forked) -> None:
    """Call its ``after_fork()`` in every child process, as long as it lives."""
    _told.add(one)


def _after_fork() -> None:
    for one in list(_told):
        one.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
