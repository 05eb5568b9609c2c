"""A simulated exchange: Binance USDⓈ-M futures and their spot market on loopback, with every fault on demand.

It needs the extra ``simulator`` (aiohttp), and ``tls`` (trustme) for TLS. It uses nothing from the rest of the library,
so that a mistake in one is not repeated in the other.
"""

from __future__ import annotations

from .clock import before_midnight, before_turn
from .controls import Controls
from .errors import ApiError, SimulatorError
from .exchange import SimulatedExchange, serve_forever
from .settings import Settings
from .stats import ConnectionInfo, HostStats, RequestRecord, SimulatorStats

__all__ = [
    "ApiError",
    "ConnectionInfo",
    "Controls",
    "HostStats",
    "RequestRecord",
    "Settings",
    "SimulatedExchange",
    "SimulatorError",
    "SimulatorStats",
    "before_midnight",
    "before_turn",
    "serve_forever",
]
