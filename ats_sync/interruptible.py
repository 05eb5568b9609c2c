"""Lets a signal end what the main thread waits for, in a process of our own.

The system may deliver a signal to any thread that does not block it, for example to one that is just being started.
Python then runs the handler on the main thread, but only after the main thread has stopped waiting, which may be never.
"""

from __future__ import annotations

import signal
import socket
import threading
from types import FrameType

REPEAT = 0.05
"""Seconds after which the main thread is woken again: the first time it may have been about to wait."""


def let_signals_end_waits() -> None:
    """Have every signal interrupt what the main thread waits for, whichever thread received it.

    Only for our own processes, on their main thread: a library leaves signals to the program.
    """
    if hasattr(signal, "pthread_kill"):  # other platforms deliver signals in another way
        _Waker().start()


class _Waker:
    """Interrupts the main thread by SIGURG, which nothing else uses, each time any other signal has arrived."""

    def __init__(self) -> None:
        self._main = threading.main_thread().ident
        self._handled = 0  # how often the main thread was interrupted
        self._numbers, self._wakeup = socket.socketpair()  # the numbers of the signals that have arrived
        self._wakeup.setblocking(False)

    def start(self) -> None:
        signal.signal(signal.SIGURG, self._note)
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._run, name="ats-signals", daemon=True).start()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._handled += 1

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            if all(number == signal.SIGURG for number in self._numbers.recv(64)):
                continue
            handled = self._handled
            while self._handled == handled:
                assert self._main is not None
                signal.pthread_kill(self._main, signal.SIGURG)
                pause.wait(REPEAT)
