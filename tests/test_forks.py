from __future__ import annotations

import gc
import os
from collections.abc import Callable

import pytest

from ats_sync import forks


class Forkable:
    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call

    def after_fork(self) -> None:
        self._call()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_only_live_objects_are_renewed_and_only_in_the_child() -> None:
    inside, outside = os.pipe()
    there = Forkable(lambda: os.write(outside, b"there") and None)
    gone = Forkable(lambda: os.write(outside, b"gone") and None)
    forks.register(there)
    forks.register(gone)
    del gone
    gc.collect()
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    os.close(outside)
    with os.fdopen(inside, "rb") as pipe:
        assert pipe.read() == b"there"
