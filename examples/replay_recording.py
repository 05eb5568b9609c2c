"""Serve a recording of the exchange on loopback, run the manager on it, and check what the manager knows at the end.

    python -m ats_sync record my_recording --seconds 90
    python examples/replay_recording.py my_recording --speed 10

A recording is what ``python -m ats_sync record`` writes. Its beginning (until every symbol has a candle and a
trade) is served by REST and the rest by streams, at the recorded pace times ``--speed``; the exchange's clock is that
of the recording. Afterwards the last candles in memory must equal the last frames, final candles must be final, and
no trade may be missing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
import threading
import time
from collections import defaultdict
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiohttp import WSMsgType, web

from ats_sync import Config, DataManager, NotInMemory, memory_only

ANSWER = re.compile(r"(\S+) -> ([\d.]+): (.*)")
MARKS = "!markPrice@arr@1s"
PATIENCE = 40.0
"""Seconds that the manager has to process the last frames; its clock runs at normal speed by then."""
SETTLED_AFTER = 10.0
"""Seconds after which a difference counts, once every read has been answered from memory."""

Series = tuple[str, str]


@dataclass(frozen=True)
class Item:
    """A frame (with its stream's name) or a REST answer (with its URL), as it was received."""

    time: float
    name: str
    text: str
    value: Any

    @property
    def event(self) -> str:
        """Return the event type of a frame of one symbol, otherwise ""."""
        return str(self.value.get("e", "")) if isinstance(self.value, dict) else ""


@dataclass
class Recording:
    """Everything in the files of a directory, in order of arrival."""

    frames: list[Item] = field(default_factory=list)
    answers: list[Item] = field(default_factory=list)
    exchange_info: str = ""

    @classmethod
    def read(cls, directory: Path) -> Recording:
        """Read a recording. Raises OSError or ValueError if there is none."""
        recording = cls()
        with (directory / "stream.txt").open(encoding="utf-8") as lines:
            if " <-> " not in next(lines, ""):
                raise ValueError(f"{directory}/stream.txt does not begin with the URL of a stream")
            for line in filter(str.strip, lines):
                moment, _, text = line.rstrip("\n").partition(": ")
                frame = json.loads(text)
                recording.frames.append(Item(float(moment), frame["stream"], text, frame["data"]))
        with (directory / "rest.txt").open(encoding="utf-8") as lines:
            for found in filter(None, map(ANSWER.match, lines)):
                url, moment, text = found.groups()
                recording.answers.append(Item(float(moment), url, text, json.loads(text)))
        with (directory / "exchange_info.txt").open(encoding="utf-8") as lines:
            recording.exchange_info = next(filter(None, map(ANSWER.match, lines)))[3]
        return recording

    def clock_offset(self) -> float:
        """Return how far (seconds) the exchange's clock was ahead of the recorder's; 0 if `/time` was not recorded."""
        for answer in self.answers:
            if answer.name.endswith("/fapi/v1/time"):
                return float(answer.value["serverTime"]) / 1000 - answer.time
        return 0.0

    def candles(self) -> dict[Series, list[dict[str, Any]]]:
        """Return the candles of the kline frames of each symbol and interval."""
        found: dict[Series, list[dict[str, Any]]] = defaultdict(list)
        for frame in self.frames:
            if frame.event == "kline":
                found[frame.value["s"], frame.value["k"]["i"]].append(frame.value["k"])
        return dict(found)

    def trades(self) -> dict[str, list[dict[str, Any]]]:
        """Return the trades of the aggTrade frames of each symbol, as REST would return them."""
        found: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for frame in self.frames:
            if frame.event == "aggTrade":
                found[frame.value["s"]].append(trade_row(frame.value))
        return dict(found)


def kline_row(candle: dict[str, Any]) -> list[Any]:
    """Return a kline frame's candle as REST returns it."""
    return [candle[key] for key in ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q", "B")]


def trade_row(trade: dict[str, Any]) -> dict[str, Any]:
    """Return an aggTrade frame as REST returns it."""
    return {key: trade[key] for key in ("a", "p", "q", "nq", "f", "l", "T", "m") if key in trade}


class Market:
    """What the exchange would answer by REST, given what has been played so far."""

    def __init__(self, recording: Recording) -> None:
        self._info = recording.exchange_info
        self._klines: dict[Series, dict[int, list[Any]]] = defaultdict(dict)
        self._trades: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
        self._others: dict[str, dict[str, Any]] = defaultdict(dict)
        for answer in recording.answers:
            if not answer.name.partition("?")[0].endswith(("klines", "aggTrades")):
                # Data without frames has one answer, no matter when it was recorded.
                self.learn(answer)

    def learn(self, item: Item) -> None:
        """Apply a frame or an answer."""
        value = item.value
        if "://" in item.name:
            url = urlsplit(item.name)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            symbol = query.get("symbol", "")
            if url.path == "/fapi/v1/klines":
                for row in value:
                    self._candle(symbol, query["interval"], row)
            elif url.path == "/fapi/v1/aggTrades":
                self._trades[symbol].update({row["a"]: row for row in value})
            else:
                self._others[url.path][symbol] = value
        elif item.event == "kline":
            self._candle(value["s"], value["k"]["i"], kline_row(value["k"]))
        elif item.event == "aggTrade":
            self._trades[value["s"]][value["a"]] = trade_row(value)

    def _candle(self, symbol: str, interval: str, row: list[Any]) -> None:
        known = self._klines[symbol, interval]
        if row[0] not in known or row[8] >= known[row[0]][8]:
            known[row[0]] = row

    def knows(self, series: Series) -> bool:
        """Return whether it knows a candle of this symbol and interval."""
        return bool(self._klines[series])

    def knows_a_trade(self, symbol: str) -> bool:
        """Return whether it knows a trade of this symbol."""
        return bool(self._trades[symbol])

    def answer(self, path: str, query: dict[str, str], now: int) -> Any:
        """Return the value of a REST answer; an empty list if the recording does not contain it."""
        symbol, limit = query.get("symbol", ""), int(query.get("limit", 500))
        if path == "/fapi/v1/time":
            return {"serverTime": now}
        if path == "/fapi/v1/exchangeInfo":
            return json.loads(self._info)
        if path == "/fapi/v1/klines":
            rows = self._klines[symbol, query["interval"]]
            return [rows[opened] for opened in sorted(rows)][-limit:]
        if path == "/fapi/v1/aggTrades":
            first = int(query.get("fromId", 0))
            trades = [trade for number, trade in sorted(self._trades[symbol].items()) if number >= first]
            return trades[:limit] if "fromId" in query else trades[-limit:]
        if path == "/fapi/v1/depth":
            empty = {"lastUpdateId": 0, "E": now, "T": now, "bids": [], "asks": []}
            book = self._others[path].get(symbol, empty)
            return {**book, "E": now, "bids": book["bids"][:limit], "asks": book["asks"][:limit]}
        if path == "/fapi/v1/premiumIndex":
            return list(self._others[path].values()) or [
                {"symbol": each, "markPrice": price, "lastFundingRate": "0", "nextFundingTime": 0, "time": now}
                for each, price in self._last_prices().items()
            ]
        if path == "/api/v3/ticker/price":
            stand_in = [{"symbol": each, "price": price} for each, price in self._last_prices().items()]
            return self._others[path].get("", stand_in)
        return self._others[path].get(symbol, [])

    def marks(self, now: int) -> list[dict[str, Any]]:
        """Return the events of a mark price array, made from the last prices."""
        return [
            {"e": "markPriceUpdate", "E": now, "s": each, "p": price, "i": price, "P": price, "r": "0", "T": 0}
            for each, price in self._last_prices().items()
        ]

    def _last_prices(self) -> dict[str, str]:
        """Return the last prices, which replace mark and spot prices if none were recorded: otherwise no manager
        would become ready."""
        return {symbol: rows[max(rows)][4] for (symbol, _), rows in self._klines.items() if rows}


class Replay:
    """The exchange of a recording, on its own port, in a thread."""

    def __init__(self, recording: Recording, *, speed: float) -> None:
        self._market = Market(recording)
        self._items = sorted(recording.frames + recording.answers, key=lambda item: item.time)
        self._speed = speed
        self._offset = recording.clock_offset()
        self._begins = self._tell_history(set(recording.candles()), set(recording.trades()))
        self._length = self._items[-1].time - self._begins if self._items else 0.0
        self._opened = time.monotonic()
        self._playing_since: float | None = None
        self._passed = 0.0  # seconds of the recording that had passed when the streams began
        self._listeners: list[tuple[str, set[str], web.WebSocketResponse]] = []
        self._address: Future[str] = Future()
        self.over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="replay")

    def _tell_history(self, series: set[Series], traded: set[str]) -> float:
        """Apply what came until the market knew a candle of each series and a trade of each symbol that has any;
        return the time of the last item."""
        begins = self._items[0].time
        knows = self._market.knows
        while self._items and not (all(map(knows, series)) and all(map(self._market.knows_a_trade, traded))):
            begins = self._items[0].time
            self._market.learn(self._items.pop(0))
        return begins

    def __enter__(self) -> Replay:
        self._thread.start()
        self.address = self._address.result(PATIENCE)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def config(self) -> Config:
        """Return settings that point a manager at this exchange."""
        http, ws = f"http://{self.address}", f"ws://{self.address}"
        return Config(fapi_base=http, spot_base=http, fstream_base=ws, spot_stream_base=ws, proxies={})

    def play(self) -> None:
        """Start the streams. ``over`` is set after the last frame."""
        self._loop.call_soon_threadsafe(self._go.set)

    def now(self) -> int:
        """Return the exchange's time, ms: that of the recording, at the replay's speed until its end, at normal speed
        before and after it."""
        begins = self._begins + self._offset
        if self._playing_since is None:
            return int((begins + time.monotonic() - self._opened) * 1000)
        elapsed = time.monotonic() - self._playing_since
        played = min(elapsed * self._speed, max(0.0, self._length - self._passed))
        return int((begins + self._passed + played + elapsed - played / self._speed) * 1000)

    async def _serve(self) -> None:
        self._loop, self._go, self._stop = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
        app = web.Application()
        app.add_routes([web.get("/{route}/stream", self._stream), web.get("/{path:.*}", self._rest)])
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0]
        tasks = [asyncio.create_task(self._play())]
        if not any(item.name == MARKS for item in self._items):
            tasks.append(asyncio.create_task(self._tell_marks()))
        self._address.set_result(f"{host}:{port}")
        await self._stop.wait()
        for task in tasks:
            task.cancel()
        await runner.cleanup()

    async def _rest(self, request: web.Request) -> web.Response:
        return web.json_response(self._market.answer(request.path, dict(request.query), self.now()))

    async def _stream(self, request: web.Request) -> web.WebSocketResponse:
        socket, names = web.WebSocketResponse(), set[str]()
        await socket.prepare(request)
        self._listeners.append((request.match_info["route"], names, socket))
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                command = json.loads(message.data)
                change = names.update if command["method"] == "SUBSCRIBE" else names.difference_update
                change(command["params"])
                await socket.send_json({"result": None, "id": command["id"]})
        return socket

    async def _play(self) -> None:
        await self._go.wait()
        # Whatever would have been sent in the meantime is sent at once.
        self._playing_since = began = time.monotonic()
        self._passed = began - self._opened
        for item in self._items:
            due = began + (item.time - self._begins - self._passed) / self._speed
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            self._market.learn(item)
            await self._send(item.name, item.text)
        self.over.set()

    async def _tell_marks(self) -> None:
        """Send the stream that is never silent on the exchange: without it, connections would be closed as dead."""
        while True:
            await asyncio.sleep(1.0)
            await self._send(MARKS, json.dumps({"stream": MARKS, "data": self._market.marks(self.now())}))

    async def _send(self, name: str, text: str) -> None:
        route = "public" if "@depth" in name or "bookTicker" in name else "market"
        for served, names, socket in self._listeners:
            if served == route and name in names and not socket.closed:
                await socket.send_str(text)


def settled(dm: DataManager, recording: Recording) -> list[str]:
    """Return how memory differs from the frames once the manager has had time to process the last of them."""
    pause, deadline = threading.Event(), time.monotonic() + PATIENCE
    found, compared = ["nothing could be compared"], False
    while found and time.monotonic() < deadline:
        try:
            with memory_only():
                found = differences(dm, recording)
            if not compared:
                deadline, compared = min(deadline, time.monotonic() + SETTLED_AFTER), True
        except NotInMemory as error:
            # At this moment the manager would go to REST, which proves nothing about the frames.
            found = found if compared else [str(error)]
        if found:
            pause.wait(0.05)
    return found


def differences(dm: DataManager, recording: Recording) -> list[str]:
    """Return how memory differs from the frames; raises NotInMemory if a read would go to REST."""
    found = []
    for (symbol, interval), candles in recording.candles().items():
        last = {candle["t"]: kline_row(candle) for candle in candles}
        held = {row[0]: row for row in dm.rest_shaped.klines(symbol, interval, len(last))}
        found += [
            f"{symbol} {interval}: {held.get(opened)}, not {row}"
            for opened, row in last.items()
            if held.get(opened) != row
        ]
        final = max((candle["t"] for candle in candles if candle["x"]), default=None)
        if final is not None:
            closed = dm.wait_closed(symbol, interval, after=final - 1, timeout=0)
            if closed != [*map(float, last[final])]:
                found.append(f"{symbol} {interval}: the newest final candle is {closed}, not {last[final]}")
    for symbol, trades in recording.trades().items():
        if dm.rest_shaped.agg_trades(symbol, len(trades)) != trades:
            found.append(f"{symbol}: its {len(trades)} trades are not all in memory and in order")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the manager on a recording and check what it knows at the end.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--speed", type=float, default=10.0, help="replay this many times as fast as recorded (10)")
    options = parser.parse_args()
    try:
        recording = Recording.read(options.directory)
    except (OSError, ValueError, LookupError) as error:
        parser.error(f"{options.directory} is not a recording: {error}")
    candles, trades = recording.candles(), recording.trades()
    symbols = sorted({symbol for symbol, _ in candles} | set(trades))
    if not candles:
        parser.error(f"{options.directory} contains no kline frames")

    with ExitStack() as stack:
        replay = stack.enter_context(Replay(recording, speed=options.speed))
        dm = DataManager(symbols, {interval for _, interval in candles}, config=replay.config())
        stack.callback(dm.close)
        dm.start(timeout=PATIENCE)
        replay.play()
        replay.over.wait()
        wrong = settled(dm, recording)
        frames = dm.get_stats()["ws_updates"]

    finals = sum(candle["x"] for each in candles.values() for candle in each)
    print(f"{len(symbols)} symbols ({', '.join(symbols)}), {frames} frames streamed")
    for text in wrong:
        print(f"wrong: {text}")
    if not wrong:
        print(
            f"the last candles equal the last of the {sum(map(len, candles.values()))} kline frames, "
            f"{finals} final candles are final, {sum(map(len, trades.values()))} trades are in order"
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
