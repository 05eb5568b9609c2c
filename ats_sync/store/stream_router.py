"""Which series takes the frames of which stream, and what becomes of frames that none takes."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from ..feeds import FEEDS, Key, stream_of
from ..logs import RateLimitedLogger
from ..venue.endpoints import SPOT_PREFIX
from ..venue.envelope import SHUTDOWN, STREAM, normalised, shutdown_in, stream_name
from ..venue.payload import DecodeError
from .link import Link
from .series import Series, StoreEvent

log = RateLimitedLogger(logging.getLogger(__name__))

NAME_AT = len(STREAM)
"""Where the name of its stream begins in a frame as the exchange writes it."""
MOST_REASONS = 200

Sink: TypeAlias = Callable[[bytes, Link], StoreEvent | None]
Sinks: TypeAlias = dict[bytes, Sink]
"""By how the frames of a stream begin, up to the quote after its name."""
Reply: TypeAlias = dict[str, Any]


class StreamRouter:
    """The streams of all series, those of the spot exchange apart: it has names of its own."""

    def __init__(self) -> None:
        # Replaced whole, never changed in place: stream threads take no lock.
        self.futures: Sinks = {}
        self.spot: Sinks = {}
        self._lock = threading.Lock()  # guards the counter
        self._dropped: Counter[str] = Counter()

    def replace(self, gone: Iterable[Key], added: Iterable[Series]) -> None:
        """Let some series get no more frames, and others get those of their streams. One call at a time."""
        futures, spot = self.futures.copy(), self.spot.copy()
        for key in gone:
            if (name := stream_of(key)) is not None:
                (spot if FEEDS[key.kind].spot else futures).pop(_beginning(name), None)
        for series in added:
            if (name := stream_of(series.key)) is not None:
                (spot if series.feed.spot else futures)[_beginning(name)] = series.apply
        self.futures, self.spot = futures, spot

    def apply_carefully(
        self, frame: bytes, link: Link, sinks: Sinks, replies: list[Reply], touched: set[Sink] | None = None
    ) -> StoreEvent | None:
        """Merge a frame of any spacing and order of keys, or find out what else it is: an answer to a request on the
        stream is added to ``replies``, what is unusable is counted and dropped. Whatever has merged it is added to
        ``touched``."""
        name = stream_name(frame)
        try:
            if SHUTDOWN in frame and isinstance(rewritten := normalised(frame), bytes):
                # It concerns the connection, whatever stream it is wrapped in.
                replies.append(shutdown_in(rewritten))
                return None
            if name is None:
                whole = normalised(frame)
                if isinstance(whole, dict):
                    replies.append(whole)
                    return None
                frame = whole
                name = stream_name(frame)
                if name is None:
                    raise DecodeError("bad stream name")
            sink = sinks.get(STREAM + name)
            if sink is None:
                self.count_dropped("a stream that is not followed")
                return None
            try:
                event = sink(frame, link)
            except DecodeError:
                # Scanning is strict about white space and escapes; rewritten, the frame may well be good.
                rewritten = normalised(frame)
                if rewritten == frame or isinstance(rewritten, dict):
                    raise
                event = sink(rewritten, link)
            if touched is not None:
                touched.add(sink)
            return event
        except DecodeError as error:
            self.count_dropped(error.reason)
        except Exception as error:  # noqa: BLE001
            # No frame may end the stream of all others; it is a fault of ours all the same.
            self.count_dropped(f"{type(error).__name__} in merging")
            log.warning(type(error).__name__, "a frame could not be merged: %r: %r", error, frame[:300])
        return None

    def count_dropped(self, reason: str) -> None:
        """Count one frame that could not be used."""
        with self._lock:
            if reason in self._dropped or len(self._dropped) < MOST_REASONS:
                self._dropped[reason] += 1
            else:
                self._dropped["other"] += 1

    def dropped(self) -> dict[str, int]:
        """Return how many frames were dropped, by reason."""
        with self._lock:
            return dict(self._dropped)


def _beginning(stream: str) -> bytes:
    """Return how the frames of a stream begin."""
    return STREAM + stream.removeprefix(SPOT_PREFIX).encode()
