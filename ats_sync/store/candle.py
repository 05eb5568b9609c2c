"""One version of a candle, and how a series of them stands."""

from __future__ import annotations

from typing import NamedTuple

from ..venue.klines import kline_text
from .link import Link

OPEN, FINAL_BY_STREAM, FINAL_BY_REST = range(3)


class Candle(NamedTuple):
    """One version of a candle beyond the closed ones. ``source`` is a frame or a row's text."""

    opened: int
    rank: int
    trades: int
    event: int
    source: bytes
    is_frame: bool

    @property
    def final(self) -> bool:
        return self.rank != OPEN

    def text(self) -> bytes:
        """The row's text; :class:`DecodeError` where the frame turns out unusable."""
        return kline_text(self.source) if self.is_frame else self.source


class Standing(NamedTuple):
    """How a series stands at a moment; whether that is fresh is judged elsewhere."""

    link: Link | None
    suspected: str
    rows: int
    """Rows that can be served, the open candle and provisional ones included."""
    complete: bool
    """Whether the history reaches back to the listing."""
    doubt: str
    """Why what is known can not be the whole truth, "" where nothing says so."""
    event: int
    """Exchange time (ms) of the newest event or answer merged."""
