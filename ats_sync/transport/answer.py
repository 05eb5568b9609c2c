"""The answer to a request: separate from the client, so that code without requests does not import requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer with a good status. ``sent_at`` and ``received_at`` are seconds of ``clock.now()``: when the
    request was handed to the socket and when the last byte had arrived."""

    body: bytes
    status: int
    headers: Mapping[str, str]
    sent_at: float
    received_at: float
