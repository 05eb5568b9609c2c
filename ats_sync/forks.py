"""Forks: objects with locks or threads are renewed in a child process, which has only the thread that forked."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """Has state that a child process must renew."""

    def after_fork(self) -> None: ...


_registered: weakref.WeakSet[Forkable] = weakref.WeakSet()


def register(one: Forkable) -> None:
    """Call ``one.after_fork()`` in every child process, as long as ``one`` lives."""
    _registered.add(one)


def _after_fork() -> None:
    for one in list(_registered):
        one.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
