"""What is said on a stream connection, and which streams the exchange refuses."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..venue.endpoints import BYTES_PER_MESSAGE, NAMES_PER_SUBSCRIBE, SPOT_PREFIX

FIRST_PAUSE = 10.0
"""Seconds before a stream that was refused on its own is tried again; each time it is refused, twice as long."""
LONGEST_PAUSE = 600.0
TOO_MANY_STREAMS = 4
"""The code of an error that refuses no name: the connection carries too many, and is closed."""
_SHUTDOWN = "serverShutdown"
_LONGEST_ID = 18


def message_text(params: list[str], identity: int, *, subscribes: bool) -> str:
    """Return a SUBSCRIBE or UNSUBSCRIBE as it is sent."""
    method = "SUBSCRIBE" if subscribes else "UNSUBSCRIBE"
    message = {"method": method, "params": params, "id": identity}
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))


_EMPTY = len(message_text([], 10**_LONGEST_ID - 1, subscribes=False))


def names_that_fit(names: Iterable[str]) -> tuple[str, ...]:
    """Return the first of ``names`` that fit into one message, by number and by bytes; at least one if there is one."""
    taken: list[str] = []
    size = _EMPTY
    for name in names:
        size += len(json.dumps(name.removeprefix(SPOT_PREFIX), ensure_ascii=False).encode()) + 1
        if taken and (len(taken) == NAMES_PER_SUBSCRIBE or size > BYTES_PER_MESSAGE):
            break
        taken.append(name)
    return tuple(taken)


def halves(names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return two or more names in two parts."""
    middle = len(names) // 2
    return names[:middle], names[middle:]


def is_refusal(message: dict[str, Any]) -> bool:
    """Whether a message says that a request of ours was wrong."""
    error = message.get("error", message)
    return isinstance(error, dict) and "code" in error and error["code"] != TOO_MANY_STREAMS


def said(message: dict[str, Any]) -> str:
    """Return what a refusal says, for a person."""
    error = message.get("error", message)
    text = error.get("msg") if isinstance(error, dict) else None
    return str(text or json.dumps(message))[:200]


def tells_of_shutdown(message: dict[str, Any]) -> bool:
    """Whether a message announces that the server will close this connection."""
    event = message.get("event", message)
    return isinstance(event, dict) and event.get("e") == _SHUTDOWN


@dataclass(slots=True)
class _Refusal:
    reason: str
    pause: float
    again: float


class Refusals:
    """The streams that are refused when they stand alone: why, and when each is tried again."""

    def __init__(self) -> None:
        self._refusals: dict[str, _Refusal] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._refusals

    def reason(self, name: str) -> str:
        """Return what the exchange said against a stream, "" where it said nothing."""
        refusal = self._refusals.get(name)
        return refusal.reason if refusal is not None else ""

    def add(self, name: str, reason: str, now: float) -> None:
        """Note that a stream was refused at ``now`` (steady)."""
        before = self._refusals.get(name)
        pause = FIRST_PAUSE if before is None else min(LONGEST_PAUSE, 2 * before.pause)
        self._refusals[name] = _Refusal(reason, pause, now + pause)

    def forget(self, name: str) -> bool:
        """Forget a stream; whether it was refused."""
        return self._refusals.pop(name, None) is not None

    def release(self) -> list[str]:
        """Forget all of them; return their names."""
        names = list(self._refusals)
        self._refusals.clear()
        return names

    def due(self, streams: Iterable[str]) -> float | None:
        """Return when the first refused one of ``streams`` is to be tried again, None where there is none."""
        if not self._refusals:
            return None
        return min((self._refusals[name].again for name in streams if name in self._refusals), default=None)

    def first_due(self, streams: Iterable[str], now: float) -> str | None:
        """Return a refused one of ``streams`` that is to be tried again by ``now``."""
        if not self._refusals:
            return None
        return next((name for name in streams if name in self and self._refusals[name].again <= now), None)
