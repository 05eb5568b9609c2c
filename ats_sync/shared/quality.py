"""How good a symbol's data was, for readers: only its collector knows, and writes it down."""

from __future__ import annotations

from ..clock import Clock
from ..engine.quality import Quality
from ..errors import DataUnavailableError, InvalidSymbol, StaleDataError
from .client import SharedStore
from .layout import MalformedFeed, quality_field, quality_in
from .publish import QUALITY_EVERY, Names
from .replica import UNREADABLE, Replica

BELIEVED_FOR = 3 * QUALITY_EVERY
"""Seconds for which what the collector wrote is believed."""


def quality_of(symbol: str, replica: Replica, shared: SharedStore, clock: Clock) -> Quality:
    """Return how good a symbol's data was, as its collector wrote it at most a moment ago.

    Raises :class:`~ats_sync.errors.DataUnavailableError` where nobody leads and where it was not measured yet,
    :class:`~ats_sync.errors.StaleDataError` where it was not written for a while,
    :class:`~ats_sync.errors.InvalidSymbol` for what nobody follows.
    """
    # Another collector may become the leader between two round trips.
    text = _text(symbol, replica, shared) or _text(symbol, replica, shared)
    if text is None:
        if all(key.symbol != symbol for key in replica.followed()):
            raise InvalidSymbol(f"{symbol} is not watched; watch(['{symbol}']) first")
        raise DataUnavailableError(f"the collector has not measured {symbol} yet; it does so every {QUALITY_EVERY:g} s")
    try:
        quality, at = quality_in(text)
    except MalformedFeed as error:
        raise DataUnavailableError(f"what the shared store has of {symbol} cannot be used: {error}") from error
    age = clock.exchange() - at / 1000.0
    if age > BELIEVED_FOR:
        raise StaleDataError(
            f"the collector has written no quality of {symbol} for {age:.0f} s",
            age=age,
            bound=BELIEVED_FOR,
            data=quality,
        )
    return quality


def _text(symbol: str, replica: Replica, shared: SharedStore) -> bytes | None:
    """Return what the collector that leads has written of a symbol, None where that is nothing. Raises
    :class:`~ats_sync.errors.DataUnavailableError`."""
    replica.pull_each(())
    source = replica.sources.of(symbol)
    life = source.life
    if source.feed is None:
        why = replica.sources.why or source.unled()
        raise DataUnavailableError(f"how good the data of {symbol} is, its collector knows alone, and {why}")
    meta, field = Names(life.decode(), source.shard).meta, quality_field(symbol)
    try:
        text: bytes | None = shared.run(lambda redis: redis.hget(meta, field))
    except UNREADABLE as error:
        replica.lose(str(error))
        raise DataUnavailableError(f"how good the data of {symbol} is, cannot be read: {error}") from error
    return text
