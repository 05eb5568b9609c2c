"""What can be asked of a running server through its control channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .endpoints import FAPI, SPOT, answer
from .errors import ApiError
from .flood import Flood
from .names import EVERY_ROUTE
from .request_log import HostRequests
from .server import ExchangeServer

REFUSALS = ("error", "anonymous", "silence")
CUTS = ("close", "drop", "reset", "half_open")


class Commands:
    """Every public method is a command; arguments and results are JSON values."""

    def __init__(self, server: ExchangeServer, stop: Callable[[], None]) -> None:
        self._server = server
        self._stop = stop
        self._flood: Flood | None = None

    def stop(self) -> None:
        self._stop()

    # -- seeing

    def now(self) -> int:
        return self._server.clock.now()

    def symbols(self) -> list[str]:
        return list(self._server.market.symbols)

    def stats(self) -> dict[str, Any]:
        return self._server.stats().to_json()

    def request_log(self, since: int, most: int) -> list[Any]:
        return list(self._server.request_log.since(since, most))

    def rest(self, path: str, params: dict[str, str]) -> dict[str, Any]:
        server = self._server
        server.pump.step()
        if path.endswith("/time"):
            return {"value": {"serverTime": server.clock.now()}}
        host = SPOT if path.startswith("/api/") else FAPI
        try:
            return {"value": answer(host, path, params, server.market)}
        except ApiError as error:
            return {"error": [error.code, error.msg, error.status]}

    def subscriptions(self, number: int) -> list[str] | None:
        connection = self._server.broadcaster.connections.get(number)
        return None if connection is None else list(connection.names)

    # -- connections

    def cut(self, route: str | None, how: str, connection: int | None) -> int:
        self._check_route(route)
        if how not in CUTS:
            raise ValueError(f"how must be one of {', '.join(CUTS)}, not {how!r}")
        return self._server.broadcaster.cut(route, how, connection)

    def lag(self, seconds: float | None, route: str | None, connection: int | None) -> int:
        self._check_route(route)
        if seconds is not None and not 0.0 < seconds <= 600.0:
            raise ValueError("seconds must be above 0 and at most 600")
        return self._server.broadcaster.lag(seconds or 0.0, route, connection)

    def freeze(self, seconds: float | None, what: str) -> None:
        for listener in self._server.aimed_at(what):
            listener.set_frozen(True)
            self._server.after(f"thaw {listener.name}", seconds, lambda name=listener.name: self.thaw(name))  # type: ignore[misc]

    def thaw(self, what: str) -> None:
        for listener in self._server.aimed_at(what):
            self._server.after(f"thaw {listener.name}", None, _nothing)
            if listener.frozen:
                listener.set_frozen(False)

    def refuse(self, seconds: float | None, what: str, how: str) -> None:
        if how not in ("refuse", "reset"):
            raise ValueError(f"how must be refuse or reset, not {how!r}")
        for listener in self._server.aimed_at(what):
            if how == "refuse":
                listener.refuse()
            else:
                listener.resetting = True
            self._server.after(f"accept {listener.name}", seconds, lambda name=listener.name: self.accept(name))  # type: ignore[misc]

    def accept(self, what: str) -> None:
        for listener in self._server.aimed_at(what):
            self._server.after(f"accept {listener.name}", None, _nothing)
            listener.resetting = False
            listener.open()

    def trickle(self, bytes_per_second: float | None, what: str, seconds: float | None) -> None:
        if bytes_per_second is not None and bytes_per_second <= 0:
            raise ValueError("bytes_per_second must be above 0")
        for listener in self._server.aimed_at(what):
            listener.set_rate(bytes_per_second)
            until = seconds if bytes_per_second is not None else None
            self._server.after(f"flow {listener.name}", until, lambda listener=listener: listener.set_rate(None))  # type: ignore[misc]

    def age_limit(self, seconds: float | None) -> None:
        server = self._server
        server.broadcaster.max_age = server.settings.max_age if seconds is None else seconds

    def ping_every(self, seconds: float | None, deadline: float | None) -> None:
        self._server.broadcaster.set_pings(seconds, deadline)

    def handshake(self, answer: int | str | None, count: int | None, seconds: float | None) -> None:
        if isinstance(answer, str) and answer != "hang":
            raise ValueError(f"answer must be an HTTP status, 'hang' or None, not {answer!r}")
        if isinstance(answer, int) and not 400 <= answer <= 599:
            raise ValueError(f"status must be 400 to 599, not {answer!r}")
        self._server.broadcaster.set_handshake_fault(answer, count)
        self._server.after("handshake", seconds, lambda: self._server.broadcaster.set_handshake_fault(None, None))

    # -- streams

    def drop_stream(self, name: str, spot: bool, sticky: bool, everywhere: bool) -> int:
        return self._server.broadcaster.drop_stream(name, spot=spot, sticky=sticky, everywhere=everywhere)

    def restore_stream(self, name: str | None) -> int:
        return self._server.broadcaster.restore_stream(name)

    def refuse_stream(self, name: str, how: str | None) -> None:
        if how is None:
            self._server.broadcaster.refused_streams.pop(name, None)
        elif how in REFUSALS:
            self._server.broadcaster.refused_streams[name] = how
        else:
            raise ValueError(f"how must be one of {', '.join(REFUSALS)}, or None, not {how!r}")

    def announce_shutdown(self, seconds: float, wrapped: bool) -> int:
        if seconds <= 0:
            raise ValueError("seconds must be above 0")
        return self._server.broadcaster.announce_shutdown(seconds, wrapped)

    def stream_fault(self, action: str, selector: str, options: dict[str, Any]) -> None:
        self._server.stream_faults.add(action, selector, **options)

    def lose_finals(self, on: bool) -> None:
        faults = self._server.stream_faults
        faults.remove("lose", finals=True)
        if on:
            faults.add("lose", "kline", finals=True)

    def fault_counts(self) -> dict[str, int]:
        return dict(self._server.stream_faults.done)

    # -- REST

    def fail_rest(self, kind: str, options: dict[str, Any]) -> None:
        self._server.rest.faults.add(kind, **options)

    def ban(self, seconds: float, host: str) -> int:
        requests = self._host(host)
        return requests.limits.ban(self._server.clock.now(), seconds)

    def pardon(self) -> None:
        for requests in self._server.request_log.hosts.values():
            requests.limits.pardon()
            requests.forget_refusals()
        self._server.broadcaster.reset_limits()

    def latency(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("latency is negative")
        self._server.rest.latency = seconds

    def lagging_replica(self, seconds: float | None, share: float) -> None:
        if not 0.0 < share <= 1.0:
            raise ValueError("share must be above 0 and at most 1")
        if seconds is not None and seconds <= 0:
            raise ValueError("seconds must be above 0")
        self._server.lag_replica(seconds, share)

    def spend_weight(self, weight: int, host: str) -> int:
        if weight < 0:
            raise ValueError("weight is negative")
        return self._host(host).limits.spend(self._server.clock.now(), weight)

    def clear_faults(self) -> None:
        server = self._server
        server.rest.faults.clear()
        server.rest.let_go()
        server.rest.latency = server.settings.latency
        server.stream_faults.clear()
        server.broadcaster.restore_stream(None)
        server.broadcaster.refused_streams.clear()
        server.broadcaster.set_handshake_fault(None, None)
        server.lag_replica(None)
        self.age_limit(None)
        self.ping_every(None, None)
        self.thaw("all")
        self.trickle(None, "all", None)
        self.lag(None, None, None)
        self.accept("all")
        for listener in server.listeners.values():
            listener.sweep_half_open()

    # -- the market

    def trade(self, symbol: str, at: int | None, ticks: int, qty: int | None) -> None:
        frames = self._server.change_market("trade", symbol=symbol, at=at, ticks=ticks, qty=qty)
        self._server.pump.send(frames)
        self._server.broadcaster.flush()

    def silence(self, symbol: str, on: bool) -> None:
        self._server.change_market("silence", symbol=symbol, on=on)

    def halt_history(self, symbol: str, start: int, stop: int) -> None:
        self._server.change_market("halt_history", symbol=symbol, start=start, stop=stop)

    def restart_ids(self, symbol: str | None) -> None:
        self._server.change_market("restart_ids", symbol=symbol)

    def recompute_candle(self, symbol: str) -> None:
        self._server.change_market("recompute_candle", symbol=symbol)

    def delist(self, symbol: str, status: str) -> None:
        self._server.change_market("delist", symbol=symbol, status=status)

    def set_status(self, symbol: str, status: str, candles: bool) -> None:
        self._server.change_market("set_status", symbol=symbol, status=status, candles=candles)

    def maintenance(self, seconds: float | None, status: str) -> None:
        self._server.change_market("maintenance", status=status)
        self._server.after("maintenance", seconds, lambda: self.maintenance(None, ""))

    def set_session(self, market: str, session: str) -> None:
        self._server.change_market("set_session", market=market, session=session)

    def pay_dividend(self, symbol: str, rate: str, rate_type: str) -> None:
        self._server.change_market("pay_dividend", symbol=symbol, rate=rate, rate_type=rate_type)

    def list_symbol(self, symbol: str, options: dict[str, Any]) -> None:
        self._server.change_market("list_symbol", symbol=symbol, **options)

    def jump_clock(self, milliseconds: int) -> int:
        server = self._server
        server.clock.jump(milliseconds)
        now = server.clock.now()
        if milliseconds > 0:
            server.pump.skip_to(now)
        return now

    # -- benchmarks

    async def flood(
        self, route: str | None, frames_per_second: float | None, seconds: float, mix: dict[str, float] | None
    ) -> dict[str, Any]:
        self._check_route(route)
        if frames_per_second is not None and frames_per_second <= 0:
            raise ValueError("frames_per_second must be above 0")
        server = self._server
        broadcaster = server.broadcaster
        server.pump.step()
        connections = broadcaster.chosen(route)
        flood = self._flood
        if flood is None or not flood.continues(connections, mix):
            flood = Flood(connections, broadcaster.last_frames, server.clock.now, mix, server.settings.send_buffer)
            self._flood = flood
        for connection in connections:
            for name in connection.names:
                broadcaster.leave(connection, name)
        return await flood.run(frames_per_second, seconds)

    # -- helpers

    def _host(self, host: str) -> HostRequests:
        try:
            return self._server.request_log.hosts[host]
        except KeyError:
            raise ValueError(f"host must be fapi or spot, not {host!r}") from None

    @staticmethod
    def _check_route(route: str | None) -> None:
        if route is not None and route not in EVERY_ROUTE:
            raise ValueError(f"route must be one of {', '.join(EVERY_ROUTE)}, not {route!r}")


def _nothing() -> None:
    pass
