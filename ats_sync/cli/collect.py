"""``collect``: one process that follows the market for all others, through a shared store."""

from __future__ import annotations

import logging
import os
import sys
import threading
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
from .embedded_store import EmbeddedStore
from .exits import OK, USAGE, CommandFailed

SEED = 7
LOOK_EVERY = 0.2


def run(options: Namespace) -> int:
    """Collect until Ctrl-C or SIGTERM, which are the ordinary end."""
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
    if options.simulate:
        exchange = stack.enter_context(SimulatedExchange(options.top, seed=SEED))
        config, symbols = exchange.config(), symbols or exchange.symbols
        for name, value in exchange.environment().items():
            _say(f"export {name}={value}")
    else:
        config = Config.from_env()
    url = options.shared or os.environ.get("ATS_SYNC_SHARED")
    if not url:
        url = stack.enter_context(EmbeddedStore(os.environ.get("ATS_SYNC_STATE_DIR") or None)).url
    config = replace(
        config,
        shared=url,
        role="collector",
        flush=options.flush,
        take_over=options.take_over,
        shard=options.shard,
        decode_ahead=False,  # nobody reads here
    )
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
        _wait_for_the_lease(store, shard)
    manager = DataManager(symbols, options.intervals, config=config)
    stack.callback(manager.close)
    manager.start()
    _say(f"following {len(symbols)} symbols × {len(options.intervals)} intervals for all readers; Ctrl-C ends it")
    threading.Event().wait()


def _wait_for_the_lease(store: SharedStore, shard: Shard) -> None:
    """Stand by until nobody leads. While the store is away nobody can, and this process would not either."""
    lease = Lease(store, uuid.uuid4().hex, name=shard.lease, label=f"{process_label()} (cold)")
    pause, shown = threading.Event(), ""
    while True:
        try:
            leader = lease.stand_by()
        except SharedStoreUnavailable as error:
            said = f"stands by, cold: {error}"
        else:
            if leader is None:
                return
            said = f"stands by, cold: {leader} leads"
        if said != shown:
            shown = said
            _say(said)
        pause.wait(LOOK_EVERY)


class _Roles(logging.Handler):
    """Shows when this process begins and ceases to lead."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.WARNING:  # the others go to stderr
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
