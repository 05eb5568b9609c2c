"""Floods subscribed streams with fresh copies of real frames, by a control added to the simulated exchange.

The simulated market makes only as many frames as a real one. To load a client at any rate, the newest frame of each
stream becomes a template whose times and ids are filled in again for every copy: contiguous trade ids, chained update
ids, and kline events that agree with the trades sent before them. An exchange started with ``extensions=EXTENSION`` can
flood.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
import time
import weakref
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ats_sync.simulator.connection import StreamConnection
from ats_sync.simulator.controls import Route, control
from ats_sync.simulator.market import Frame
from ats_sync.simulator.market.intervals import floor_open, next_open
from ats_sync.simulator.names import KINDS, delivers, kind_of
from ats_sync.simulator.server import ExchangeServer
from ats_sync.simulator.wire import wire_of, ws_frame

EXTENSION = (__name__,)
"""The ``extensions`` setting of an exchange that can flood."""

DEFAULT_MIX = {"kline": 0.47, "depth": 0.30, "aggTrade": 0.22, "markPrice": 0.01}
"""Shares of the frames of 200 symbols with four intervals, books, trades and mark prices at a busy time."""

_CHUNK = 256
_HIGH_WATER = 1 << 20
_RATE_TICK = 0.005
_DRAIN_TICK = 0.0002
_UPDATE_STEP = 10
_DAY = 86_400_000
_NUMBER = re.compile(r'"(E|T|a|f|l|L|n|U|u|pu|t)":(\d+)')

Value = tuple[int, int, int]
"""A number in a template: (base, added each round, 1 if exchange time is added)."""
_NOW: Value = (0, 0, 1)


@dataclass(frozen=True)
class Source:
    """One stream on one connection."""

    target: int
    combined: bool
    frame: Frame

    @property
    def kind(self) -> str:
        """Return its kind."""
        return kind_of(self.frame.stream)

    def share(self, mix: Mapping[str, float]) -> str:
        """Return its name in a mix: the part after the symbol ("depth20@100ms") where the mix has that, else its
        kind."""
        rest = self.frame.stream.partition("@")[2]
        return rest if rest in mix else self.kind

    @property
    def symbol(self) -> str:
        """Return the lower-case symbol of its name."""
        return self.frame.stream.partition("@")[0]


@dataclass
class _Counter:
    """An id that grows by one with each use; uses are counted over one round."""

    base: int
    uses: int = 0


def _numbers(payload: str) -> dict[str, int]:
    return {name: int(text) for name, text in _NUMBER.findall(payload)}


class Part:
    """The part of a round for one connection: templates, and the numbers that go into them."""

    def __init__(self) -> None:
        self.positions: list[int] = []
        """The position of each template in the round."""
        self.kinds: list[str] = []
        self._templates: list[bytes] = []
        self._values: list[Value] = []
        self._offsets = [0]
        self._texts: list[bytes] = []
        self._sizes: list[int] = []

    def add(self, position: int, kind: str, template: str, values: list[Value]) -> None:
        """Add the next template."""
        self.positions.append(position)
        self.kinds.append(kind)
        self._templates.append(template.encode())
        self._values += values
        self._offsets.append(len(self._values))

    def _message(self, index: int, turn: int, now: int) -> bytes:
        values = self._values[self._offsets[index] : self._offsets[index + 1]]
        return self._templates[index] % tuple(base + added * turn + timed * now for base, added, timed in values)

    def measure(self, turn: int, now: int) -> None:
        """Make frame headers for the numbers of round ``turn``."""
        self._texts, self._sizes = [], []
        for index, template in enumerate(self._templates):
            message = self._message(index, turn, now)
            frame = ws_frame(message)
            header = frame[: len(frame) - len(message)]
            self._texts.append(header.replace(b"%", b"%%") + template)
            self._sizes.append(len(frame))

    def render(self, first: int, last: int, turn: int, now: int) -> tuple[bytes, list[int]]:
        """Return the frames ``first`` to ``last`` (exclusive) of round ``turn`` in one piece, and the size of each."""
        flat = self._values[self._offsets[first] : self._offsets[last]]
        values = tuple([base + added * turn + timed * now for base, added, timed in flat])
        data = b"".join(self._texts[first:last]) % values
        sizes = self._sizes[first:last]
        if len(data) == sum(sizes):
            return data, sizes
        # A number has grown by a digit since the headers were made.
        self.measure(turn, now)
        frames = [ws_frame(self._message(index, turn, now)) for index in range(first, last)]
        return b"".join(frames), [len(frame) for frame in frames]


class Round:
    """The frames of all connections in a repeating order, each time with the next ids."""

    def __init__(
        self, sources: list[Source], targets: int, mix: Mapping[str, float], now: int, generator: random.Random
    ) -> None:
        self._now = now
        self._sources = sources
        self.turn = now + _DAY
        """When the first of these streams begins its next candle."""
        by_kind: dict[str, list[Source]] = {}
        for source in sources:
            share = source.share(mix)
            if mix.get(share, 0.0) > 0:
                by_kind.setdefault(share, []).append(source)
        whole = sum(mix[kind] for kind in by_kind)
        # Long enough for each stream to have its turn.
        length = max((math.ceil(len(found) / mix[kind] * whole) for kind, found in by_kind.items()), default=0)
        order = [
            found[number % len(found)]
            for kind, found in by_kind.items()
            for number in range(max(len(found), round(length * mix[kind] / whole)))
        ]
        generator.shuffle(order)
        self.size = len(order)
        self._uses = Counter(source.frame.stream for source in order)
        self._growth = Counter(source.symbol for source in order if source.kind == "aggTrade")
        self._trades = self._last_trades(sources)
        self._ids: dict[str, _Counter] = {}
        self.parts = [Part() for _ in range(targets)]
        for position, source in enumerate(order):
            self._add(position, source)
        for part in self.parts:
            part.measure(0, now)

    def finals(self, turn: int, now: int) -> list[Source]:
        """Return the last events of the candles that have closed by ``now``, after ``turn`` rounds."""
        found = []
        for source in self._sources:
            if source.kind != "kline" or not self._uses[source.frame.stream]:
                continue
            opened, after, count = self._candle(source)
            if after > now:
                continue
            grown = self._growth[source.symbol] * turn
            last = self._trades[source.symbol].base + grown
            new = {"E": now, "t": opened, "T": after - 1, "L": last, "n": count + grown}
            payload = _refilled(source.frame.payload, new).replace('"x":false', '"x":true')
            found.append(replace(source, frame=replace(source.frame, event_time=now, payload=payload)))
        return found

    def _candle(self, source: Source) -> tuple[int, int, int]:
        """Return when the candle of a kline stream opened, when the next one opens, and its number of trades at the
        start of the round."""
        numbers = _numbers(source.frame.payload)
        interval = source.frame.stream.partition("@kline_")[2]
        opened = floor_open(interval, self._now)
        return opened, next_open(interval, opened), numbers["n"] if numbers["t"] == opened else 1

    @staticmethod
    def _last_trades(sources: list[Source]) -> dict[str, _Counter]:
        last: Counter[str] = Counter()
        for source in sources:
            if source.kind in ("kline", "aggTrade"):
                numbers = _numbers(source.frame.payload)
                last[source.symbol] = max(last[source.symbol], numbers.get("L", numbers.get("l", 0)))
        return {symbol: _Counter(number) for symbol, number in last.items()}

    def _add(self, position: int, source: Source) -> None:
        fields = {
            "kline": self._kline,
            "aggTrade": self._agg_trade,
            "depth": self._book,
            "bookTicker": self._book,
        }.get(source.kind, self._timed)(source)
        values: list[Value] = []

        def fill(match: re.Match[str]) -> str:
            value = fields.get(match[1])
            if value is None:
                return match[0]
            values.append(value)
            return f'"{match[1]}":%d'

        frame = source.frame
        text = _NUMBER.sub(fill, frame.payload.replace("%", "%%")).replace('"x":true', '"x":false')
        if source.combined:
            stream = frame.stream.replace("%", "%%")
            text = f'{{"stream":"{stream}","data":{text}}}'
        self.parts[source.target].add(position, source.kind, text, values)

    def _kline(self, source: Source) -> dict[str, Value]:
        opened, turn, count = self._candle(source)
        self.turn = min(self.turn, turn)
        trades = self._trades[source.symbol]
        growth = self._growth[source.symbol]
        return {
            "E": _NOW,
            "t": (opened, 0, 0),
            "T": (turn - 1, 0, 0),
            "L": (trades.base + trades.uses, growth, 0),
            "n": (count + trades.uses, growth, 0),
        }

    def _agg_trade(self, source: Source) -> dict[str, Value]:
        trades = self._trades[source.symbol]
        trades.uses += 1
        uses = self._uses[source.frame.stream]
        own = self._counter(source, "a")
        own.uses += 1
        trade = (trades.base + trades.uses, uses, 0)
        return {"E": _NOW, "T": _NOW, "a": (own.base + own.uses, uses, 0), "f": trade, "l": trade}

    def _book(self, source: Source) -> dict[str, Value]:
        own = self._counter(source, "u")
        before = own.base + own.uses * _UPDATE_STEP
        own.uses += 1
        step = self._uses[source.frame.stream] * _UPDATE_STEP
        return {
            "E": _NOW,
            "T": _NOW,
            "U": (before + 1, step, 0),
            "u": (before + _UPDATE_STEP, step, 0),
            "pu": (before, step, 0),
        }

    def _counter(self, source: Source, field: str) -> _Counter:
        found = self._ids.get(source.frame.stream)
        if found is None:
            found = self._ids[source.frame.stream] = _Counter(_numbers(source.frame.payload)[field])
        return found

    def _timed(self, source: Source) -> dict[str, Value]:
        return {"E": _NOW}


def _caught_up(sources: list[Source], now: int) -> tuple[list[Source], list[Source]]:
    """Return the sources with every trade stream brought up to its symbol's klines, and the trades that do so.

    A kline event is sent before the trade it contains, so copies that start from both would never agree.
    """
    reached: Counter[str] = Counter()
    for source in sources:
        if source.kind == "kline":
            reached[source.symbol] = max(reached[source.symbol], _numbers(source.frame.payload)["L"])
    even: list[Source] = []
    bridges: list[Source] = []
    for source in sources:
        numbers = _numbers(source.frame.payload)
        if source.kind == "aggTrade" and numbers["l"] < reached[source.symbol]:
            new = {"E": now, "T": now, "a": numbers["a"] + 1, "f": numbers["l"] + 1, "l": reached[source.symbol]}
            payload = _refilled(source.frame.payload, new)
            source = replace(source, frame=replace(source.frame, event_time=now, payload=payload))
            bridges.append(source)
        even.append(source)
    return even, bridges


def _refilled(payload: str, new: Mapping[str, int]) -> str:
    return _NUMBER.sub(lambda match: f'"{match[1]}":{new.get(match[1], match[2])}', payload)


class Flood:
    """One flood over the given connections. ``frames``: the newest frame of each stream, by (spot, name)."""

    def __init__(
        self,
        connections: list[StreamConnection],
        frames: Mapping[tuple[bool, str], Frame],
        now: Callable[[], int],
        mix: Mapping[str, float] | None,
        send_buffer: int,
    ) -> None:
        self._asked = mix
        shares = dict(DEFAULT_MIX if mix is None else mix)
        unknown = [name for name in shares if name not in KINDS and not kind_of(f"x@{name}")]
        if unknown or min(shares.values(), default=-1) < 0 or sum(shares.values()) <= 0:
            raise ValueError(f"mix must give shares to kinds of stream ({', '.join(KINDS)}), not {mix!r}")
        sources: dict[tuple[bool, str], Source] = {}
        for target, connection in enumerate(connections):
            for name in connection.names:
                key = (connection.spot, name)
                if key in frames and delivers(connection.route, name):
                    sources.setdefault(key, Source(target, connection.combined, frames[key]))
        self._connections = connections
        self._now = now
        self._send_buffer = send_buffer
        self._generator = random.Random(1)
        self._sources, self._prelude = _caught_up(list(sources.values()), now())
        self._mix = shares
        self._round = self._make()
        if not self._round.size:
            raise ValueError("nothing to send: no stream of the mix has had a frame on these connections yet")
        self._turn = 0
        self._position = 0
        self._forget()

    def _forget(self) -> None:
        self._by_kind: Counter[str] = Counter()
        self._extra = 0
        self._by_connection = [0] * len(self._connections)
        self._bytes = 0

    def continues(self, connections: list[StreamConnection], mix: Mapping[str, float] | None) -> bool:
        """Return whether a flood over ``connections`` with ``mix`` continues this one."""
        return connections == self._connections and mix == self._asked

    def _make(self) -> Round:
        return Round(self._sources, len(self._connections), self._mix, self._now(), self._generator)

    async def run(self, frames_per_second: float | None, seconds: float) -> dict[str, Any]:
        """Send for ``seconds``, or until a connection has closed; return what was sent. Another run continues it."""
        self._forget()
        begun = time.monotonic()
        while self._prelude:
            self._send_one(self._prelude.pop())
        held_back = 0
        if frames_per_second is None:
            await self._flat_out(begun + seconds)
        else:
            held_back = await self._at_rate(frames_per_second, begun + seconds)
        numbers = [connection.number for connection in self._connections]
        return {
            "frames": self._by_kind.total(),
            "bytes": self._bytes,
            "seconds": time.monotonic() - begun,
            "by_kind": dict(self._by_kind),
            "by_connection": dict(zip(numbers, self._by_connection, strict=True)),
            "held_back": held_back,
            "extra": self._extra,
        }

    @property
    def _open(self) -> bool:
        return all(connection.open for connection in self._connections)

    @property
    def _unsent(self) -> int:
        return max(connection.transport.get_write_buffer_size() for connection in self._connections)

    async def _flat_out(self, end: float) -> None:
        while time.monotonic() < end and self._open:
            if self._unsent < _HIGH_WATER:
                self._send(_CHUNK * len(self._connections))
                await asyncio.sleep(0)
            else:
                await asyncio.sleep(_DRAIN_TICK)

    async def _at_rate(self, rate: float, end: float) -> int:
        """Send at this rate; return how many frames full sockets have held back, which are not sent later."""
        last = time.monotonic()
        owed = 0.0
        held_back = 0
        while (now := time.monotonic()) < end and self._open:
            owed += rate * (now - last)
            last = now
            due = int(owed)
            owed -= due
            if self._unsent > self._send_buffer:
                held_back += due
            elif due:
                self._send(due)
            await asyncio.sleep(max(0.0, _RATE_TICK - (time.monotonic() - now)))
        return held_back

    def _send(self, count: int) -> None:
        """Send the next ``count`` frames of the round, each on its connection."""
        now = self._now()
        while count > 0:
            last = min(self._position + count, self._round.size)
            for number, part in enumerate(self._round.parts):
                begin = bisect_left(part.positions, self._position)
                end = bisect_left(part.positions, last)
                if begin < end:
                    self._write(number, part, begin, end, now)
            count -= last - self._position
            self._position = last
            if last == self._round.size:
                self._position = 0
                self._turn += 1
                # Between rounds every id has been used equally often, so a new round continues where this one ends.
                if now >= self._round.turn:
                    for source in self._round.finals(self._turn, now):
                        self._send_one(source)
                    self._round = self._make()

    def _send_one(self, source: Source) -> None:
        wire = wire_of(source.frame)
        self._extra += 1
        self._connections[source.target].transport.send([wire.combined if source.combined else wire.bare])

    def _write(self, number: int, part: Part, begin: int, end: int, now: int) -> None:
        data, sizes = part.render(begin, end, self._turn, now)
        connection = self._connections[number]
        if connection.transport.separate:
            parts, at = [], 0
            for size in sizes:
                parts.append(data[at : at + size])
                at += size
            connection.transport.send(parts)
        else:
            connection.transport.send([data])
        self._by_kind.update(part.kinds[begin:end])
        self._by_connection[number] += len(sizes)
        self._bytes += len(data)
        connection.frames_sent += len(sizes)
        connection.bytes_sent += len(data)


@dataclass(frozen=True)
class FloodResult:
    """What a flood has sent."""

    frames: int
    bytes: int
    seconds: float
    by_kind: dict[str, int]
    by_connection: dict[int, int]
    """Frames by the number of the connection."""
    held_back: int
    """Frames due but not sent because the client's side was full (only at a given rate)."""
    extra: int
    """Sent in addition to ``frames``: the trades that bring streams up to their candles at the beginning, and the last
    events of candles that have closed."""

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> FloodResult:
        by_connection = {int(number): frames for number, frames in values["by_connection"].items()}
        return cls(**{**values, "by_connection": by_connection})


_floods: weakref.WeakKeyDictionary[ExchangeServer, Flood] = weakref.WeakKeyDictionary()
"""The newest flood of each exchange of this process."""


@control(decode=FloodResult.from_json)
async def flood(
    server: ExchangeServer,
    route: Route | None,
    frames_per_second: float | None,
    seconds: float,
    *,
    mix: dict[str, float] | None = None,
) -> dict[str, Any]:
    """Flood the open connections on ``route`` (None: all) for ``seconds``; block until it is over.

    ``frames_per_second`` is the rate in all, or None for as fast as the sockets take them. The frames are copies of the
    newest real frame of each subscribed stream, with fresh event and open times and ids that continue without a gap;
    ``E`` is exchange time at the moment of sending. ``mix``: shares by kind or by name after the symbol
    ("depth20@100ms", which then does not count for its kind), by default 47 % klines, 30 % books, 22 % trades, 1 % mark
    prices; kinds without a subscription leave their share to the others. Streams that have had no frame yet are left
    out.

    From then on the market no longer sends to these connections, and its REST knows nothing of the flood, so a flood is
    the last thing to do with a client. (Another flood over the same connections with the same mix continues where the
    one before ended; another mix needs new connections.) Raise ValueError if there is nothing to send.
    """
    if frames_per_second is not None and frames_per_second <= 0:
        raise ValueError("frames_per_second must be above 0")
    server.pump.step()
    broadcaster = server.broadcaster
    connections = broadcaster.chosen(route)
    current = _floods.get(server)
    if current is None or not current.continues(connections, mix):
        current = Flood(connections, broadcaster.last_frames, server.clock.now, mix, server.settings.send_buffer)
        _floods[server] = current
    for connection in connections:
        for name in connection.names:
            broadcaster.leave(connection, name)
    return await current.run(frames_per_second, seconds)
