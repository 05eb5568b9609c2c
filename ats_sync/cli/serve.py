"""``serve``: one process that follows the market and answers what the exchange's REST answers."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from ..config import Config
from ..endpoint import Endpoint
from ..endpoint.admission import TOKEN_VARIABLE, Admission
from ..errors import ConfigError, ConnectionFailed, InvalidArgument
from ..manager import DataManager
from ..simulator import SimulatedExchange
from .busiest import busiest
from .exits import OK, USAGE, CommandFailed

SEED = 7


def run(options: Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM, which are the ordinary end."""
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
    # The port first: where it is taken, nothing has been requested yet.
    manager = DataManager(symbols, options.intervals, config=config)
    endpoint = Endpoint(manager, options.host, options.port, token=token)
    try:
        stack.enter_context(endpoint)
    except OSError as error:
        raise CommandFailed(
            f"cannot listen on {options.host}:{options.port}: {error.strerror or error}", USAGE
        ) from error
    stack.callback(manager.close)  # before the endpoint: it wakes the reads that wait
    _say(f"answering at {endpoint.url} (a browser shows the state there); Ctrl-C ends it")
    if not symbols:
        try:
            symbols = busiest(config, options.top)
        except CommandFailed as failure:
            unreachable = isinstance(failure.__cause__, ConnectionFailed)
            raise CommandFailed(str(failure), USAGE if unreachable else failure.status) from failure
    manager.initialize(symbols, options.intervals)
    _say(f"following {len(symbols)} symbols × {len(options.intervals)} intervals from memory")
    endpoint.wait()
    raise CommandFailed("the endpoint has ended by itself; its log says why")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
