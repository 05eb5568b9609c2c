"""One version of a candle."""

from __future__ import annotations

from typing import NamedTuple

from ..venue.klines import kline_text

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

    @property
    def streamed(self) -> bool:
        """Whether its stream has shown it (and not only a REST answer)."""
        return self.is_frame or self.rank == FINAL_BY_STREAM

    def text(self) -> bytes:
        """The row's text; :class:`DecodeError` where the frame turns out unusable."""
        return kline_text(self.source) if self.is_frame else self.source
