"""``top``: shows the page of a running endpoint in the terminal; if piped, its state once."""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import requests
from rich.console import Console
from rich.live import Live

from ..endpoint.admission import TOKEN_VARIABLE
from .exits import OK, USAGE, CommandFailed
from .top_model import Choice, Model
from .top_screen import drawn, plain

try:
    import termios
    import tty
except ImportError:  # not a Unix terminal: shown without keys
    termios = None  # type: ignore[assignment]

CONNECT_TIMEOUT, SILENT_TIMEOUT = 5.0, 10.0
AGAIN_AFTER = 1.0
REDRAW_EVERY = 0.5
PAGE_ROWS = 10
_ESCAPES = {b"[A": "up", b"[B": "down", b"[5~": "page up", b"[6~": "page down", b"OA": "up", b"OB": "down"}


def run(options: Namespace) -> int:
    """Show the endpoint until q or Ctrl-C; if the output is not a terminal, show its state once."""
    url = options.url.rstrip("/")
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise CommandFailed(f"{options.url} is not the address of an endpoint, such as http://127.0.0.1:8787", USAGE)
    source = Source(url, options.token or os.environ.get(TOKEN_VARIABLE) or None)
    messages = source.open()
    model = Model()
    try:
        model.take(next(messages), time.monotonic())
    except (StopIteration, requests.RequestException, ValueError) as error:
        raise CommandFailed(f"{url} closed before it showed anything", USAGE) from error
    if not sys.stdout.isatty():
        source.close()
        for line in plain(model):
            sys.stdout.write(line + "\n")
        return OK
    _Top(source, messages, model).run()
    return OK


class Source:
    """The events of an endpoint's page."""

    def __init__(self, url: str, token: str | None) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy and no .netrc between a machine and its own endpoint
        if token is not None:
            self._session.headers["Authorization"] = f"Bearer {token}"
        self._answer: requests.Response | None = None

    def open(self) -> Iterator[dict[str, Any]]:
        """Return the messages from now on. Raises :class:`CommandFailed` if there are none."""
        url = self._url
        try:
            answer = self._session.get(
                f"{url}/events", stream=True, timeout=(CONNECT_TIMEOUT, SILENT_TIMEOUT), allow_redirects=False
            )
        except (requests.RequestException, ValueError) as error:
            raise CommandFailed(f"{url} cannot be reached; is `python -m ats_sync serve` running?", USAGE) from error
        self._answer = answer
        if answer.status_code == 401:
            raise CommandFailed(f"{url} needs its token: use --token, or set {TOKEN_VARIABLE}", USAGE)
        if answer.status_code == 503:
            raise CommandFailed(f"{url} already has too many viewers", USAGE)
        if answer.status_code != 200 or not answer.headers.get("Content-Type", "").startswith("text/event-stream"):
            raise CommandFailed(f"{url} answers, but it is not an endpoint of ats_sync", USAGE)
        return self._messages(answer)

    @staticmethod
    def _messages(answer: requests.Response) -> Iterator[dict[str, Any]]:
        for line in answer.iter_lines(chunk_size=None):
            if line.startswith(b"data: "):
                yield json.loads(line[6:])

    def close(self) -> None:
        """Let go."""
        if self._answer is not None:
            self._answer.close()
        self._session.close()


class _Top:
    """One run on a terminal: a thread reads the messages, the main thread reads the keys."""

    def __init__(self, source: Source, messages: Iterator[dict[str, Any]], model: Model) -> None:
        self._source = source
        self._messages = messages
        self._lock = threading.Lock()  # guards the two below
        self._model = model
        self._trouble = ""
        self._choice = Choice()
        self._asks = False
        self._ended = threading.Event()
        self._wake_out, self._wake_in = os.pipe()

    def run(self) -> None:
        reader = threading.Thread(target=self._read, name="ats-top", daemon=True)
        console = Console()
        try:
            with _keys() as keys, Live(console=console, screen=True, auto_refresh=False) as live:
                reader.start()
                while not self._ended.is_set():
                    size = console.size
                    with self._lock:
                        live.update(
                            drawn(
                                self._model,
                                self._choice,
                                size.width,
                                size.height,
                                time.monotonic(),
                                self._trouble,
                                asks=self._asks,
                            ),
                            refresh=True,
                        )
                    self._wait(keys)
        finally:
            self._ended.set()  # (The thread may be inside a read, which closing its response would wait for.)

    def _wait(self, keys: int | None) -> None:
        """Wait for a message or a key, and process it."""
        ready, _, _ = select.select([self._wake_out, *([] if keys is None else [keys])], [], [], REDRAW_EVERY)
        if self._wake_out in ready:
            os.read(self._wake_out, 4096)
        if keys in ready and keys is not None:
            typed = os.read(keys, 1024)
            if not typed:
                self._ended.set()  # the terminal has gone
            for key in split_keys(typed):
                self._press(key)

    def _press(self, key: str) -> None:
        choice = self._choice
        if self._asks:
            if key == "enter" or key == "escape":
                self._asks = False
                choice.find = choice.find if key == "enter" else ""
            elif key == "backspace":
                choice.find = choice.find[:-1]
            elif len(key) == 1 and key.isprintable() and len(choice.find) < 30:
                choice.find += key.upper()
            choice.first = 0
        elif key == "q":
            self._ended.set()
        elif key == "s":
            choice.next_column()
        elif key == "r":
            choice.down = not choice.down
        elif key == "/":
            self._asks = True
        elif key == "escape":
            choice.find = ""
        else:
            step = {"down": 1, "j": 1, "up": -1, "k": -1, "page down": PAGE_ROWS, " ": PAGE_ROWS, "page up": -PAGE_ROWS}
            choice.first = max(0, choice.first + step.get(key, 0))

    def _read(self) -> None:
        messages: Iterator[dict[str, Any]] = self._messages
        while not self._ended.is_set():
            try:
                for message in messages:
                    with self._lock:
                        self._model.take(message, time.monotonic())
                        self._trouble = ""
                    self._wake()
                self._say("The endpoint has closed.")
            except (requests.RequestException, OSError, ValueError):
                self._say("The endpoint cannot be reached.")
            messages = iter(())
            if self._ended.wait(AGAIN_AFTER):
                return
            try:
                messages = self._source.open()
            except CommandFailed as failure:
                self._say(str(failure))

    def _say(self, trouble: str) -> None:
        with self._lock:
            self._trouble = trouble
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._wake_in, b".")


@contextlib.contextmanager
def _keys() -> Iterator[int | None]:
    """Yield the descriptor that keys are read from, or None if there are no keys; restore the terminal at the end."""
    if termios is None or not sys.stdin.isatty():
        yield None
        return
    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)
    try:
        tty.setcbreak(number)  # Ctrl-C stays a signal
        yield number
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)


def split_keys(typed: bytes) -> list[str]:
    """Return the names of the keys in what was typed: a character, or ``up``, ``down``, ``enter``, …"""
    keys: list[str] = []
    while typed:
        if typed[:1] == b"\x1b":
            for sequence, name in _ESCAPES.items():
                if typed[1:].startswith(sequence):
                    keys.append(name)
                    typed = typed[1 + len(sequence) :]
                    break
            else:
                keys.append("escape")
                typed = typed[1:]
            continue
        length = next((n for n in (1, 2, 3, 4) if _is_text(typed[:n])), 1)
        character, typed = typed[:length].decode("utf-8", "replace"), typed[length:]
        keys.append({"\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace"}.get(character, character))
    return keys


def _is_text(piece: bytes) -> bool:
    try:
        piece.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
