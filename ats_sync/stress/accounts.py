"""The exchange's own account of what was sent to it, and the resources of this process."""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from dataclasses import dataclass
from pathlib import Path

from ..simulator import SimulatorStats
from .options import MOST_CONNECTIONS, SENT_ALL_THE_SAME
from .tally import Finding, Promise
from .truth import catching
from .world import World

MINUTE = 60_000
LOOK_EVERY = 1.0
MOST_SINCE = 500
"""An upper bound for the number of requests between two looks at the log."""
HOSTS = ("fapi", "spot")


@dataclass(frozen=True)
class Resources:
    """What a process uses; None if the system does not say."""

    threads: int
    """Those of the library."""
    sockets: int | None
    memory: float | None
    """Resident, MB."""


def resources() -> Resources:
    """Return what this process uses now."""
    threads = sum(thread.name.startswith("ats-") for thread in threading.enumerate())
    try:
        sockets = sum(_is_socket(each) for each in os.listdir("/proc/self/fd"))
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return Resources(threads, None, None)
    resident = next((line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")), None)
    return Resources(threads, sockets, int(resident) / 1024 if resident is not None else None)


def _is_socket(descriptor: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").startswith("socket:")
    except OSError:
        return False


class Accountant(threading.Thread):
    """Reads the exchange's log of requests and its connections, every second."""

    def __init__(self, world: World) -> None:
        super().__init__(name="stress-accountant", daemon=True)
        self._world = world
        self._seen = 0
        self.weight: dict[str, Counter[int]] = {host: Counter() for host in HOSTS}
        """Our weight, by host and minute (exchange ms)."""
        self._recent: deque[tuple[int, str, int]] = deque()  # (exchange ms, path, weight) of the last minute
        self.waited_for_nothing = 0
        self.most_connections = 0
        self.most_behind = 0.0
        """Longest time in seconds that the exchange was behind its own clock while nothing delayed it."""
        self._lock = threading.Lock()  # guards everything above against the last look of another thread

    def run(self) -> None:
        with catching(self._world):
            while not self._world.stop.wait(LOOK_EVERY):
                self.look()

    def look(self) -> None:
        """Process what is new."""
        effects = self._world.effects()
        stats = self._world.exchange.stats()
        with self._lock:
            self._requests(stats, holding=effects.holding)
            self._connections(stats, holding=effects.holding or self._world.effects().holding)

    def _requests(self, stats: SimulatorStats, *, holding: bool) -> None:
        total = stats.fapi.requests + stats.spot.requests
        if total <= self._seen:
            return
        # More may have come since the count was taken; the ones seen before are recognised by their number.
        for record in self._world.exchange.request_log(most=total - self._seen + MOST_SINCE):
            if record.number < self._seen:
                continue
            self._seen = record.number + 1
            if record.host == "fapi":
                self._recent.append((record.time, record.path, record.weight))
            self.weight[record.host][record.time - record.time % MINUTE] += record.weight
            if record.waited is not None and record.waited > SENT_ALL_THE_SAME * 1000 and not holding:
                self.waited_for_nothing += 1
                text = f"{record.path} {record.waited} ms after the {record.host} host had said to wait"
                self._world.tally.found(Finding(Promise.WAIT, text))
        while self._recent and abs(stats.time - self._recent[0][0]) > MINUTE:
            self._recent.popleft()

    def last_minute(self) -> str:
        """Return how the weight of the last 60 s was spent."""
        with self._lock:
            used: Counter[str] = Counter()
            for _, path, weight in self._recent:
                used[path.rsplit("/", 1)[-1]] += weight
        return ", ".join(f"{path} {weight}" for path, weight in used.most_common(4)) or "none"

    def _connections(self, stats: SimulatorStats, *, holding: bool) -> None:
        now = sum(each.open and not each.closed_why for each in stats.connections)
        if holding:
            return
        self.most_behind = max(self.most_behind, stats.behind_ms / 1000.0)
        self.most_connections = max(self.most_connections, now)
        if now > MOST_CONNECTIONS:
            self._world.tally.found(Finding(Promise.CONNECTIONS, f"{now} at once"))

    def room_in(self, needed: int, allowed: int) -> float:
        """Return the seconds until this much weight fits into the minute's ``allowed``, if nothing else is sent before
        then."""
        self.look()
        now = self._world.exchange.now()
        with self._lock:
            foreign = self._world.foreign[now - now % MINUTE]
            surplus = sum(weight for _, _, weight in self._recent) + foreign + needed - allowed
            if surplus <= 0:
                return 0.0
            moments = sorted([(time + MINUTE, weight) for time, _, weight in self._recent])
        if foreign:
            moments = sorted([*moments, (now - now % MINUTE + MINUTE, foreign)])
        for moment, weight in moments:
            surplus -= weight
            if surplus <= 0:
                return max(0.0, (moment - now) / 1000.0)
        return MINUTE / 1000.0

    def over_budget(self, limits: dict[str, int]) -> list[str]:
        """Return the minutes in which we used more than allowed."""
        with self._lock:
            return [
                f"{used} of {limits[host]} on the {host} host in the minute of {minute}"
                for host in HOSTS
                for minute, used in self.weight[host].items()
                if used > limits[host]
            ]

    def most_used(self, host: str) -> int:
        """Return the highest weight that we used in a minute."""
        with self._lock:
            return max(self.weight[host].values(), default=0)
