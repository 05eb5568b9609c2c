"""Calls from a signal handler, which interrupts the main thread anywhere: none of them hangs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ats_sync.simulator import SimulatedExchange

ROOT = Path(__file__).parents[1]
CHILD = """
import faulthandler, json, os, signal, sys, threading
from ats_sync import AtsSyncError, Config, DataManager, ReentrantCall

urls, symbols, mode, delays = json.loads(sys.argv[1])
# A process for each delay, which need not import everything again: a fork, before any thread runs.
for delay in delays:
    if not (child := os.fork()):
        break
    if status := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        sys.exit(f"{status} where it was closed after {delay} s")
else:
    sys.exit(0)
faulthandler.dump_traceback_later(25, exit=True)
config = Config(fapi_base=urls[0], spot_base=urls[1], fstream_base=urls[2], spot_stream_base=urls[3], proxies={})
manager = DataManager(symbols, ["1h"], config=config).start(timeout=20)
refused = 0

def read(*_):
    global refused
    try:
        manager.get_klines(symbols[0], "1h", 100), manager.status(), manager.get_stats()
    except ReentrantCall:
        refused += 1

def stop(*_):
    signal.setitimer(signal.ITIMER_REAL, 0)
    manager.close()
    sys.exit(0)

signal.signal(signal.SIGTERM, stop)
signal.signal(signal.SIGALRM, read)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
threading.Timer(delay, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
while True:
    if mode == "status":
        manager.status(), manager.get_stats()
    elif mode == "fetch":
        manager.get_klines(symbols[0], "1h", 100, max_age=0)
    else:
        manager.get_klines(symbols[0], "1h", 100)
"""


@pytest.mark.parametrize("mode", ["klines", "status", "fetch"])
def test_reads_and_close_from_a_signal_handler_never_hang(mode: str) -> None:
    with SimulatedExchange(symbols=3, seed=7) as exchange:
        config = exchange.config()
        urls = [config.fapi_base, config.spot_base, config.fstream_base, config.spot_stream_base]
        delays = [0.2 + 0.0371 * number for number in range(3)]
        arguments = json.dumps([urls, list(exchange.symbols[:2]), mode, delays])
        ended = subprocess.run(
            [sys.executable, "-c", CHILD, arguments], cwd=ROOT, capture_output=True, text=True, timeout=90
        )
        assert ended.returncode == 0, ended.stderr[-2000:]
