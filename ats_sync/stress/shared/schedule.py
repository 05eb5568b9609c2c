"""Runs schedules, one after the other: each has a store, collectors and readers on a simulated exchange, faults for
some seconds, and then a comparison with the truth."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import math
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...shared.client import SharedStore
from ...shared.publish import FEED_KEY
from ...simulator import SimulatedExchange, before_turn
from ..accounts import MINUTE
from ..options import SENT_ALL_THE_SAME
from ..tally import Promise
from . import faults
from .options import HEALED_WITHIN, INTERVALS, SCARCE_HEALED_WITHIN, SCARCE_LIMIT, SharedOptions
from .processes import Nursery, send
from .report import Outcome, SharedReport
from .store import Store

LEASE_KEY = SharedStore.key("lease", "collector")
COLLECTORS, MOST_COLLECTORS, READERS = 2, 4, 2
READY_WITHIN = 60.0
PROCESSES = 10
"""More processes than ever run at once; each keeps to its part of the limit while the store is unreachable."""
LONGEST_SPELL = 2.5
LOOK_EVERY = 0.03
REPORTED_WITHIN = 30.0
UNDER_WAY = 256
LOSES_THE_ACCOUNT = frozenset({"store killed", "account deleted in the store", "everything deleted in the store"})
HEAVIEST = 20
"""The weight of a request for trades. All processes that knew what was used may be gone together with the account:
then one request finds out."""
EXCUSED = frozenset(
    {"store killed", "store paused", "leader stopped", "standby stopped", "all collectors stopped", "reader stopped"}
)
"""While the store is unreachable, no process learns of another's 429; a stopped one may have been about to send."""
ENDS_A_PROCESS = frozenset(
    {"leader killed", "standby killed", "all collectors killed", "leader hands over", "taken over"}
    | {"a reader comes and goes"}
)
"""All processes that knew of a 429 may be gone together with the account."""
KNOWN_AGAIN_WITHIN = 1_000
"""Otherwise an account that was lost learns of it so soon (ms)."""


class Scene:
    """The processes of one schedule. Used by the thread that makes faults."""

    def __init__(self, nursery: Nursery, exchange: SimulatedExchange, store: Store, folder: Path, base: dict[str, Any]):
        self.exchange = exchange
        self.store = store
        self.collectors: list[int] = []
        self.readers: list[int] = []
        self.reports: list[Path] = []
        self.account_lost: list[int] = []
        """When (exchange ms) the account was deleted."""
        self._nursery = nursery
        self._folder = folder
        self._base = base
        self._numbers = itertools.count(1)

    # --- processes -----------------------------------------------------------------------------------

    def start_collector(self, *, take_over: bool = False) -> int:
        number = next(self._numbers)
        spec = {**self._base, "log": str(self._folder / f"collector-{number}.log"), "take_over": take_over}
        self.collectors.append(self._nursery.start("collector", spec))
        return self.collectors[-1]

    def start_reader(self, *, stays: bool = False) -> int:
        number = next(self._numbers)
        report = self._folder / f"reader-{number}.json"
        spec = {**self._base, "log": str(self._folder / f"reader-{number}.log"), "report": str(report), "seed": number}
        process = self._nursery.start("reader", spec)
        self.reports.append(report)
        if stays:
            self.readers.append(process)
        return process

    def living(self) -> list[int]:
        """Return the collectors that are running."""
        self.collectors = [each for each in self.collectors if send(each, 0)]
        return self.collectors

    def leader(self) -> int:
        """Return the collector that leads according to the store, otherwise any."""
        living = self.living() or [self.start_collector()]
        with contextlib.suppress(Exception), contextlib.closing(self.store.client()) as client:
            label = (client.hget(LEASE_KEY, "label") or b"").decode()
            process = int(label.rpartition(":")[2] or 0)
            if process in living:
                return process
        return living[0]

    def standby(self, rng: random.Random) -> int:
        leader = self.leader()
        others = [each for each in self.living() if each != leader]
        return rng.choice(others) if others else leader

    def signal(self, process: int, number: int) -> None:
        send(process, number)

    def signal_all(self, processes: list[int], number: int) -> None:
        for process in processes:
            send(process, number)

    def kill(self, process: int) -> None:
        send(process, signal.SIGKILL)

    def stop(self, process: int) -> None:
        send(process, signal.SIGSTOP)

    def go_on(self, process: int) -> None:
        send(process, signal.SIGCONT)

    def fill_up(self) -> None:
        """Start collectors until there are two."""
        for _ in range(COLLECTORS - len(self.living())):
            self.start_collector()

    def thin_out(self) -> None:
        """End processes if there are more than a few."""
        leader = self.leader()
        for process in [each for each in self.living() if each != leader][MOST_COLLECTORS - 1 :]:
            self.kill(process)

    # --- the store -----------------------------------------------------------------------------------

    def delete(self, what: str) -> None:
        """Delete a part of what is in the store."""
        if what in ("everything", "account"):
            self.account_lost.append(self.exchange.now())
        with contextlib.suppress(Exception), contextlib.closing(self.store.client()) as client:
            if what == "everything":
                client.flushall()
                return
            patterns = {"feed": FEED_KEY, "lease": f"{LEASE_KEY}*", "account": SharedStore.key("account", "*")}
            pattern = patterns.get(what, SharedStore.key("feed", "*", what))
            for key in client.keys(pattern):
                client.delete(key)

    def wait_until_ready(self) -> bool:
        """Wait until a collector leads and has written."""
        deadline = time.monotonic() + READY_WITHIN
        with contextlib.closing(self.store.client()) as client:
            while time.monotonic() < deadline:
                if client.hget(FEED_KEY, "life"):
                    return True
                time.sleep(LOOK_EVERY)
        return False


class Observer(threading.Thread):
    """Watches the epochs in the store: none may begin to be written after a later one."""

    def __init__(self, store: Store) -> None:
        super().__init__(name="stress-epochs", daemon=True)
        self.epochs: set[int] = set()
        self.findings: list[tuple[str, str]] = []
        self.over = threading.Event()
        self._store = store

    def run(self) -> None:
        newest = 0
        with contextlib.closing(self._store.client()) as client:
            while not self.over.wait(LOOK_EVERY):
                try:
                    text = client.hget(FEED_KEY, "epoch")
                except Exception:  # noqa: BLE001, S112 - it is away, as it should be at times
                    continue
                epoch = int(text or 0)
                if epoch and epoch < newest:
                    self.findings.append((Promise.OLD_EPOCH.value, f"the feed of epoch {epoch} after that of {newest}"))
                newest = max(newest, epoch)
                self.epochs.add(epoch)


def run_schedule(nursery: Nursery, options: SharedOptions, seed: int) -> Outcome:
    """Run one schedule."""
    outcome = Outcome(seed=seed)
    began = time.monotonic()
    rng = random.Random(seed)
    scarce = rng.random() < 0.15
    limit = SCARCE_LIMIT if scarce else 2400
    start = before_turn("1m", rng.uniform(6.0, 20.0))
    folder = Path(tempfile.mkdtemp(prefix="ats-stress-"))
    store = Store(folder)
    observer = Observer(store)
    try:
        with SimulatedExchange(
            options.symbols, seed=seed, start=start, weight_limit=limit, ban_patience=UNDER_WAY
        ) as exchange:
            config = {
                **{name: getattr(exchange.config(), name) for name in _CONFIG},
                "shared": store.url,
                "futures_weight_limit": limit,
                "shared_fraction": 1.0 / PROCESSES,
            }
            healed_within = SCARCE_HEALED_WITHIN if scarce else HEALED_WITHIN
            base = {
                "config": config,
                "symbols": list(exchange.symbols),
                "intervals": INTERVALS,
                "control": (exchange.control_url, exchange.control_token),
                "healed_within": healed_within,
            }
            scene = Scene(nursery, exchange, store, folder, base)
            try:
                _run(scene, options, rng, observer, outcome)
                _take_reports(scene, healed_within, outcome)
                _judge(exchange, outcome, limit, scene.account_lost)
            finally:
                for process in (*scene.collectors, *scene.readers):
                    scene.kill(process)
    finally:
        observer.over.set()
        store.resume()
        store.kill()
    observer.join(5.0)
    outcome.findings += observer.findings
    outcome.epochs = len(observer.epochs - {0})
    outcome.seconds = time.monotonic() - began
    if outcome.findings:
        outcome.logs = str(folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome


_CONFIG = ("fapi_base", "spot_base", "fstream_base", "spot_stream_base", "ca_file", "proxies")


def _run(scene: Scene, options: SharedOptions, rng: random.Random, observer: Observer, outcome: Outcome) -> None:
    for _ in range(COLLECTORS):
        scene.start_collector()
    if not scene.wait_until_ready():
        outcome.findings.append((Promise.CONVERGENCE.value, "no collector has started to lead"))
    observer.start()
    for _ in range(READERS):
        scene.start_reader(stays=True)
    pause, numbers = threading.Event(), itertools.count()
    ends = time.monotonic() + options.faults_for
    undo: list[tuple[float, int, faults.Fault]] = []
    due = time.monotonic() + rng.uniform(0.5, LONGEST_SPELL)
    while (now := time.monotonic()) < ends:
        if now >= due:
            due = now + rng.uniform(0.3, LONGEST_SPELL)
            fault = faults.FAULTS.draw(rng, options.only)(scene, rng)
            outcome.faults[fault.name] += 1
            fault.begin()
            heapq.heappush(undo, (now + fault.seconds, next(numbers), fault))
        elif undo and undo[0][0] <= now:
            heapq.heappop(undo)[2].end()
            scene.thin_out()
        else:
            pause.wait(min([due, ends, *(each[0] for each in undo[:1])]) - now)
    while undo:
        heapq.heappop(undo)[2].end()
    scene.exchange.clear_faults()
    scene.exchange.pardon()
    for process in (*scene.living(), *scene.readers):
        scene.go_on(process)
    scene.fill_up()


def _take_reports(scene: Scene, healed_within: float, outcome: Outcome) -> None:
    """Let the readers finish, and count what all of them have recorded."""
    for reader in scene.readers:
        scene.signal(reader, signal.SIGTERM)
    deadline = time.monotonic() + healed_within + REPORTED_WITHIN
    while any(send(reader, 0) for reader in scene.readers) and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY)
    done = 0
    for report in scene.reports:
        outcome.readers += 1
        lines = report.read_text("utf-8").splitlines() if report.exists() else []
        for line in lines:
            try:
                entry = json.loads(line)
            except ValueError:
                continue  # it was killed while writing
            if "finding" in entry:
                outcome.findings.append(tuple(entry["finding"]))
            else:
                found = entry["done"]
                done += 1
                outcome.checks += found["checks"]
                outcome.by_rest += found["by_rest"]
                outcome.raised.update(found["raised"])
                outcome.healed = max(outcome.healed, found["healed"])
    if done < len(scene.readers):
        outcome.findings.append((Promise.CRASH.value, f"{len(scene.readers) - done} readers have not ended"))


def _judge(exchange: SimulatedExchange, outcome: Outcome, limit: int, account_lost: Sequence[int]) -> None:
    """Check the requests that the exchange received; ``account_lost``: when (exchange ms) the account was deleted."""
    known_again = math.inf if ENDS_A_PROCESS & set(outcome.faults) else KNOWN_AGAIN_WITHIN
    outcome.weight_allowed = int(limit * exchange.config().weight_share)
    by_minute: dict[int, int] = {}
    for each in exchange.request_log():
        if each.host == "fapi":
            minute = each.time - each.time % MINUTE
            by_minute[minute] = by_minute.get(minute, 0) + each.weight
        waited = each.waited is not None and each.waited > SENT_ALL_THE_SAME * 1000
        unknown = any(lost <= each.time <= lost + known_again for lost in account_lost)
        if waited and not unknown and not EXCUSED & set(outcome.faults):
            text = f"{each.path} {each.waited} ms after the {each.host} host had said to wait"
            outcome.findings.append((Promise.WAIT.value, text))
    outcome.weight_most = max(by_minute.values(), default=0)
    most = outcome.weight_allowed + HEAVIEST * sum(outcome.faults[name] for name in LOSES_THE_ACCOUNT)
    for minute, used in by_minute.items():
        if used > most:
            text = f"{used} of {outcome.weight_allowed} in the minute of {minute}"
            outcome.findings.append((Promise.BUDGET.value, text))


def run_shared_stress(options: SharedOptions, tell: Callable[[str], None] = lambda text: None) -> SharedReport:
    """Run schedules one after the other; ``tell`` receives a line about each. Ctrl-C ends the run with a report."""
    report = SharedReport(first_seed=options.seed)
    ends = time.monotonic() + options.seconds
    with Nursery() as nursery:
        try:
            for seed in itertools.count(options.seed):
                outcome = run_schedule(nursery, options, seed)
                report.add(outcome)
                tell(outcome.line())
                enough = (
                    time.monotonic() >= ends if options.schedules is None else report.schedules >= options.schedules
                )
                if enough:
                    break
        except KeyboardInterrupt:
            report.interrupted = True
    return report
