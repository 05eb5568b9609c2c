"""Errors in the exchange's own form, written by us: what its clients already know how to read."""

from __future__ import annotations

import orjson

UNKNOWN = -1000
DISCONNECTED = -1001
UNAUTHORIZED = -1002
TOO_MANY_REQUESTS = -1003


def error_body(code: int, message: str) -> bytes:
    """Return ``{"code": …, "msg": …}`` as the exchange writes it."""
    return orjson.dumps({"code": code, "msg": message})
