"""Reads on the thread of an event loop: at once from memory; anything slower runs on another thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

from ats_sync import NotInMemory, memory_only

T = TypeVar("T")


async def read_without_blocking(read: Callable[[], T], executor: Executor | None = None) -> T:
    """Return what ``read()`` returns. If memory cannot answer, it runs in ``executor`` (None: the loop's default)."""
    try:
        with memory_only():
            return read()
    except NotInMemory:
        pass
    return await asyncio.get_running_loop().run_in_executor(executor, read)
