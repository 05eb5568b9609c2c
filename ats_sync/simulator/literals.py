"""The literal values that arguments of the simulated exchange accept."""

from __future__ import annotations

from typing import Literal, get_args

Route = Literal["public", "market", "private", "unrouted", "spot"]
"""A stream connection's route: the three of futures, the old path without a route, and the spot host."""
What = Literal["rest", "streams", "all", "fapi", "spot", "fstream", "spot_stream"]
"""Ports: both REST hosts, both stream hosts, all four, or one of the four."""
Host = Literal["fapi", "spot", "dapi"]
"""A REST host: USDⓈ-M futures, spot, COIN-M futures."""
Cut = Literal["close", "drop", "reset", "half_open"]
Refusal = Literal["error", "anonymous", "silence"]
StreamAction = Literal["lose", "double", "reorder", "delay", "malformed"]
RestFaultKind = Literal[
    "429", "418", "500", "502", "503", "504", "403", "451",
    "timeout", "reset", "trickle", "html", "empty", "truncated", "wrong_shape", "slow", "code",
]  # fmt: skip
MalformedKind = Literal[
    "not_json", "truncated", "wrong_types", "missing_field", "empty_field", "nan", "null", "unknown_event",
    "binary", "fragmented", "huge", "invalid_utf8", "bad_element", "empty_message", "big_int", "deep",
]  # fmt: skip

STREAM_ACTIONS: tuple[StreamAction, ...] = get_args(StreamAction)
MALFORMED: tuple[MalformedKind, ...] = get_args(MalformedKind)
