"""A signal ends what the main thread waits for, whichever thread it is delivered to."""

from __future__ import annotations

import signal

import pytest

from .cli.command import finish, start, until_line

PROGRAM = """
import signal, threading

from ats_sync.cli.exits import end_on_sigterm

end_on_sigterm()
other = threading.Thread(target=threading.Event().wait, daemon=True)
other.start()
# The signal is delivered to another thread, as it also may be while one is being started.
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
try:
    print("waits", flush=True)
    WAIT
except KeyboardInterrupt:
    print("ended", flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
@pytest.mark.parametrize("wait", ["threading.Event().wait()", "other.join()", "threading.Event().wait(3600.0)"])
def test_a_signal_that_another_thread_receives_ends_the_wait(wait: str, number: signal.Signals) -> None:
    with start("-c", PROGRAM.replace("WAIT", wait)) as process:
        until_line(process, "waits")
        process.send_signal(number)
        assert finish(process) == (0, "ended\n", "")


def test_the_main_thread_is_woken_for_each_signal() -> None:
    program = """
import signal, threading

from ats_sync.interruptible import let_signals_end_waits

let_signals_end_waits()
seen = []
signal.signal(signal.SIGUSR1, lambda *_: (seen.append(1), print(len(seen), flush=True)))
threading.Thread(target=threading.Event().wait, daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
print("waits", flush=True)
threading.Event().wait()
"""
    with start("-c", program) as process:
        until_line(process, "waits")
        for number in range(1, 6):
            process.send_signal(signal.SIGUSR1)
            until_line(process, str(number))
