"""The cores, the child processes and the clocks that the measurements use.

Only processes that a benchmark has started itself are pinned.
"""

from __future__ import annotations

import gc
import importlib
import json
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

CONSUMER, PRODUCER = 0, 1
_PATIENCE = 600.0


def pin(pid: int, core: int) -> bool:
    """Keep a process that a benchmark has started on one core; return whether that was possible."""
    if not hasattr(os, "sched_setaffinity"):
        return False
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        return False
    os.sched_setaffinity(pid, {cores[core % len(cores)]})
    return True


def processor() -> str:
    """Return the processor's name, as far as the system reports it."""
    try:
        with open("/proc/cpuinfo") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def description() -> str:
    """Return interpreter and machine in one line."""
    return (
        f"{platform.python_implementation()} {platform.python_version()}, {platform.system()}, "
        f"{os.cpu_count()} cores, {processor()}"
    )


def load() -> float:
    """Return how many threads of this machine ran or waited for a core in the last minute, on average (0 where
    unknown)."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def memory_mb() -> float:
    """Return the resident memory of this process, MB (its maximum so far where the system reports only that)."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize() / 1e6
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / 1e6 if sys.platform == "darwin" else peak / 1e3


def waited() -> float | None:
    """Return the seconds for which the threads of this process have waited for a core so far, None where the system
    does not report it.

    If that is a lot, other programs kept the cores busy and affected the measurement.
    """
    total = 0
    try:
        for task in os.listdir("/proc/self/task"):
            try:
                with open(f"/proc/self/task/{task}/schedstat") as file:
                    total += int(file.read().split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue  # a thread that has just ended
    except OSError:
        return None
    return total / 1e9


def collected(times: int = 5) -> dict[str, float]:
    """Return what a full garbage collection of this process takes (``ms`` of CPU, the median), and how many ``objects``
    it examines."""
    gc.collect()
    taken = []
    for _ in range(times):
        begun = time.thread_time()
        gc.collect()
        taken.append((time.thread_time() - begun) * 1e3)
    return {"ms": sorted(taken)[times // 2], "objects": float(len(gc.get_objects()))}


OURS = ("ats_sync", "compat", "tests", "__main__", "__mp_main__")


def others(modules: Iterable[str]) -> list[str]:
    """Return the names of modules that belong neither to the library nor to the benchmark."""
    return sorted(name for name in modules if name.partition(".")[0] not in OURS)


def collected_without(modules: Sequence[str]) -> dict[str, float]:
    """Return what :func:`collected` finds in a new process that has imported these modules and nothing of ours."""
    root = Path(__file__).parents[2]
    code = f"from {__name__} import import_and_collect; import_and_collect()"
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(list(modules)), cwd=root, timeout=_PATIENCE,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"a process that only imports failed: {done.stderr[-300:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def import_and_collect() -> None:
    """Run the child's side of :func:`collected_without`."""
    for name in json.load(sys.stdin):
        try:
            importlib.import_module(name)
        except ImportError:
            continue  # a name that another module has added for itself
    print(json.dumps(collected()))


class Client(Protocol):
    """What consumes frames in a child process."""

    def start(self) -> None:
        """Return when everything is subscribed."""

    def frames(self) -> int:
        """Return how many frames' values are kept so far."""

    def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        """Do anything else that the benchmark needs."""

    def close(self) -> None: ...


def _serve(pipe: Connection, make: Callable[..., Client], arguments: Mapping[str, Any], core: int | None) -> None:
    if core is not None:
        pin(0, core)
    try:
        client = make(**arguments)
        client.start()
    except BaseException as error:
        pipe.send(error if isinstance(error, ImportError) else RuntimeError(f"{type(error).__name__}: {error}"))
        raise SystemExit(1) from error
    pipe.send(None)
    try:
        while (command := pipe.recv()) is not None:
            name, options = command
            if name == "cpu":
                pipe.send((time.process_time(), client.frames()))
            else:
                pipe.send(client.call(name, options))
    finally:
        client.close()


class Child:
    """A client in a process of its own."""

    def __init__(self, make: Callable[..., Client], core: int | None = CONSUMER, **arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, make, arguments, core), daemon=True)
        self.process.start()
        theirs.close()
        self.begun = time.perf_counter()
        try:
            error = self._receive()
        except BaseException:
            self.close()
            raise
        if error is not None:
            self.close()
            raise error

    def _receive(self, patience: float = _PATIENCE) -> Any:
        if not self._pipe.poll(patience):
            raise RuntimeError(f"a child did not answer within {patience:.0f} s")
        return self._pipe.recv()

    def call(self, name: str, **options: Any) -> Any:
        """Return what the client answers to a call; one that names its ``seconds`` may take that much longer."""
        self._pipe.send((name, options))
        return self._receive(_PATIENCE + float(options.get("seconds", 0.0)))

    def cpu(self) -> tuple[float, int]:
        """Return ``(CPU seconds so far, frames so far)`` of the child."""
        self._pipe.send(("cpu", {}))
        seconds, frames = self._receive()
        return float(seconds), int(frames)

    def close(self) -> None:
        """End the process."""
        try:
            self._pipe.send(None)
        except OSError:
            pass
        self.process.join(10.0)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self._pipe.close()


@contextmanager
def child(make: Callable[..., Client], core: int | None = CONSUMER, **arguments: Any) -> Iterator[Child]:
    """Run a client in a process of its own until the end of the block."""
    made = Child(make, core, **arguments)
    try:
        yield made
    finally:
        made.close()
