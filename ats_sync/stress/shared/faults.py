"""The faults of a schedule."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from ...simulator.controls import Cut, RestFaultKind, Route
from ..catalogue import Catalogue

if TYPE_CHECKING:
    from .schedule import Scene


ROUTES: tuple[Route | None, ...] = (None, "public", "market")
FAILURES: tuple[RestFaultKind, ...] = ("500", "503", "timeout", "reset")


@dataclass(frozen=True)
class Fault:
    """A fault: ``begin`` makes it; ``end`` undoes it ``seconds`` later."""

    name: str
    seconds: float
    begin: Callable[[], object]
    end: Callable[[], object] = lambda: None


Maker = Callable[["Scene", random.Random], Fault]

FAULTS: Catalogue[Maker] = Catalogue()
"""All faults of this module."""


# --- collectors ----------------------------------------------------------------------------------------


@FAULTS.add(3.0)
def leader_killed(scene: Scene, rng: random.Random) -> Fault:
    return Fault("leader killed", rng.uniform(0.0, 2.0), lambda: scene.kill(scene.leader()), scene.fill_up)


@FAULTS.add(3.0)
def leader_stopped(scene: Scene, rng: random.Random) -> Fault:
    leader = scene.leader()
    return Fault("leader stopped", rng.uniform(0.3, 6.0), lambda: scene.stop(leader), lambda: scene.go_on(leader))


@FAULTS.add(1.5)
def standby_killed(scene: Scene, rng: random.Random) -> Fault:
    return Fault("standby killed", rng.uniform(0.0, 2.0), lambda: scene.kill(scene.standby(rng)), scene.fill_up)


@FAULTS.add(1.5)
def standby_stopped(scene: Scene, rng: random.Random) -> Fault:
    standby = scene.standby(rng)
    return Fault("standby stopped", rng.uniform(0.3, 6.0), lambda: scene.stop(standby), lambda: scene.go_on(standby))


@FAULTS.add(2.0)
def leader_ended(scene: Scene, rng: random.Random) -> Fault:
    return Fault(
        "leader hands over",
        rng.uniform(0.0, 2.0),
        lambda: scene.signal(scene.leader(), signal.SIGTERM),
        scene.fill_up,
    )


@FAULTS.add(1.5)
def taken_over(scene: Scene, rng: random.Random) -> Fault:
    before = scene.leader()
    return Fault(
        "taken over",
        rng.uniform(1.0, 4.0),
        lambda: scene.start_collector(take_over=True),
        lambda: scene.signal(before, signal.SIGTERM),
    )


@FAULTS.add(1.5)
def all_stopped(scene: Scene, rng: random.Random) -> Fault:
    """Stop all collectors, as if their machine stood still."""
    collectors = list(scene.living())
    return Fault(
        "all collectors stopped",
        rng.uniform(2.0, 9.0),
        lambda: scene.signal_all(collectors, signal.SIGSTOP),
        lambda: scene.signal_all(collectors, signal.SIGCONT),
    )


@FAULTS.add(1.0)
def all_killed(scene: Scene, rng: random.Random) -> Fault:
    return Fault(
        "all collectors killed",
        rng.uniform(0.0, 6.0),
        lambda: scene.signal_all(scene.living(), signal.SIGKILL),
        scene.fill_up,
    )


# --- the store -----------------------------------------------------------------------------------------


@FAULTS.add(2.0)
def store_killed(scene: Scene, rng: random.Random) -> Fault:
    return Fault("store killed", rng.uniform(0.0, 3.0), scene.store.kill, scene.store.start)


@FAULTS.add(2.0)
def store_paused(scene: Scene, rng: random.Random) -> Fault:
    return Fault("store paused", rng.uniform(0.2, 6.0), scene.store.pause, scene.store.resume)


@FAULTS.add(1.5)
def keys_lost(scene: Scene, rng: random.Random) -> Fault:
    what = rng.choice(("heads", "parts", "meta", "feed", "lease", "account", "everything"))
    return Fault(f"{what} deleted in the store", 0.0, lambda: scene.delete(what))


# --- the exchange --------------------------------------------------------------------------------------


@FAULTS.add(2.0)
def streams_cut(scene: Scene, rng: random.Random) -> Fault:
    how, route = rng.choice(get_args(Cut)), rng.choice(ROUTES)
    return Fault(f"streams cut ({how})", 0.0, lambda: scene.exchange.cut(route, how))


@FAULTS.add(1.5)
def streams_refused(scene: Scene, rng: random.Random) -> Fault:
    seconds = rng.uniform(1.0, 4.0)

    def begin() -> None:
        scene.exchange.refuse(seconds, "streams", "reset")
        scene.exchange.cut(how="reset")

    return Fault("streams refused", seconds, begin, lambda: scene.exchange.accept("streams"))


@FAULTS.add(1.5)
def rate_limited(scene: Scene, rng: random.Random) -> Fault:
    wait = float(rng.randint(1, 4))
    return Fault("429", 0.5 + wait, lambda: scene.exchange.fail_rest("429", seconds=0.5, retry_after=wait))


@FAULTS.add(1.0)
def banned(scene: Scene, rng: random.Random) -> Fault:
    wait = float(rng.randint(1, 4))
    return Fault("418", wait, lambda: scene.exchange.ban(wait))


@FAULTS.add(1.0)
def rest_fails(scene: Scene, rng: random.Random) -> Fault:
    seconds, kind = rng.uniform(0.5, 4.0), rng.choice(FAILURES)
    return Fault(f"REST {kind}", seconds, lambda: scene.exchange.fail_rest(kind, seconds=seconds))


# --- readers -------------------------------------------------------------------------------------------


@FAULTS.add(1.5)
def reader_comes(scene: Scene, rng: random.Random) -> Fault:
    """Start a reader that later ends without notice."""
    readers: list[int] = []
    return Fault(
        "a reader comes and goes",
        rng.uniform(0.5, 6.0),
        lambda: readers.append(scene.start_reader()),
        lambda: scene.kill(readers[0]),
    )


@FAULTS.add(1.0)
def reader_stopped(scene: Scene, rng: random.Random) -> Fault:
    reader = rng.choice(scene.readers)
    return Fault("reader stopped", rng.uniform(0.3, 6.0), lambda: scene.stop(reader), lambda: scene.go_on(reader))
