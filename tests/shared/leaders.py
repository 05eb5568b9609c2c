"""Processes that keep a lease and write an entry every 20 ms while they lead, for tests that kill and stop them.

``python -m tests.shared.leaders URL`` starts one for each line ``LABEL [--take-over]`` and answers with its process id;
SIGTERM makes it hand the lease over. All end with the first.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading

from ats_sync.clock import Clock
from ats_sync.errors import SharedStoreUnavailable
from ats_sync.shared.client import SharedStore
from ats_sync.shared.lease_keeper import LeaseKeeper

ENTRIES = SharedStore.key("test", "entries")


def main() -> None:
    children = []
    for line in sys.stdin:
        child = os.fork()
        if not child:
            lead(sys.argv[1], *line.split())
            os._exit(0)
        children.append(child)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def lead(url: str, label: str, *options: str) -> None:
    store = SharedStore(url)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    keeper = LeaseKeeper(store, Clock(), label=label)
    keeper.start(take_over="--take-over" in options)
    while not stop.wait(0.02):
        if (epoch := keeper.epoch()) is not None:
            # (The epoch is read first: a process that is stopped between the two must write nothing.)
            with contextlib.suppress(SharedStoreUnavailable):
                keeper.write([("XADD", ENTRIES, "*", "epoch", epoch, "by", label)])
    keeper.close()
    store.close()


if __name__ == "__main__":
    main()
