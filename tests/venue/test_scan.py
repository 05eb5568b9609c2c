"""The careful scan agrees with whatever the quick one says of a frame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ats_sync.venue import books, scan, trades
from ats_sync.venue.books import scan_book
from ats_sync.venue.klines import SKEW, scan_kline
from ats_sync.venue.payload import DecodeError
from ats_sync.venue.trades import scan_trade

from . import recording as real
from . import samples
from .samples import MIDNIGHT, MINUTE, compact

BOOK = samples.book_frame(123_456)
TRADE = samples.trade_frame(4_711)
KLINE = samples.kline_frame(samples.row(MIDNIGHT))


Scan = Callable[[bytes], Any]
PIECES = (b"", b"}", b"}}", b'"', b",", b"9", b"-1", b" ", b"\\", b"E", b'"u":1,', b"\xff")


def verdict(of: Scan, frame: bytes) -> Any:
    try:
        return of(frame)
    except DecodeError as error:
        return str(error)


def reordered(frame: bytes, order: list[str], inner: list[str] | None = None) -> bytes:
    whole = samples.parsed(frame)
    data = {key: whole["data"][key] for key in order}
    if inner is not None:
        data["k"] = {key: data["k"][key] for key in inner}
    return compact({"stream": whole["stream"], "data": data})


@st.composite
def spoilt(draw: st.DrawFn, frame: bytes) -> bytes:
    """Return the frame with a few bytes changed, cut or inserted."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(frame) - 1)))
        piece = draw(st.sampled_from(PIECES))
        frame = frame[:at] + piece + frame[at + draw(st.integers(0, 3)) :]
    return frame


@pytest.mark.parametrize(
    ("quick", "careful", "good"),
    [
        (scan.scan_book, scan_book, BOOK),
        (scan.scan_trade, scan_trade, TRADE),
        (scan.scan_diff, books.scan_diff, BOOK),
    ],
    ids=["book", "trade", "diff"],
)
class TestFramesByThemselves:
    def test_a_plain_frame(
        self,
        quick: Callable[[bytes], Any],
        careful: Callable[[bytes], Any],
        good: bytes,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        expected = careful(good)
        for module, name in ((books, "scan_book"), (trades, "scan_trade"), (books, "scan_diff")):
            monkeypatch.delattr(module, name)
        assert quick(good) == expected, "the quick scan needs no help"

    @given(order=st.permutations(["e", "E", "T", "s", "st", "ps"]), place=st.integers(0, 6))
    def test_any_order(self, quick: Scan, careful: Scan, good: bytes, order: list[str], place: int) -> None:
        own = [key for key in samples.parsed(good)["data"] if key not in order]
        frame = reordered(good, order[:place] + own + order[place:])
        assert quick(frame) == careful(frame)

    @given(data=st.data())
    @example(data=None)
    def test_a_damaged_frame(self, quick: Scan, careful: Scan, good: bytes, data: st.DataObject | None) -> None:
        frames = [b"", b"}", b"}}", good[:-1], good[:-2], b'{"E":1}}'] if data is None else [data.draw(spoilt(good))]
        for frame in frames:
            assert verdict(quick, frame) == verdict(careful, frame)


class TestOpenKlines:
    KEYS = tuple(samples.parsed(KLINE)["data"]["k"])

    def agree(self, first: bytes, frame: bytes) -> bool:
        """Return whether the quick scan took ``frame`` after it had learned from ``first``; what it says is checked."""
        opened, _, _, _ = scan_kline(first)
        shape = scan.kline_shape(first, opened)
        known = scan.scan_open_kline(frame, shape) if shape is not None else None
        if known is None:
            return False
        assert scan_kline(frame) == (opened, known[0], False, known[1])
        return True

    @pytest.mark.parametrize("order", [["e", "E", "s", "k"], ["e", "s", "k", "E"]])
    def test_the_orders_that_are_known(self, order: list[str]) -> None:
        first = reordered(KLINE, order)
        for count in (0, 9, 10, 11, 12_345, 1_234_567):
            for event in (MIDNIGHT, MIDNIGHT + 59_999):
                row = samples.row(MIDNIGHT, trades=count, price="0.1", volume="123456789.125")
                assert self.agree(first, reordered(samples.kline_frame(row, event=event), order))

    @given(order=st.permutations(["e", "E", "s", "k"]), inner=st.permutations(KEYS))
    def test_any_order(self, order: list[str], inner: list[str]) -> None:
        first = reordered(KLINE, order, inner)
        later = samples.kline_frame(samples.row(MIDNIGHT, trades=99), event=MIDNIGHT + 5_000)
        self.agree(first, reordered(later, order, inner))
        self.agree(first, reordered(later, ["e", "E", "s", "k"], list(self.KEYS)))

    def test_frames_it_does_not_scan(self) -> None:
        final = samples.kline_frame(samples.row(MIDNIGHT), final=True)
        following = samples.kline_frame(samples.row(MIDNIGHT + MINUTE))
        early = samples.kline_frame(samples.row(MIDNIGHT), event=MIDNIGHT - SKEW - 1)
        for other in (final, following, early, KLINE[:-2], KLINE + b" ", b"", KLINE.replace(b'"n":10', b'"n":-1')):
            assert not self.agree(KLINE, other)

    @given(frame=spoilt(KLINE))
    def test_a_damaged_frame(self, frame: bytes) -> None:
        self.agree(KLINE, frame)


def test_the_real_frames(recording: Path) -> None:
    quick = 0
    for symbol in ("SUSHIUSDT", "AKROUSDT", "KEEPUSDT", "CTKUSDT"):
        shape: scan.KlineShape | None = None
        opened = 0
        for frame, _ in real.of_stream(recording, f"{symbol.lower()}@kline_1m"):
            expected = scan_kline(frame)
            known = scan.scan_open_kline(frame, shape) if shape is not None else None
            if known is not None:
                assert expected == (opened, known[0], False, known[1])
                quick += 1
            elif not expected[2]:
                opened = expected[0]
                shape = scan.kline_shape(frame, opened)
                assert shape is not None
        for frame, _ in real.of_stream(recording, f"{symbol.lower()}@aggTrade"):
            assert scan.scan_trade(frame) == scan_trade(frame)
    assert quick > 40
