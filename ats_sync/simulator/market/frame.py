"""One event of a stream, as the market hands it to the server."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Frame:
    """The ``data`` part of one stream message.

    ``stream`` is the stream's name with a lower-case symbol, ``event_time`` the exchange time in ms at which
    the exchange sends it, ``payload`` JSON text. ``spot`` is whether it is a stream of the spot exchange.
    """

    stream: str
    event_time: int
    payload: str
    spot: bool = False
