"""What users receive: closed candles, turns, changes of listings."""

# Without postponed annotations, so that typing.get_type_hints() works although the classes show as ats_sync.Turn, ….
from collections.abc import Mapping
from dataclasses import dataclass

from ..results import KlineRow
from ..venue.intervals import next_open


@dataclass(frozen=True, slots=True)
class CandleEvent:
    """A candle that has closed. Prices and volumes are float, times are Unix time in ms by the exchange's clock.

    If REST corrects a candle later (an audit), no further event follows: read the store.
    """

    symbol: str
    interval: str
    row: KlineRow
    """The row as :meth:`DataManager.get_klines` returns it."""
    text: str
    """The row as the JSON text that REST writes, with exact decimals."""
    final: bool
    """False for a provisional candle, whose final event had not arrived yet."""
    source: str
    """What made it final (for a provisional candle: what showed it): ``stream``, the exchange's final event; ``rest``,
    an answer that was requested at least 5 s after the close; ``flat``, no trades, as proved by the trade ids of other
    candles."""
    final_at: int | None
    """When it became final here. None for a provisional candle, or if that was before the series was followed."""
    delay: float | None
    """Seconds from the candle's close to ``final_at`` (for a provisional one: to now)."""

    @property
    def open_time(self) -> int:
        opened: int = self.row[0]
        return opened

    @property
    def close_time(self) -> int:
        """The candle's last millisecond, as in the row."""
        closed: int = self.row[6]
        return closed


@dataclass(frozen=True, slots=True)
class Missed:
    """Closed candles that memory no longer has, because the consumer was away for too long or began with older ones.

    ``start`` and ``end`` are the open times (ms) of the first and the last of them; ``symbol`` is "" if a turn of
    all symbols was missed.
    """

    symbol: str
    interval: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Turn:
    """One close of all followed symbols. Times are ms by the exchange's clock."""

    interval: str
    open_time: int
    """Open time of the candles that have closed."""
    closed: Mapping[str, KlineRow]
    """The final candle of each symbol that has one, as :meth:`DataManager.get_klines` returns it."""
    late: tuple[str, ...]
    """The symbols whose candle was still missing when the grace period ended."""
    delay: float
    """Seconds from the close to this turn."""
    missed: Missed | None = None
    """The turns before this one that memory no longer has."""

    @property
    def close_time(self) -> int:
        """The last millisecond of the candles that have closed."""
        return next_open(self.interval, self.open_time) - 1


@dataclass(frozen=True, slots=True)
class ContractChange:
    """A contract was listed or delisted. ``status`` is the exchange's own word, ``time`` is ms by its clock."""

    symbol: str
    status: str
    time: int
