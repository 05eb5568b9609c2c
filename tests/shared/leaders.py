"""A process that keeps a lease and writes an entry every 20 ms while it leads, for tests that kill and stop it.

``python -m tests.shared.leaders URL LABEL [--take-over]``; SIGTERM hands the lease over.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading

from ats_sync.clock import Clock
from ats_sync.errors import SharedStoreUnavailable
from ats_sync.shared.client import SharedStore
from ats_sync.shared.lease_keeper import LeaseKeeper

ENTRIES = SharedStore.key("test", "entries")


def main() -> None:
    url, label, *options = sys.argv[1:]
    store = SharedStore(url)
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    keeper = LeaseKeeper(store, Clock(), label=label)
    keeper.start(take_over="--take-over" in options)
    while not stop.wait(0.02):
        if (epoch := keeper.epoch()) is not None:
            # (The epoch is read before: a process that is stopped between the two must write nothing.)
            with contextlib.suppress(SharedStoreUnavailable):
                keeper.write([("XADD", ENTRIES, "*", "epoch", epoch, "by", label)])
    keeper.close()
    store.close()


if __name__ == "__main__":
    main()
