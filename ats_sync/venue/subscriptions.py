"""The messages of a stream connection: SUBSCRIBE, UNSUBSCRIBE, acknowledgements, refusals, announcements."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from .endpoints import BYTES_PER_MESSAGE, NAMES_PER_SUBSCRIBE, SPOT_PREFIX

TOO_MANY_STREAMS = 4
"""The error code that concerns no single stream: the connection has too many, and is closed."""
_SHUTDOWN = "serverShutdown"
_MAX_ID_DIGITS = 18


def message_text(names: Iterable[str], identity: int, *, subscribes: bool) -> str:
    """Return a SUBSCRIBE or UNSUBSCRIBE message for these streams, as it is sent."""
    method = "SUBSCRIBE" if subscribes else "UNSUBSCRIBE"
    message = {"method": method, "params": [name.removeprefix(SPOT_PREFIX) for name in names], "id": identity}
    return json.dumps(message, ensure_ascii=False, separators=(",", ":"))


_EMPTY = len(message_text([], 10**_MAX_ID_DIGITS - 1, subscribes=False))


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


def is_acknowledgement(message: dict[str, Any]) -> bool:
    """Return whether a message accepts one of our requests."""
    return message.get("result", "absent") is None and message.get("error") is None


def is_error(message: dict[str, Any]) -> bool:
    """Return whether a message is an error of any kind."""
    return message.get("error") is not None or "code" in message


def is_refusal(message: dict[str, Any]) -> bool:
    """Return whether a message is an error in answer to one of our requests."""
    error = message.get("error", message)
    return isinstance(error, dict) and "code" in error and error["code"] != TOO_MANY_STREAMS


def refusal_text(message: dict[str, Any]) -> str:
    """Return the text of a refusal, for people."""
    error = message.get("error", message)
    text = error.get("msg") if isinstance(error, dict) else None
    return str(text or json.dumps(message))[:200]


def announces_shutdown(message: dict[str, Any]) -> bool:
    """Return whether a message announces that the server will close this connection."""
    event = message.get("event", message)
    return isinstance(event, dict) and event.get("e") == _SHUTDOWN
