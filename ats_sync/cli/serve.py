"""``serve``: follows the market and answers what the exchange's REST answers."""

from __future__ import annotations

import os
import sys
import threading
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from ..config import Config
from ..endpoint import Endpoint
from ..endpoint.admission import TOKEN_VARIABLE, Admission
from ..errors import ConfigError, ConnectionFailed, DataError, InvalidArgument, RequestError, StartTimeout
from ..manager import DataManager
from ..simulator import SimulatedExchange
from .busiest import busiest, busiest_in_memory
from .exits import OK, USAGE, CommandFailed

SEED = 7
AGAIN_AFTER = 2.0
"""Seconds."""


def run(options: Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM, which are the normal way to end it."""
    try:
        with ExitStack() as stack:
            _serve(options, stack)
    except KeyboardInterrupt:
        return OK
    except (ConfigError, InvalidArgument, ConnectionFailed) as error:
        raise CommandFailed(str(error), USAGE) from error
    return OK


def _serve(options: Namespace, stack: ExitStack) -> None:
    token = options.token or os.environ.get(TOKEN_VARIABLE) or None
    Admission(options.host, token)  # before anything is started
    settings: dict[str, Any] = {"decode_ahead": False}  # it answers with the text of rows
    if options.state_dir is not None:
        settings["state_dir"] = options.state_dir
    symbols: Sequence[str]
    if options.simulate:
        exchange = stack.enter_context(SimulatedExchange(options.top, seed=SEED))
        config, symbols = exchange.config(**settings), options.symbols or exchange.symbols
    else:
        config = Config.from_env(**settings)
        symbols = options.symbols or ()
    # The port first: if it is taken, nothing has been requested yet.
    manager = DataManager(symbols, options.intervals, config=config)
    endpoint = Endpoint(manager, options.host, options.port, token=token)
    try:
        stack.enter_context(endpoint)
    except OSError as error:
        raise CommandFailed(
            f"cannot listen on {options.host}:{options.port}: {error.strerror or error}", USAGE
        ) from error
    stack.callback(manager.close)  # closed before the endpoint: it wakes the waiting reads
    _say(f"answering at {endpoint.url} (open it in a browser to see the state); Ctrl-C ends it")
    if config.shared is not None:
        symbols = _read_shared(manager, symbols, options)
        _say(f"reading {len(symbols)} symbols × {len(options.intervals)} intervals from the shared store")
    else:
        if not symbols:
            try:
                symbols = busiest(config, options.top)
            except CommandFailed as failure:
                unreachable = isinstance(failure.__cause__, ConnectionFailed)
                raise CommandFailed(str(failure), USAGE if unreachable else failure.status) from failure
        manager.initialize(symbols, options.intervals)
        _say(f"following {len(symbols)} symbols × {len(options.intervals)} intervals from memory")
    endpoint.wait()
    raise CommandFailed("the endpoint ended unexpectedly; its log says why")


def _read_shared(manager: DataManager, symbols: Sequence[str], options: Namespace) -> Sequence[str]:
    """Return the symbols once a collector serves them; for --top, the busiest by the tickers that it has written."""
    pause = threading.Event()
    while not symbols:
        _start(manager, manager.start)
        try:
            symbols = busiest_in_memory(manager, options.top)
        except (DataError, RequestError) as error:  # the leader has gone, and REST does not answer either
            _say(f"not ready: {error}")
            pause.wait(AGAIN_AFTER)
    _start(manager, lambda timeout: manager.initialize(symbols, options.intervals, timeout=timeout))
    return symbols


def _start(manager: DataManager, start: Callable[[float | None], object]) -> None:
    """Return once a reader has started, however long no collector leads. Until then it answers by REST, and its status
    says why it is not ready."""
    said = ""
    timeout: float | None = 0.0  # the first time, to show at once what it waits for
    while True:
        try:
            start(timeout)
            return
        except StartTimeout as late:
            timeout = None
            if str(late) != said:
                said = str(late)
                _say(said)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
