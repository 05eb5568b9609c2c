"""Controls of the exchange as a whole: its state, its clock, and the end of all faults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..endpoints import answer, host_of
from ..stats import RequestRecord, SimulatorStats
from .control import control

if TYPE_CHECKING:
    from ..server import ExchangeServer


def _names(value: list[str]) -> tuple[str, ...]:
    return tuple(value)


def _records(value: list[dict[str, Any]]) -> list[RequestRecord]:
    return [RequestRecord(**item) for item in value]


@control
def stop(server: ExchangeServer) -> None:
    """End the exchange."""
    server.stop()


@control
def now(server: ExchangeServer) -> int:
    """Return exchange time, ms."""
    return server.clock.now()


@control
def jump_clock(server: ExchangeServer, milliseconds: int) -> int:
    """Move exchange time; return the new time, ms.

    Forward: the market goes through the skipped time without sending its events, which takes a while for many
    symbols. Back: ``/time`` shows it at once, and nothing trades until the old time is reached again.
    """
    server.clock.jump(milliseconds)
    at = server.clock.now()
    if milliseconds > 0:
        server.pump.skip_to(at)
    return at


@control(decode=_names)
def trading(server: ExchangeServer) -> list[str]:
    """Return the symbols that are trading now."""
    return list(server.market.symbols)


@control(decode=SimulatorStats.from_json)
def stats(server: ExchangeServer) -> dict[str, Any]:
    """Return everything counted since the start."""
    return server.stats().to_json()


@control(decode=_records)
def request_log(server: ExchangeServer, since: int = 0, most: int = 100_000) -> list[dict[str, Any]]:
    """Return the newest ``most`` REST requests that arrived at exchange time ``since`` or later, oldest first."""
    return [record._asdict() for record in server.request_log.since(since, most)]


@control
def subscriptions(server: ExchangeServer, connection: int) -> list[str] | None:
    """Return the streams of one open connection (its number is in ``stats``), or None if it is gone."""
    found = server.broadcaster.connections.get(connection)
    return None if found is None else list(found.names)


@control
def rest(server: ExchangeServer, path: str, params: dict[str, str | int | float | bool | None] | None = None) -> Any:
    """Return what REST would answer at this moment: the truth, without weight, fault, latency or log.

    If the exchange would answer with an error body, this fails with its ``code``, ``msg`` and ``status``
    (:class:`~ats_sync.simulator.ApiError`).
    """
    server.pump.step()
    if path.endswith("/time"):
        return {"serverTime": server.clock.now()}
    query = {name: str(value) for name, value in (params or {}).items() if value is not None}
    return answer(host_of(path), path, query, server.market, server.endpoints)


@control
def clear_faults(server: ExchangeServer) -> None:
    """End every fault: streams deliver, ports open, frozen bytes flow, half-open and hung connections are cut.

    A refused client stays refused until its Retry-After has passed (``pardon``), and changes to the market remain:
    delisted and silent symbols, the clock.
    """
    server.clear_faults()
