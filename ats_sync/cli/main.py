"""Arguments, exit status, and what goes to stderr.

0: done. 1: it failed, in plain words on stderr. 2: wrong usage, or a package is missing. 130: ended by Ctrl-C.
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
"""The four ports after it are used, too."""


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
    """Writes to the current ``sys.stderr``: a progress bar replaces it for a while."""

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
    # Imported here, since it needs packages that may not be installed.
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
        description="Binance USDⓈ-M market data kept in memory: a demonstration, tests, a test exchange, a recorder.",
    )
    parser.add_argument("--version", action="version", version=f"ats-sync {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("demo", help="warm up, scan from memory, lose the streams and get them back")
    command.set_defaults(run=_demo)
    command.add_argument(
        "--live", action="store_true", help="on the real exchange (or that of the BINANCE_… environment), without a cut"
    )
    command.add_argument("--symbols", type=_whole(1, MOST_SYMBOLS), default=200, metavar="N", help="how many (200)")
    _add_intervals(command)
    command.add_argument("--seconds", type=_seconds, default=20.0, metavar="S", help="how long to go on scanning (20)")
    command.add_argument("--no-websocket", action="store_true", help="REST alone")

    command = commands.add_parser("serve", help="answer what the exchange's REST answers, from memory, over HTTP")
    command.set_defaults(run=_serve)
    command.add_argument("--host", default="127.0.0.1", metavar="H", help="where to listen (127.0.0.1)")
    command.add_argument("--port", type=_whole(0, 65535), default=8787, metavar="N", help="0 is any free one (8787)")
    command.add_argument(
        "--token", metavar="T", help="what clients must send, needed for a host that other machines reach"
    )
    _add_followed(command)
    _add_state_dir(command)
    command.add_argument("--simulate", action="store_true", help="follow a simulated exchange of --top symbols")

    command = commands.add_parser("collect", help="follow the market for all processes that share a Valkey or Redis")
    command.set_defaults(run=_collect)
    command.add_argument(
        "--shared",
        metavar="URL",
        help="of the store (ATS_SYNC_SHARED; without both a Valkey of its own, on a Unix socket in --state-dir or else "
        "in a folder of this user, which all collectors started like this share and the last one ends)",
    )
    _add_followed(command)
    _add_state_dir(command)
    command.add_argument(
        "--standby",
        choices=("hot", "cold"),
        default="hot",
        help="while another one leads: hot follows the market already, cold begins when that one is gone (hot)",
    )
    command.add_argument("--take-over", action="store_true", help="have the one that leads hand over, once it is ready")
    command.add_argument(
        "--flush", type=_seconds, default=0.05, metavar="S", help="how often what has changed is written (0.05)"
    )
    command.add_argument(
        "--shard",
        default="1/1",
        metavar="I/N",
        help="follow this part of the symbols; each part has its own leader (1/1)",
    )
    command.add_argument("--simulate", action="store_true", help="follow a simulated exchange of --top symbols")

    command = commands.add_parser("shared-status", help="who leads and stands by in a shared store, ages and memory")
    command.set_defaults(run=_shared_status)
    command.add_argument("url", metavar="URL", nargs="?", help="of the store (ATS_SYNC_SHARED)")

    command = commands.add_parser("top", help="the state of a running endpoint on the terminal; piped, once")
    command.set_defaults(run=_top)
    command.add_argument(
        "--url", default="http://127.0.0.1:8787", metavar="URL", help="the endpoint's (http://127.0.0.1:8787)"
    )
    command.add_argument("--token", metavar="T", help="what it was started with, if anything")

    command = commands.add_parser("stress", help="faults at random on a test exchange, every promise watched")
    command.set_defaults(run=_stress)
    command.add_argument("--seconds", type=_seconds, default=60.0, metavar="S", help="how long to make faults (60)")
    command.add_argument("--symbols", type=_whole(1, MOST_SYMBOLS), default=200, metavar="N", help="how many (200)")
    _add_intervals(command, ("1m", "15m", "1h", "4h", "1d"))
    command.add_argument("--seed", type=int, default=7, help="of the trades and the faults (7)")
    command.add_argument("--readers", type=_whole(1, 64), default=4, metavar="N", help="threads that scan (4)")
    command.add_argument("--pause", action="store_true", help="now and then stop this process, too (SIGSTOP)")
    command.add_argument(
        "--shared", action="store_true", help="short schedules of collectors, readers and their shared store instead"
    )
    command.add_argument(
        "--schedules", type=_whole(1, 100_000), metavar="N", help="with --shared: so many, however long they take"
    )
    command.add_argument("--only", type=_names, default=[], metavar="A,B", help="these faults alone")
    command.add_argument("--json", metavar="FILE", help="write the figures there, too")

    command = commands.add_parser("compare", help="the same scan by REST alone and through the manager, side by side")
    command.set_defaults(run=_compare)
    command.add_argument(
        "--live", action="store_true", help="on the real exchange (or that of the BINANCE_… environment)"
    )
    command.add_argument("--symbols", type=_whole(1, MOST_SYMBOLS), default=40, metavar="N", help="how many (40)")
    command.add_argument(
        "--latency", type=_delay, default=0.2, metavar="S", help="seconds the simulated exchange takes a request (0.2)"
    )
    command.add_argument("--threads", type=_whole(1, 64), default=5, metavar="N", help="of the scanner (5)")
    command.add_argument("--scans", type=_whole(1, 100), default=3, metavar="N", help="of each of the two (3)")

    command = commands.add_parser(
        "probe", help="compare the exchange with each fact that the client rests on: kept or changed"
    )
    command.set_defaults(run=_probe)
    command.add_argument(
        "--live",
        action="store_true",
        help="the real exchange (or that of the BINANCE_… environment), in about a minute",
    )

    command = commands.add_parser("simulate", help="run the simulated exchange until Ctrl-C or SIGTERM")
    command.set_defaults(run=simulate.run)
    command.add_argument(
        "--port",
        type=_whole(0, HIGHEST_PORT),
        default=0,
        metavar="N",
        help="of futures REST; the next four: spot REST, futures streams, spot streams, controls (0: any free ones)",
    )
    command.add_argument("--symbols", type=_whole(1, MOST_SYMBOLS), default=200, metavar="N", help="how many (200)")
    command.add_argument("--seed", type=int, default=7, help="of its trades (7)")
    command.add_argument("--latency", type=_delay, default=0.0, metavar="S", help="seconds added to each REST answer")
    command.add_argument("--tls", action="store_true", help="https and wss, with a certificate made for it")

    command = commands.add_parser("record", help="write REST answers and stream frames to files, to be replayed")
    command.set_defaults(run=record.run)
    command.add_argument("directory", metavar="DIR", help="where to; made if it is not there")
    command.add_argument("--seconds", type=_seconds, default=30.0, metavar="S", help="how long (30)")
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
        help=f"kinds, each for every symbol, or !… for all symbols at once ({','.join(record.DEFAULT_STREAMS)})",
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
        "--top", type=_whole(1, MOST_SYMBOLS), default=200, metavar="N", help="else so many, by turnover (200)"
    )
    _add_intervals(command)


def _add_state_dir(command: ArgumentParser) -> None:
    command.add_argument(
        "--state-dir", metavar="DIR", help="keep rows there for the next start (else ATS_SYNC_STATE_DIR, where set)"
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
        raise ArgumentTypeError(f"it must be above 0, not {text}")
    return value


def _delay(text: str) -> float:
    value = _number(text)
    if value < 0:
        raise ArgumentTypeError(f"it must not be negative, as {text} is")
    return value


def _whole(least: int, most: int) -> Callable[[str], int]:
    def check(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise ArgumentTypeError(f"it must be a whole number from {least} to {most}, not {text!r}")
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
