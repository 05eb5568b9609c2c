"""Everything that can be done to a running exchange; each control is defined once.

The methods of :class:`Controls` and the HTTP route ``POST /control/<name>`` are the same functions; ``GET /control``
lists them.
"""

from __future__ import annotations

from ..literals import Cut, Host, MalformedKind, Refusal, RestFaultKind, Route, What
from . import connections, exchange, market, rest, streams
from .control import Caller, Control, control, controls_in

__all__ = [
    "CONTROLS",
    "Caller",
    "Control",
    "Controls",
    "Cut",
    "Host",
    "MalformedKind",
    "Refusal",
    "RestFaultKind",
    "Route",
    "What",
    "control",
    "controls_in",
]

CONTROLS = controls_in(exchange, connections, streams, rest, market)
"""The controls that every exchange has, by name."""


class Controls:
    """The controls as methods of :class:`~ats_sync.simulator.SimulatedExchange`.

    Each acts at once and from any thread. With ``seconds`` (real time) a fault ends by itself; without it the fault
    lasts until it is taken back or :attr:`clear_faults` is called. Bad arguments raise ValueError or TypeError; an
    exchange that has ended raises :class:`~ats_sync.simulator.SimulatorError`.
    """

    now = exchange.now
    jump_clock = exchange.jump_clock
    trading = exchange.trading
    stats = exchange.stats
    request_log = exchange.request_log
    subscriptions = exchange.subscriptions
    clear_faults = exchange.clear_faults

    cut = connections.cut
    lag = connections.lag
    freeze = connections.freeze
    thaw = connections.thaw
    refuse = connections.refuse
    accept = connections.accept
    trickle = connections.trickle
    age_limit = connections.age_limit
    ping_every = connections.ping_every
    handshake = connections.handshake

    drop_stream = streams.drop_stream
    restore_stream = streams.restore_stream
    refuse_stream = streams.refuse_stream
    announce_shutdown = streams.announce_shutdown
    lose = streams.lose
    double = streams.double
    reorder = streams.reorder
    delay = streams.delay
    lose_finals = streams.lose_finals
    malformed = streams.malformed
    fault_counts = streams.fault_counts

    fail_rest = rest.fail_rest
    ban = rest.ban
    pardon = rest.pardon
    latency = rest.latency
    lagging_replica = rest.lagging_replica
    spend_weight = rest.spend_weight

    trade = market.trade
    silence = market.silence
    halt_history = market.halt_history
    restart_ids = market.restart_ids
    recompute_candle = market.recompute_candle
    delist = market.delist
    list_symbol = market.list_symbol
    set_status = market.set_status
    maintenance = market.maintenance
    set_session = market.set_session
    pay_dividend = market.pay_dividend
