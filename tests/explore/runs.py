"""Playing schedules in batches, in processes of their own."""

from __future__ import annotations

import gc
import logging
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import replace
from multiprocessing import get_context
from typing import NamedTuple

from ats_sync.store import trades

from ..virtual import recording as recordings
from ..virtual.consumers import Consume
from ..virtual.copies import Copy
from ..virtual.exchange import BrokenPromise
from ..virtual.restart import killed
from ..virtual.schedules import (
    CONSUMED_SHARE,
    COPIED_SHARE,
    DENSE_SHARE,
    DERIVE_SHARE,
    FAULT_KINDS,
    MEETING_SHARE,
    RESTART_KINDS,
    RESTART_SHARE,
    SCHEDULES_A_SETTING,
    a_schedule,
    a_setting,
    batch_size,
    derived,
)
from ..virtual.world import Schedule, World
from .shrink import shrunk


class Found(NamedTuple):
    """A schedule that broke a promise."""

    schedule: Schedule
    why: str


class Batch(NamedTuple):
    """The results of the schedules of one setting."""

    schedules: int
    hours: float
    found: list[Found]


def played(schedule: Schedule) -> tuple[float, str]:
    """Return how many hours of the exchange's time a schedule took, and which promise it broke ("" for none)."""
    try:
        world = World(schedule)
    except Exception as error:  # noqa: BLE001 -- reported with its schedule, like everything else that is found
        return 0.0, f"it cannot be made: {error!r}"
    try:
        world.run()
        why = ""
    except BrokenPromise as broken:
        why = f"at {(world.line.now - world.line.start) / 1000:.3f} s: {broken}"
    except Exception as error:  # noqa: BLE001 -- a fault of the library or of the harness: found all the same
        why = f"at {(world.line.now - world.line.start) / 1000:.3f} s: {error!r}"
    return (world.line.now - world.line.start) / 3_600_000, why


def batch(seed: int, until: float, most: int = SCHEDULES_A_SETTING) -> Batch:
    """Play at most ``most`` schedules of one setting, all drawn from ``seed``, until the wall clock is at ``until``."""
    rng = random.Random(seed)
    long, wide, size = batch_size(rng)
    setting = a_setting(rng, wide=wide, long=long)
    derives = not (long or wide) and rng.random() < DERIVE_SHARE
    if derives:
        setting = derived(rng, setting)
    count, hours = 0, 0.0
    found: list[Found] = []
    for _ in range(min(most, size)):
        if time.time() >= until:
            break
        if not (long or wide) and rng.random() < DENSE_SHARE:
            schedule = a_schedule(rng, setting, dense=True)
        elif not (long or wide) and rng.random() < MEETING_SHARE:
            schedule = a_schedule(rng, setting, meet=True)
        elif not (long or wide) and rng.random() < RESTART_SHARE:
            schedule = killed(a_schedule(rng, setting, kinds=(*RESTART_KINDS, "shutdown")), rng)
        elif not (long or wide) and "1m" in setting.intervals and rng.random() < CONSUMED_SHARE:
            schedule = a_schedule(rng, setting, kinds=(*FAULT_KINDS, "shutdown"))
            schedule = replace(schedule, faults=(Consume(1, rng.getrandbits(32)), *schedule.faults))
        else:
            schedule = a_schedule(rng, setting, long=long)
        if not (long or wide or derives) and rng.random() < COPIED_SHARE:
            schedule = replace(schedule, faults=(Copy(300), *schedule.faults))
        schedule = replace(schedule, derive=derives)
        took, why = played(schedule)
        count += 1
        hours += took
        if why:
            small = shrunk(schedule, lambda each: bool(played(each)[1]), most=200 if took < 0.2 else 20)
            found.append(Found(small, played(small)[1] or why))
    recordings.recording.cache_clear()
    gc.collect()
    return Batch(count, hours, found)


def batches(seed: int, workers: int, until: float, most: int | None) -> Iterator[Batch]:
    """Play batches in ``workers`` processes until the time is over or ``most`` schedules have run."""
    seeds = random.Random(seed)
    ran = 0
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin) as pool:
        waiting: set[Future[Batch]] = set()
        try:
            while True:
                more = time.time() < until and (most is None or ran < most)
                while more and len(waiting) < workers + 1:
                    waiting.add(pool.submit(batch, seeds.getrandbits(48), until, most or SCHEDULES_A_SETTING))
                if not waiting:
                    return
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    result = future.result()
                    ran += result.schedules
                    yield result
        except BaseException:
            # An interrupt does not wait for schedules that are under way.
            for process in list(pool._processes.values()):
                process.kill()
            raise


def _begin() -> None:
    """Leave interrupts to the parent, and log nothing of what the exchange is made to do. Recordings are many
    long-lived objects: scanning them for garbage all the time would cost a twelfth of the schedules. They are freed
    after each batch. A schedule sees the end of the time for which trades are left to the stream after a restart."""
    gc.set_threshold(50_000, 20, 100)
    trades.LEFT_TO_STREAM_FOR = 10.0
    logging.getLogger("ats_sync").addHandler(logging.NullHandler())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
