from __future__ import annotations

import gc
import os
from collections.abc import Callable

import pytest

from ats_sync import forks


class Told:
    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def after_fork(self) -> None:
        self._call()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_who_lives_is_told_in_the_child_and_nowhere_else() -> None:
    inside, outside = os.pipe()
    there = Told(lambda: os.write(outside, b"told") and None)
    gone = Told(lambda: os.write(outside, b"gone") and None)
    forks.tell(there)
    forks.tell(gone)
    del gone
    gc.collect()
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    os.close(outside)
    with os.fdopen(inside, "rb") as pipe:
        assert pipe.read() == b"told"
