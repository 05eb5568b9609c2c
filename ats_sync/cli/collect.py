"""``collect``: follows the market for all other processes, through a shared store."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import uuid
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

from ..config import Config
from ..errors import ConfigError, ConnectionFailed, InvalidArgument, MissingExtra, SharedStoreUnavailable
from ..manager import DataManager
from ..shared.client import SharedStore, process_label
from ..shared.lease import Lease
from ..shared.shards import Shard
from ..simulator import SimulatedExchange
from .busiest import busiest
from .embedded_store import embedded
from .exits import OK, USAGE, CommandFailed

SEED = 7
LOOK_EVERY = 0.2
FREE_FOR = 1.0
"""Seconds after which a cold standby takes a free lease; a hot one requests it 20 times a second."""
HANDS_OVER_WITHIN = 8.0
"""Longest time in seconds that shutting down may take while another collector prepares to lead; the usual wait is as
long as that collector needs."""


def run(options: Namespace) -> int:
    """Collect until Ctrl-C or SIGTERM, which are the normal way to end it."""
    try:
        with ExitStack() as stack:
            _collect(options, stack)
    except KeyboardInterrupt:
        return OK
    except (ConfigError, InvalidArgument, ConnectionFailed, SharedStoreUnavailable, MissingExtra) as error:
        raise CommandFailed(str(error), USAGE) from error
    return OK


def _collect(options: Namespace, stack: ExitStack) -> None:
    symbols: Sequence[str] | None = options.symbols
    settings = {"state_dir": options.state_dir} if options.state_dir is not None else {}
    if options.simulate:
        exchange = stack.enter_context(SimulatedExchange(options.top, seed=SEED))
        config, symbols = exchange.config(**settings), symbols or exchange.symbols
        for name, value in exchange.environment().items():
            _say(f"export {name}={value}")
    else:
        config = Config.from_env(**settings)
    config = replace(
        config,
        role="collector",
        flush=options.flush,
        take_over=options.take_over,
        shard=options.shard,
        close_timeout=max(config.close_timeout, HANDS_OVER_WITHIN),
        decode_ahead=False,  # this process does not read
    )
    url = options.shared or os.environ.get("ATS_SYNC_SHARED") or ""
    if (server := embedded(url, config, simulated=options.simulate)) is not None:
        stack.enter_context(server)
        url = url or server.url
    config = replace(config, shared=url)
    shard = Shard.parse(config.shard)
    store = SharedStore.of(config)
    stack.callback(store.close)
    store.connect(writes=True)
    _say(f"export ATS_SYNC_SHARED={url}" if "@" not in url else f"the shared store is {store.url}")
    if not symbols:
        try:
            symbols = busiest(replace(config, shared=None), options.top)
        except CommandFailed as failure:
            unreachable = isinstance(failure.__cause__, ConnectionFailed)
            raise CommandFailed(str(failure), USAGE if unreachable else failure.status) from failure
    symbols = [symbol for symbol in symbols if shard.has_symbol(symbol)]
    _show_roles(stack)
    if options.standby == "cold":
        wait_for_the_lease(store, shard)
    manager = DataManager(symbols, options.intervals, config=config)
    stack.callback(manager.close)
    manager.start()
    _say(f"following {len(symbols)} symbols × {len(options.intervals)} intervals for all readers; Ctrl-C ends it")
    threading.Event().wait()


def wait_for_the_lease(store: SharedStore, shard: Shard) -> None:
    """Stand by until no collector leads and none that needs no warm-up has taken over: a hot standby, an heir, or
    whichever led before the store was emptied. No collector can lead while the store is unreachable."""
    lease = Lease(store, uuid.uuid4().hex, name=shard.lease, label=f"{process_label()} (cold)")
    pause, free_since, shown = threading.Event(), None, ""
    while True:
        said = shown
        try:
            leader = lease.stand_by()
        except SharedStoreUnavailable as error:
            free_since, said = None, f"standing by, cold: {error}"
        else:
            if leader is not None:
                free_since, said = None, f"standing by, cold: {leader} leads"
            elif free_since is None:
                free_since = time.monotonic()
            elif time.monotonic() - free_since >= FREE_FOR:
                return
        if said != shown:
            shown = said
            _say(said)
        pause.wait(LOOK_EVERY)


class _Roles(logging.Handler):
    """Shows when this process starts and stops leading."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.WARNING:  # warnings and errors go to stderr
            _say(record.getMessage())


def _show_roles(stack: ExitStack) -> None:
    logger, handler = logging.getLogger("ats_sync.shared.lease_keeper"), _Roles()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    stack.callback(logger.setLevel, before)
    stack.callback(logger.removeHandler, handler)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
