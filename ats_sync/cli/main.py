"""The command line: arguments, exit status, and what goes to stderr.

0: done. 1: it failed, and stderr says why. 2: wrong usage, or a package is missing. 130: ended by Ctrl-C.
143: ended by SIGTERM.
"""

from __future__ import annotations

import io
import logging
import math
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from .. import __version__
from ..errors import AtsSyncError
from ..manager import DEFAULT_INTERVALS
from ..simulator import SimulatorError
from ..venue.intervals import check_interval
from ..venue.symbols import check_symbol
from . import record, simulate
from .exits import FAILED, CommandFailed, interrupted_status, need

T = TypeVar("T")

MOST_SYMBOLS = 1000
HIGHEST_PORT = 65531
"""The four ports after it are used as well."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status; ``SystemExit`` from argparse for wrong usage."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Some symbols are Chinese; a terminal that cannot show them gets question marks.
            stream.reconfigure(errors="replace")
    options = _parser().parse_args(arguments)
    with _warnings_on_stderr():
        try:
            status: int = options.run(options)
            sys.stdout.flush()
            return status
        except KeyboardInterrupt:
            return interrupted_status()
        except CommandFailed as failure:
            return _printed(str(failure), failure.status)
        except BrokenPipeError:
            # The reader of the output has gone; what is still buffered must not fail again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except SimulatorError as error:
            lines = str(error).splitlines()
            return _printed(lines[0] if len(lines) == 1 else f"{lines[0]} {lines[-1]}", FAILED)
        except (AtsSyncError, OSError) as error:
            return _printed(str(error), FAILED)


def _printed(message: str, status: int) -> int:
    sys.stderr.write(f"ats_sync: {message}\n")
    return status


class _StderrHandler(logging.Handler):
    """Writes to the current ``sys.stderr``, which a progress bar replaces for a while."""

    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(self.format(record) + "\n")


@contextmanager
def _warnings_on_stderr() -> Iterator[None]:
    logger = logging.getLogger("ats_sync")
    handler = _StderrHandler()
    handler.setLevel(logging.WARNING)
    handler.setFormatter(logging.Formatter("ats_sync: %(message)s"))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _demo(options: Namespace) -> int:
    need("demo", "rich", *(() if options.live else ("aiohttp",)))
    # Imported here because it needs packages that may not be installed.
    from .demo import run

    return run(options)


def _stress(options: Namespace) -> int:
    need("stress", "rich", "aiohttp")
    from .stress import run

    return run(options)


def _compare(options: Namespace) -> int:
    need("compare", "rich", *(() if options.live else ("aiohttp",)))
    from .compare import run

    return run(options)


def _probe(options: Namespace) -> int:
    need("probe", *(() if options.live else ("aiohttp",)))
    from .probe import run

    return run(options)


def _serve(options: Namespace) -> int:
    need("serve", "aiohttp")
    from .serve import run

    return run(options)


def _collect(options: Namespace) -> int:
    need("collect", "redis", *(("aiohttp",) if options.simulate else ()))
    from .collect import run

    return run(options)


def _shared_status(options: Namespace) -> int:
    need("shared-status", "redis")
    from .shared_status import run

    return run(options)


def _top(options: Namespace) -> int:
    need("top", "rich")
    from .top import run

    return run(options)


def _parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m ats_sync",
        description="Binance USDⓈ-M market data kept in memory: demo, servers, checks, and a simulated exchange.",
    )
    parser.add_argument("--version", action="version", version=f"ats-sync {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("demo", help="warm up, scan from memory, lose the streams and recover")
    command.set_defaults(run=_demo)
    command.add_argument(
        "--live",
        action="store_true",
        help="use the real exchange (or the one that BINANCE_… variables name), without a cut",
    )
    command.add_argument(
        "--symbols", type=_whole(1, MOST_SYMBOLS), default=200, metavar="N", help="number of symbols (200)"
    )
    _add_intervals(command)
    command.add_argument("--seconds", type=_seconds, default=20.0, metavar="S", help="how long to keep scanning (20)")
    command.add_argument("--no-websocket", action="store_true", help="use REST alone")

    command = commands.add_parser("serve", help="answer what the exchange's REST answers, from memory, over HTTP")
    command.set_defaults(run=_serve)
    command.add_argument("--host", default="127.0.0.1", metavar="H", help="where to listen (127.0.0.1)")
    command.add_argument(
        "--port", type=_whole(0, 65535), default=8787, metavar="N", help="0 picks any free port (8787)"
    )
    command.add_argument(
        "--token", metavar="T", help="what clients must send; required if other machines can reach the host"
    )
    _add_followed(command)
    _add_state_dir(command)
    command.add_argument("--simulate", action="store_true", help="follow a simulated exchange of --top symbols")

    command = commands.add_parser("collect", help="follow the market for all processes that share a Valkey or Redis")
    command.set_defaults(run=_collect)
    command.add_argument(
        "--shared",
        metavar="URL",
        help="the store (ATS_SYNC_SHARED; without either, an embedded Valkey on a Unix socket, in --state-dir or a "
        "folder of this user; all collectors started like this share it, and it ends with the last one)",
    )
    _add_followed(command)
    _add_state_dir(command)
    command.add_argument(
        "--standby",
        choices=("hot", "cold"),
        default="hot",
        help="while another collector leads: hot already follows the market, cold starts when the leader is gone (hot)",
    )
    command.add_argument("--take-over", action="store_true", help="make the leader hand over once this one is ready")
    command.add_argument(
        "--flush", type=_seconds, default=0.05, metavar="S", help="seconds between writes of what has changed (0.05)"
    )
    command.add_argument(
        "--shard",
        default="1/1",
        metavar="I/N",
        help="follow this part of the symbols; each part has its own leader (1/1)",
    )
    command.add_argument("--simulate", action="store_true", help="follow a simulated exchange of --top symbols")

    command = commands.add_parser(
        "shared-status", help="show who leads and who stands by in a shared store, ages, memory"
    )
    command.set_defaults(run=_shared_status)
    command.add_argument("url", metavar="URL", nargs="?", help="the store (ATS_SYNC_SHARED)")

    command = commands.add_parser("top", help="show the state of a running endpoint in the terminal; once if piped")
    command.set_defaults(run=_top)
    command.add_argument(
        "--url", default="http://127.0.0.1:8787", metavar="URL", help="the endpoint (http://127.0.0.1:8787)"
    )
    command.add_argument("--token", metavar="T", help="the one the endpoint was started with, if any")

    command = commands.add_parser("stress", help="run random faults on a simulated exchange and check every promise")
    command.set_defaults(run=_stress)
    command.add_argument("--seconds", type=_seconds, default=60.0, metavar="S", help="how long to cause faults (60)")
    command.add_argument("--symbols", type=_whole(1, MOST_SYMBOLS), metavar="N", help="number of symbols (200)")
    _add_intervals(command, ("1m", "15m", "1h", "4h", "1d"))
    command.add_argument("--seed", type=int, default=7, help="seed of the trades and the faults (7)")
    command.add_argument("--readers", type=_whole(1, 64), metavar="N", help="number of threads that scan (4)")
    command.add_argument("--pause", action="store_true", help="also stop this process now and then (SIGSTOP)")
    command.add_argument(
        "--shared",
        action="store_true",
        help="run short schedules of collectors, readers and their shared store instead",
    )
    command.add_argument(
        "--schedules", type=_whole(1, 100_000), metavar="N", help="with --shared: run this many, however long they take"
    )
    command.add_argument("--only", type=_names, default=[], metavar="A,B", help="only these faults")
    command.add_argument("--json", metavar="FILE", help="also write the figures to this file")
    command.set_defaults(intervals=None)  # Whether it was given matters; ``stress.Options`` has the default.

    command = commands.add_parser("compare", help="run the same scan by REST alone and through the manager")
    command.set_defaults(run=_compare)
    command.add_argument(
        "--live", action="store_true", help="use the real exchange (or the one that BINANCE_… variables name)"
    )
    command.add_argument(
        "--symbols", type=_whole(1, MOST_SYMBOLS), default=40, metavar="N", help="number of symbols (40)"
    )
    command.add_argument(
        "--latency",
        type=_delay,
        default=0.2,
        metavar="S",
        help="seconds the simulated exchange takes per request (0.2)",
    )
    command.add_argument(
        "--threads", type=_whole(1, 64), default=5, metavar="N", help="number of the scanner's threads (5)"
    )
    command.add_argument(
        "--scans", type=_whole(1, 100), default=3, metavar="N", help="number of scans on each side (3)"
    )

    command = commands.add_parser(
        "probe", help="check each fact about the exchange that the client relies on: kept or changed"
    )
    command.set_defaults(run=_probe)
    command.add_argument(
        "--live",
        action="store_true",
        help="use the real exchange (or the one that BINANCE_… variables name); takes about a minute",
    )

    command = commands.add_parser("simulate", help="run the simulated exchange until Ctrl-C or SIGTERM")
    command.set_defaults(run=simulate.run)
    command.add_argument(
        "--port",
        type=_whole(0, HIGHEST_PORT),
        default=0,
        metavar="N",
        help="port of futures REST; the next four: spot REST, futures streams, spot streams, controls (0: any free)",
    )
    command.add_argument(
        "--symbols", type=_whole(1, MOST_SYMBOLS), default=200, metavar="N", help="number of symbols (200)"
    )
    command.add_argument("--seed", type=int, default=7, help="seed of the trades (7)")
    command.add_argument("--latency", type=_delay, default=0.0, metavar="S", help="seconds added to each REST answer")
    command.add_argument("--tls", action="store_true", help="use https and wss, with a generated certificate")

    command = commands.add_parser("record", help="write REST answers and stream frames to files, for a replay")
    command.set_defaults(run=record.run)
    command.add_argument("directory", metavar="DIR", help="where to write; created if it does not exist")
    command.add_argument("--seconds", type=_seconds, default=30.0, metavar="S", help="how long to record (30)")
    command.add_argument(
        "--symbols",
        type=_each(check_symbol),
        default=["BTCUSDT", "ETHUSDT"],
        metavar="A,B",
        help="perpetuals (BTCUSDT,ETHUSDT)",
    )
    command.add_argument(
        "--streams",
        type=_each(record.check_stream),
        default=list(record.DEFAULT_STREAMS),
        metavar="A,B",
        help=f"stream kinds, each for every symbol, or !… for all symbols at once ({','.join(record.DEFAULT_STREAMS)})",
    )
    return parser


def _add_intervals(command: ArgumentParser, default: Sequence[str] = DEFAULT_INTERVALS) -> None:
    command.add_argument(
        "--intervals",
        type=_each(check_interval),
        default=list(default),
        metavar="I,J",
        help=f"kline intervals ({','.join(default)})",
    )


def _add_followed(command: ArgumentParser) -> None:
    command.add_argument(
        "--symbols", type=_each(check_symbol), metavar="A,B", help="perpetuals to follow from the start"
    )
    command.add_argument(
        "--top",
        type=_whole(1, MOST_SYMBOLS),
        default=200,
        metavar="N",
        help="without --symbols: follow this many, by turnover (200)",
    )
    _add_intervals(command)


def _add_state_dir(command: ArgumentParser) -> None:
    command.add_argument(
        "--state-dir", metavar="DIR", help="where to keep rows for the next start (default: ATS_SYNC_STATE_DIR, if set)"
    )


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def _seconds(text: str) -> float:
    value = _number(text)
    if value <= 0:
        raise ArgumentTypeError(f"must be above 0, not {text}")
    return value


def _delay(text: str) -> float:
    value = _number(text)
    if value < 0:
        raise ArgumentTypeError(f"must not be negative, but is {text}")
    return value


def _whole(least: int, most: int) -> Callable[[str], int]:
    def check(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise ArgumentTypeError(f"must be a whole number from {least} to {most}, not {text!r}")
        return int(text)

    return check


def _names(text: str) -> list[str]:
    return text.split(",")


def _each(check: Callable[[str], T]) -> Callable[[str], list[T]]:
    """Return the parts of a comma-separated list, each checked, without repetitions."""

    def parse(text: str) -> list[T]:
        try:
            return list(dict.fromkeys(check(part) for part in text.split(",")))
        except AtsSyncError as error:
            raise ArgumentTypeError(str(error)) from None

    return parse
