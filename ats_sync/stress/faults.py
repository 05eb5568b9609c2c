"""Everything that can go wrong: all faults of the simulated exchange, and those of this machine."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import get_args

from ..simulator.controls import Cut, MalformedKind, RestFaultKind, Route
from .catalogue import Catalogue
from .silence import watch_silence
from .world import Effects, World

MINUTE = 60_000
ROUTES: tuple[Route | None, ...] = (None, None, "public", "market")
MOST_DELISTED = 5
LARGEST_JUMP = 600.0
BARRED_GRACE = 80.0
"""Extra seconds: an address that is barred sends a request only once a minute."""


@dataclass(frozen=True)
class Fault:
    """A fault that lasts for a while. ``end`` undoes it; a fault that ends by itself has none."""

    name: str
    seconds: float
    begin: Callable[[], object]
    end: Callable[[], object] = lambda: None
    effects: Effects = field(default_factory=Effects)
    grace: float = 0.0
    """Extra seconds that the recovery may take."""


Maker = Callable[[World], Fault]

FAULTS: Catalogue[Maker] = Catalogue()
"""All faults of this module."""


def draw(world: World) -> list[Fault]:
    """Return the faults of one episode: usually one, sometimes two or three together."""
    without = () if world.options.pause else ("process_stopped",)
    count = world.rng.choices((1, 2, 3), (6, 3, 1))[0]
    picked = dict.fromkeys(FAULTS.draw(world.rng, world.options.only, without) for _ in range(count))
    return [maker(world) for maker in picked]


def _seconds(rng: random.Random, least: float, most: float) -> float:
    return round(rng.uniform(least, most), 2)


# --- connections ---------------------------------------------------------------------------------------


@FAULTS.add(4.0)
def cut(world: World) -> Fault:
    ex, rng = world.exchange, world.rng
    how, route = rng.choice(get_args(Cut)), rng.choice(ROUTES)
    holding = Effects(holding=how == "half_open")
    return Fault(f"cut {how}", 0.0, lambda: ex.cut(route, how), effects=holding)


@FAULTS.add(3.0)
def outage(world: World) -> Fault:
    """Refuse all connections for a while, and cut the open ones."""
    ex, seconds = world.exchange, _seconds(world.rng, 1.0, 10.0)
    how = world.rng.choice(("refuse", "reset"))

    def begin() -> None:
        ex.refuse(seconds, "streams", "refuse" if how == "refuse" else "reset")
        ex.cut(how="reset")

    return Fault("streams refused", seconds, begin, lambda: ex.accept("streams"))


@FAULTS.add(2.0)
def both_down(world: World) -> Fault:
    ex, seconds = world.exchange, _seconds(world.rng, 1.0, 8.0)

    def begin() -> None:
        ex.refuse(seconds, "all")
        ex.fail_rest("reset", seconds=seconds)  # on the connections that are open
        ex.cut(how="reset")

    return Fault("streams and REST down", seconds, begin, lambda: ex.accept("all"))


@FAULTS.add(2.0)
def frozen(world: World) -> Fault:
    ex, seconds = world.exchange, _seconds(world.rng, 0.5, 9.0)
    what = world.rng.choice(("streams", "rest", "all"))
    late = Effects(holding=True)
    if what == "streams":
        return Fault("streams frozen", seconds, lambda: ex.freeze(seconds, "streams"), lambda: ex.thaw("streams"), late)
    if what == "rest":
        return Fault("REST frozen", seconds, lambda: ex.freeze(seconds, "rest"), lambda: ex.thaw("rest"), late)
    return Fault("all frozen", seconds, lambda: ex.freeze(seconds, "all"), lambda: ex.thaw("all"), late)


@FAULTS.add(1.0)
def trickled(world: World) -> Fault:
    ex, seconds, rate = world.exchange, _seconds(world.rng, 3.0, 8.0), world.rng.uniform(300.0, 20_000.0)
    return Fault(
        "streams trickle",
        seconds,
        lambda: ex.trickle(rate, "streams", seconds=seconds),
        lambda: ex.trickle(None, "streams"),
        Effects(holding=True),
    )


@FAULTS.add(1.0)
def aged(world: World) -> Fault:
    ex, limit = world.exchange, _seconds(world.rng, 2.0, 6.0)
    return Fault("age limit", 8.0, lambda: ex.age_limit(limit), lambda: ex.age_limit(None))


@FAULTS.add(1.0)
def pinged(world: World) -> Fault:
    ex = world.exchange
    return Fault("pings every 0.5 s", 5.0, lambda: ex.ping_every(0.5, 2.0), lambda: ex.ping_every(None))


@FAULTS.add(2.0)
def no_handshake(world: World) -> Fault:
    ex, seconds = world.exchange, _seconds(world.rng, 1.0, 8.0)
    answer = world.rng.choice((403, 451, 503, 429, "hang"))

    def begin() -> None:
        if answer == "hang":
            ex.handshake("hang", seconds=seconds)
        else:
            assert isinstance(answer, int)
            ex.handshake(answer, seconds=seconds)
        ex.cut(how="drop")

    return Fault(f"handshake {answer}", seconds, begin, lambda: ex.handshake(None))


# --- streams and events --------------------------------------------------------------------------------


@FAULTS.add(5.0)
def silent(world: World) -> Fault:
    """Silence some streams without an error."""
    ex, rng = world.exchange, world.rng
    seconds = _seconds(rng, 6.0, 15.0)
    how = rng.choice(("once", "once", "sticky", "everywhere"))
    targets = [
        (rng.choice(world.symbols), rng.choice(("klines", "orderbook", "trades"))) for _ in range(rng.choice((1, 1, 4)))
    ]
    streams = [(symbol, kind, rng.choice(world.options.intervals)) for symbol, kind in dict.fromkeys(targets)]

    def begin() -> None:
        for symbol, kind, interval in streams:
            name = stream_name(symbol, kind, interval)
            watch_silence(world, symbol, kind, interval, seconds)
            ex.drop_stream(name, sticky=how == "sticky", everywhere=how == "everywhere")

    def end() -> None:
        for symbol, kind, interval in streams:
            ex.restore_stream(stream_name(symbol, kind, interval))

    kinds = "+".join(sorted({kind for _, kind, _ in streams}))
    return Fault(f"silent {kinds} ({how})", seconds, begin, end, Effects(silent=True))


def stream_name(symbol: str, kind: str, interval: str) -> str:
    """Return the stream that feeds a series."""
    suffix = {"klines": f"kline_{interval}", "orderbook": "depth20@100ms", "trades": "aggTrade"}[kind]
    return f"{symbol.lower()}@{suffix}"


@FAULTS.add(1.0)
def silent_marks(world: World) -> Fault:
    ex, seconds = world.exchange, _seconds(world.rng, 3.0, 12.0)
    name = "!markPrice@arr@1s"
    return Fault(
        "silent marks",
        seconds,
        lambda: ex.drop_stream(name),
        lambda: ex.restore_stream(name),
        Effects(silent=True),
    )


@FAULTS.add(4.0)
def events_disturbed(world: World) -> Fault:
    ex, rng, seconds = world.exchange, world.rng, _seconds(world.rng, 3.0, 10.0)
    selector, chance = rng.choice(("kline", "aggTrade", "depth")), rng.choice((0.02, 0.3, 1.0))
    how = rng.choice(("lost", "doubled", "reordered", "late"))
    if how == "lost":
        begin: Callable[[], object] = lambda: ex.lose(selector, probability=chance, seconds=seconds)  # noqa: E731
    elif how == "doubled":
        begin = lambda: ex.double(selector, probability=chance, seconds=seconds)  # noqa: E731
    elif how == "reordered":
        begin = lambda: ex.reorder(selector, probability=chance, seconds=seconds)  # noqa: E731
    else:
        late = rng.uniform(0.3, 4.0)
        begin = lambda: ex.delay(selector, late, probability=min(chance, 0.5), seconds=seconds)  # noqa: E731
    return Fault(f"{selector} {how}", seconds, begin, effects=Effects(silent=True))


@FAULTS.add(2.0)
def finals_lost(world: World) -> Fault:
    """Lose final events across a candle's turn, so that there are some to lose."""
    ex = world.exchange
    turn = (MINUTE - ex.now() % MINUTE) / 1000.0
    seconds = turn + 4.0 if turn < 20.0 else 8.0
    return Fault(
        "final events lost",
        seconds,
        lambda: ex.lose("kline", finals=True, seconds=seconds),
        effects=Effects(silent=True),
    )


@FAULTS.add(2.0)
def malformed(world: World) -> Fault:
    ex, rng, seconds = world.exchange, world.rng, _seconds(world.rng, 1.0, 5.0)
    kind = rng.choice(get_args(MalformedKind))
    count = 3 if kind in ("huge", "deep", "big_int") else 50
    replace = rng.random() < 0.5
    selector = rng.choice(("*", "kline", "aggTrade", "depth", "markPrice"))

    def begin() -> None:
        ex.malformed(kind, selector, next_n=count, seconds=seconds, replace=replace)

    return Fault(f"malformed {kind}", seconds, begin, effects=Effects(silent=True))


# --- REST ------------------------------------------------------------------------------------------------


def _with_need(world: World, begin: Callable[[], object]) -> Callable[[], None]:
    """Return ``begin`` with, in most cases, a cut of the streams, so that REST is needed."""
    route = world.rng.choice(ROUTES)
    needed = world.rng.random() < 0.7

    def both() -> None:
        begin()
        if needed:
            world.exchange.cut(route, "reset")

    return both


@FAULTS.add(5.0)
def rest_fails(world: World) -> Fault:
    ex, rng, seconds = world.exchange, world.rng, _seconds(world.rng, 1.0, 8.0)
    kind = rng.choice([each for each in get_args(RestFaultKind) if each not in ("429", "418")])
    delay, code = rng.uniform(0.2, 2.0), rng.choice((-1000, -1001, -1007))
    begin = _with_need(world, lambda: ex.fail_rest(kind, seconds=seconds, delay=delay, code=code))
    # Requests that are never answered are released with everything else at the end of the episode.
    return Fault(
        f"REST {kind}",
        seconds,
        begin,
        effects=Effects(holding=kind in ("timeout", "trickle", "slow")),
        grace=BARRED_GRACE if kind in ("403", "451") else 0.0,
    )


@FAULTS.add(2.0)
def rate_limited(world: World) -> Fault:
    ex, rng, wait = world.exchange, world.rng, float(world.rng.randint(1, 6))
    if rng.random() < 0.5:
        return Fault("REST 418", wait, _with_need(world, lambda: ex.ban(wait)))
    return Fault("REST 429", 1.0 + wait, _with_need(world, lambda: ex.fail_rest("429", seconds=1.0, retry_after=wait)))


@FAULTS.add(2.0)
def lagging(world: World) -> Fault:
    ex, rng, seconds = world.exchange, world.rng, _seconds(world.rng, 4.0, 12.0)
    behind, share = rng.uniform(1.0, 15.0), rng.choice((0.5, 1.0))
    begin = _with_need(world, lambda: ex.lagging_replica(behind, share=share))
    return Fault("lagging replica", seconds, begin, lambda: ex.lagging_replica(None), Effects(lagging=True))


@FAULTS.add(1.0)
def slow(world: World) -> Fault:
    ex, rng, seconds = world.exchange, world.rng, _seconds(world.rng, 3.0, 10.0)
    by = rng.uniform(0.1, 1.0)
    begin = _with_need(world, lambda: ex.latency(by))
    return Fault("REST slow", seconds, begin, lambda: ex.latency(0.0), Effects(holding=True))


@FAULTS.add(1.0)
def weight_spent(world: World) -> Fault:
    """Let another program on this address spend the weight, until the end of the minute."""
    ex, weight = world.exchange, world.rng.randint(200, 1000)

    def begin() -> None:
        now = ex.now()
        world.foreign[now - now % MINUTE] += weight
        ex.spend_weight(weight)

    return Fault("weight spent by another", 1.0, _with_need(world, begin))


# --- the market ------------------------------------------------------------------------------------------


@FAULTS.add(0.5)
def delisted(world: World) -> Fault:
    def begin() -> None:
        if len(world.delisted) < MOST_DELISTED and len(world.symbols) > 10:
            symbol = world.rng.choice(world.symbols)
            world.symbols = [each for each in world.symbols if each != symbol]
            world.delisted[symbol] = time.monotonic()
            world.exchange.delist(symbol)

    return Fault("delisting", 0.0, begin)


@FAULTS.add(1.0)
def quiet(world: World) -> Fault:
    ex, rng, seconds = world.exchange, world.rng, _seconds(world.rng, 3.0, 12.0)
    chosen = rng.sample(world.symbols, max(1, len(world.symbols) // 10))

    def turn(on: bool) -> None:
        for symbol in chosen:
            if symbol not in world.delisted:
                ex.silence(symbol, on)

    return Fault("quiet symbols", seconds, lambda: turn(True), lambda: turn(False))


@FAULTS.add(1.0)
def exchange_clock(world: World) -> Fault:
    """Make the clock jump while no client is connected, since events in the skipped time are never sent."""
    ex, by = world.exchange, world.rng.choice((-2_000, 1_500, 5_000, 30_000))

    def begin() -> None:
        ex.refuse(1.0, "streams")
        ex.cut(how="reset")
        ex.jump_clock(by)

    return Fault(f"exchange's clock {by / 1000:+g} s", 1.0, begin, lambda: ex.accept("streams"), Effects(silent=True))


# --- this machine ------------------------------------------------------------------------------------------


@FAULTS.add(1.5)
def wall_clock(world: World) -> Fault:
    by = world.rng.choice((-LARGEST_JUMP, -3.0, 3.0, LARGEST_JUMP))
    return Fault(f"wall clock {by:+g} s", 0.0, lambda: world.time.jump(by))


@FAULTS.add(1.0)
def steady_clock(world: World) -> Fault:
    return Fault("steady clock stands still", 4.0, world.time.hold, world.time.release)


@FAULTS.add(1.0)
def exchange_stopped(world: World) -> Fault:
    pid, seconds = world.exchange.pid, world.rng.choice((0.1, 2.0, 5.0))

    def go_on() -> None:
        os.kill(pid, signal.SIGCONT)

    def begin() -> None:
        # In its own thread: a caller of the exchange would otherwise wait until it resumes.
        timer = threading.Timer(seconds, go_on)
        timer.daemon = True
        timer.start()
        os.kill(pid, signal.SIGSTOP)

    return Fault("exchange stopped", seconds, begin, go_on, Effects(holding=True))


@FAULTS.add(1.0)
def busy(world: World) -> Fault:
    """Run threads that never release the interpreter by themselves."""
    seconds = _seconds(world.rng, 2.0, 6.0)
    over = threading.Event()

    def spin() -> None:
        while not over.is_set() and not world.stop.is_set():
            sum(range(20_000))

    def begin() -> None:
        for number in range(4):
            threading.Thread(target=spin, name=f"stress-busy-{number}", daemon=True).start()

    return Fault("busy readers", seconds, begin, over.set)


_PAUSER = """
import os, signal, sys, time
pid, seconds = int(sys.argv[1]), float(sys.argv[2])
os.kill(pid, signal.SIGSTOP)
try:
    time.sleep(seconds)
finally:
    os.kill(pid, signal.SIGCONT)
"""


@FAULTS.add(2.0)
def process_stopped(world: World) -> Fault:
    """Stop this whole process, through a child that keeps running."""
    seconds = world.rng.choice((0.1, 1.0, 5.0, 15.0))

    def begin() -> None:
        subprocess.run([sys.executable, "-c", _PAUSER, str(os.getpid()), str(seconds)], check=True)

    return Fault(f"process stopped {seconds:g} s", 0.0, begin, effects=Effects(holding=True))
