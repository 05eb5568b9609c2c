"""Whole client libraries, each used as its documentation shows, pointed at the simulated exchange."""

from __future__ import annotations

import asyncio
import importlib
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

from .rivals import PATIENCE, Rival, Streams, quickest_loads

CHUNK = 190
QUIET = 2.0


class _Library(Rival):
    """A library is ready when streams have delivered and no new one has for a while, since these libraries do not show
    which subscriptions were acknowledged."""

    def __init__(self, base: str, streams: Streams, ca_file: str | None, rest: str) -> None:
        super().__init__(base, streams, ca_file, rest)
        if ca_file:
            # This process belongs to the benchmark; none of these libraries takes a CA file for all its connections.
            os.environ["SSL_CERT_FILE"] = ca_file
        self.seen: set[str] = set()
        self.taken = 0
        self.prepare()

    def prepare(self) -> None:
        """Import what is needed, so that a missing package is reported at once."""

    def start(self) -> None:
        threading.Thread(target=self._guarded, args=("",), daemon=True).start()
        known, since, begun = 0, time.monotonic(), time.monotonic()
        pause = threading.Event()
        while not known or time.monotonic() < since + QUIET:
            if self._errors:
                raise self._errors[0]
            if time.monotonic() > begun + 2 * PATIENCE:
                raise RuntimeError(f"not ready: {known} streams have come")
            if len(self.seen) > known:
                known, since = len(self.seen), time.monotonic()
            pause.wait(0.1)

    def _guarded(self, route: str) -> None:
        try:
            self.follow()
        except BaseException as error:  # noqa: BLE001 -- raised by start()
            if not self._closing:
                self._errors.append(error)

    def follow(self) -> None:
        """Connect, subscribe, and keep what arrives until the end."""
        raise NotImplementedError

    def run(self, route: str, url: str, subscribe: Sequence[str]) -> None:
        raise NotImplementedError

    def hold(self, message: Any) -> None:
        name = message.get("stream")
        if name is not None:
            self.latest[name] = message["data"]
            self.seen.add(name)
            self.taken += 1

    def frames(self) -> int:
        return self.taken


class PythonBinance(_Library):
    """python-binance: multiplex sockets, with a queue that does not overflow."""

    def prepare(self) -> None:
        self._binance = importlib.import_module("binance")

    def follow(self) -> None:
        asyncio.run(self._all())

    async def _all(self) -> None:
        manager = self._binance.BinanceSocketManager(self._binance.AsyncClient(), max_queue_size=10**7)
        manager.FSTREAM_URL = self.base + "/"
        sockets = [
            manager.futures_multiplex_socket(list(names[first : first + CHUNK]), category=route)
            for route, names in self.streams.items()
            for first in range(0, len(names), CHUNK)
        ]
        await asyncio.gather(*map(self._pump, sockets))

    async def _pump(self, socket: Any) -> None:
        async with socket as stream:
            while True:
                self.hold(await stream.recv())


class Unicorn(_Library):
    """unicorn-binance-websocket-api: a callback, on picows, decoded by orjson."""

    def prepare(self) -> None:
        self._module = importlib.import_module("unicorn_binance_websocket_api")
        importlib.import_module("picows")

    def follow(self) -> None:
        loads = quickest_loads()
        self._manager = self._module.BinanceWebSocketApiManager(
            exchange="binance.com-futures",
            websocket_base_uri=self.base + "/",
            process_stream_data=lambda text, **_: self.hold(loads(text)),
            warn_on_update=False,
            disable_colorama=True,
            websocket_library="picows",
            high_performance=True,
        )
        for names in self.streams.values():
            channels = dict.fromkeys(name.partition("@")[2] for name in names if not name.startswith("!"))
            markets = dict.fromkeys(name.partition("@")[0] for name in names if not name.startswith("!"))
            for channel in channels:  # one of its streams takes at most 200 subscriptions
                self._manager.create_stream([channel], list(markets))
            for name in names:
                if name.startswith("!"):
                    self._manager.create_stream([name.partition("@")[2]], [name.partition("@")[0]])

    def close(self) -> None:
        super().close()
        self._manager.stop_manager()


class CcxtPro(_Library):
    """ccxt.pro: the watch methods for many symbols, which keep books, candles and trades up to date."""

    def prepare(self) -> None:
        if "@depth20" in self.streams["public"][0]:
            raise RuntimeError("it keeps its books by diffs")
        self._pro = importlib.import_module("ccxt.pro")

    def follow(self) -> None:
        asyncio.run(self._all())

    async def _all(self) -> None:
        exchange = self._pro.binanceusdm({"newUpdates": True, "enableRateLimit": False})
        exchange.urls["api"]["ws"]["linear"] = self.base + "/ws"
        for name in ("fapiPublic", "fapiPublicV2", "fapiPublicV3"):
            exchange.urls["api"][name] = f"{self.rest}/fapi/v1"
        names = self.streams["public"]
        symbols = [name.partition("@")[0].upper() for name in names]
        exchange.set_markets([exchange.parse_market(_listing(symbol)) for symbol in symbols])
        unified = [exchange.market(symbol)["symbol"] for symbol in symbols]
        honest = exchange.handle_message

        def handle(client: Any, message: Any) -> Any:
            if "e" in message or isinstance(message, list):
                self.taken += 1
                self.seen.add(f"{message.get('s')}{message.get('e')}" if isinstance(message, dict) else "!")
            return honest(client, message)

        exchange.handle_message = handle
        timeframes = dict.fromkeys(name.partition("@kline_")[2] for name in self.streams["market"] if "@kline_" in name)
        wanted = [[symbol, timeframe] for symbol in unified for timeframe in timeframes]
        tasks = [exchange.watch_ohlcv_for_symbols(wanted[i : i + CHUNK]) for i in range(0, len(wanted), CHUNK)]
        tasks += [exchange.watch_trades_for_symbols(unified[i : i + CHUNK]) for i in range(0, len(unified), CHUNK)]
        tasks += [exchange.watch_order_book_for_symbols(unified[i : i + CHUNK]) for i in range(0, len(unified), CHUNK)]
        await asyncio.gather(*tasks)
        while True:
            await asyncio.sleep(3600)


def _listing(symbol: str) -> dict[str, Any]:
    base = symbol.removesuffix("USDT")
    return {
        "symbol": symbol, "pair": symbol, "contractType": "PERPETUAL", "status": "TRADING", "baseAsset": base,
        "quoteAsset": "USDT", "marginAsset": "USDT", "pricePrecision": 4, "quantityPrecision": 3,
        "deliveryDate": 4133404800000, "onboardDate": 1600000000000, "filters": [], "orderTypes": [],
    }  # fmt: skip


LIBRARIES: dict[str, type[Rival]] = {
    "python-binance": PythonBinance,
    "unicorn-binance-websocket-api on picows": Unicorn,
    "ccxt.pro": CcxtPro,
}
