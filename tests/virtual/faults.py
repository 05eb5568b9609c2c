"""What can break, and for how long. Times are ms after the beginning of a schedule."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ats_sync.simulator.endpoints import FAPI

from .exchange import RestFault
from .script import STEP

if TYPE_CHECKING:
    from .world import World

MINUTE = 60_000
REFUSED_FIRST = 20_000
LATE_FOR, LATE_AGAIN = 20_000, 30_000
LISTED_AGAIN = 60_000
"""Whether a symbol is back that was buried is asked after pauses that double (ms)."""
HOUR = 3_600_000
BURST, BURST_EVERY = 14, 100
"""An open candle is recomputed after so many trades, one every so many ms."""
BARRED_FOR = 80_000
"""An address that is barred (403) is rightly not asked again for a minute (ms)."""


@dataclass(frozen=True)
class Fault:
    """Something breaks ``at`` and is whole again after ``lasts`` ms."""

    at: int

    @property
    def ends(self) -> int:
        return self.at + getattr(self, "lasts", 0)

    def arm(self, world: World) -> None:
        line = world.line
        line.at(line.start + self.at, lambda: self.begin(world))
        if self.ends > self.at:
            line.at(line.start + self.ends, lambda: self.end(world))

    def begin(self, world: World) -> None:
        raise NotImplementedError

    def end(self, world: World) -> None:
        """Undo what :meth:`begin` did, where that does not end by itself."""


@dataclass(frozen=True)
class Cut(Fault):
    """Connections are closed, or reset, which loses what is under way."""

    route: str = ""
    reset: bool = False

    def begin(self, world: World) -> None:
        for session in world.exchange.sessions(self.route):
            session.cut(reset=self.reset)


@dataclass(frozen=True)
class Shutdown(Fault):
    """The existing connections will be closed, which is announced this many ms before.

    The exchange announces this on spot connections, of which there are none here; the client heeds it on all.
    """

    lasts: int
    route: str = ""

    def begin(self, world: World) -> None:
        for session in world.exchange.sessions(self.route):
            session.announce_shutdown(self.lasts)


@dataclass(frozen=True)
class HalfOpen(Fault):
    """Bytes stop on the existing connections; new ones work."""

    route: str = ""

    def begin(self, world: World) -> None:
        for session in world.exchange.sessions(self.route):
            session.dead = True


@dataclass(frozen=True)
class Stall(Fault):
    """Bytes to us are held back and then come all at once."""

    lasts: int
    route: str = ""

    def begin(self, world: World) -> None:
        for session in world.exchange.sessions(self.route):
            session.stalled_until = world.line.now + self.lasts
        world.held_up_until = max(world.held_up_until, world.line.now + self.lasts)


@dataclass(frozen=True)
class Lag(Fault):
    """Bytes to us take permanently longer on the existing connections; new ones are on time."""

    route: str = ""
    delay: int = 4000

    def begin(self, world: World) -> None:
        for session in world.exchange.sessions(self.route):
            session.lag += self.delay
        world.lagged += 1
        world.held_up_until = math.inf
        # A connection that lags is replaced; the next of its route only after a pause, which doubles.
        world.patience = max(world.patience, LATE_FOR + (1 << world.lagged) * LATE_AGAIN)


@dataclass(frozen=True)
class Dark(Fault):
    """Nothing gets through in either direction; earlier connections stay dead."""

    lasts: int

    def begin(self, world: World) -> None:
        world.exchange.dark = True
        for session in world.exchange.sessions():
            session.dead = True

    def end(self, world: World) -> None:
        world.exchange.dark = False


@dataclass(frozen=True)
class Refuse(Fault):
    """Connections are cut and no new stream connection is accepted."""

    lasts: int

    def begin(self, world: World) -> None:
        world.exchange.refusing = True
        for session in world.exchange.sessions():
            session.cut(reset=True)

    def end(self, world: World) -> None:
        world.exchange.refusing = False


@dataclass(frozen=True)
class Deaf(Fault):
    """Subscriptions are dropped silently; the connections that were subscribed are cut."""

    lasts: int

    def begin(self, world: World) -> None:
        world.exchange.deaf = True
        for session in world.exchange.sessions():
            session.cut(reset=False)

    def end(self, world: World) -> None:
        world.exchange.deaf = False


@dataclass(frozen=True)
class Events(Fault):
    """Single events are lost, doubled, late (and so out of order) or made unusable; ``what`` selects the streams by a
    part of their name, or with "final" the last events of candles."""

    lasts: int
    how: str
    what: str
    share: float = 0.5
    delay: int = 3000

    def begin(self, world: World) -> None:
        rng = random.Random(self.at)

        def mangle(stream: str, frame: bytes, _: int) -> Iterable[tuple[int, bytes]]:
            chosen = b'"x":true' in frame if self.what == "final" else self.what in stream
            if world.line.now >= end or not chosen or rng.random() >= self.share:
                return ((0, frame),)
            if self.how == "lose":
                return ()
            if self.how == "double":
                return ((0, frame), (rng.randrange(2) * self.delay, frame))
            if self.how == "late":
                return ((rng.randrange(1, self.delay), frame),)
            return ((0, _spoilt(frame, rng)),)

        end = world.line.start + self.ends
        world.damaged(self.what)
        world.exchange.mangle.append(mangle)
        world.line.at(end, lambda: world.exchange.mangle.remove(mangle))


def _spoilt(frame: bytes, rng: random.Random) -> bytes:
    kind = rng.randrange(5)
    if kind == 0:
        return frame[: rng.randrange(len(frame))]
    if kind == 1:
        return frame.replace(b'":"', b'":"x', 6)
    if kind == 2:
        return b'{"stream":"btcusdt@kline_1m","data":{}}'
    if kind == 3:
        return b"\xff\x00{"
    return frame.replace(b'"E":1', b'"E":9', 1)


@dataclass(frozen=True)
class Mute(Fault):
    """One stream alone falls silent, until it is resubscribed or moved, or until the fault ends ("ever")."""

    lasts: int
    stream: str
    until: str

    def begin(self, world: World) -> None:
        world.damaged(self.stream)
        world.exchange.mute_stream(self.stream, self.until)

    def end(self, world: World) -> None:
        world.exchange.mute.pop(self.stream, None)


@dataclass(frozen=True)
class RefuseName(Fault):
    """Each SUBSCRIBE that names a stream is refused; the connections that were subscribed to it are cut."""

    lasts: int
    stream: str

    def begin(self, world: World) -> None:
        world.exchange.refused_names.add(self.stream)
        # It is tried again less and less often, each time after twice as long.
        world.patience = max(world.patience, 2 * self.lasts + REFUSED_FIRST)
        for session in world.exchange.sessions():
            if self.stream in session.names:
                session.cut(reset=False)

    def end(self, world: World) -> None:
        world.exchange.refused_names.discard(self.stream)


@dataclass(frozen=True)
class Restart(Fault):
    """The update ids of a symbol's book begin again, far below what they were."""

    symbol: str

    def begin(self, world: World) -> None:
        world.exchange.restart_books(self.symbol)


@dataclass(frozen=True)
class Rest(Fault):
    """A share of the requests fails in one way; see ``REST_KINDS``."""

    lasts: int
    kind: str
    share: float = 1.0
    lag: int = 0

    def begin(self, world: World) -> None:
        fault = RestFault(self.kind, self.share, self.lag)
        end = world.line.start + self.ends
        if self.kind == "lag":
            world.lag_until = max(world.lag_until, end)
            world.lag = max(world.lag, self.lag)
        if self.kind == "[]":
            world.empty_until = max(world.empty_until, end)
        if self.kind == "403":
            world.patience = BARRED_FOR
        if self.kind.startswith("slow") or self.kind == "timeout":
            world.slow_until = max(world.slow_until, end + 20_000)
        if self.kind != "lag" and not self.kind.startswith("slow"):
            world.unanswered_until = max(world.unanswered_until, end)
        world.exchange.rest_faults.append(fault)
        world.line.at(end, lambda: world.exchange.rest_faults.remove(fault))


@dataclass(frozen=True)
class Ban(Fault):
    """The address is banned: 418 until then."""

    lasts: int

    def begin(self, world: World) -> None:
        world.exchange.limits[FAPI].ban(world.line.now, self.lasts / 1000.0)


@dataclass(frozen=True)
class NoRetryAfter(Fault):
    """Refusals do not have the header that says how long to wait."""

    lasts: int

    def begin(self, world: World) -> None:
        world.exchange.retry_after = False

    def end(self, world: World) -> None:
        world.exchange.retry_after = True


@dataclass(frozen=True)
class Maintenance(Fault):
    """exchangeInfo shows every contract with one status while all of them trade on."""

    lasts: int
    status: str = "SETTLING"

    def begin(self, world: World) -> None:
        world.exchange.shown_status = self.status

    def end(self, world: World) -> None:
        world.exchange.shown_status = ""


@dataclass(frozen=True)
class Others(Fault):
    """Another program on this address uses a share of the limit at once."""

    share: float

    def begin(self, world: World) -> None:
        world.exchange.spend(FAPI, int(world.exchange.weight_limit * self.share))
        counting = world.schedule.counting
        world.others_until = (world.line.now // MINUTE * MINUTE if counting == "clock" else world.line.now) + MINUTE
        if world.schedule.report_lag or counting == "sliding":
            # Just after the new minute the exchange may still report what it counted before, and a client that reads
            # that waits again. Where any sixty seconds count, a report does not show when the weight was used.
            world.others_until += MINUTE

    @property
    def ends(self) -> int:
        return self.at


@dataclass(frozen=True)
class Pause(Fault):
    """The process is stopped; with ``asleep`` the machine is, and its steady clock stands still."""

    lasts: int
    asleep: bool = False

    def begin(self, world: World) -> None:
        world.pauses += 1
        if world.pauses == 1:
            world.stopped_at = world.line.now
            world.process.stop()

    def end(self, world: World) -> None:
        world.pauses -= 1
        if not world.pauses:
            world.went_on = world.line.now
            if self.asleep:
                slept = world.line.now - world.stopped_at
                world.clocks.stood_still += slept / 1000.0
                if max(world.exchange.waits_until(), world.others_until) > world.stopped_at:
                    # The wait for another's weight or the end of a ban is counted by the steady clock.
                    world.patience = max(world.patience, slept)
            world.process.go_on()


@dataclass(frozen=True)
class Sluggish(Fault):
    """The process gets little of the processor: every thread often has to wait."""

    lasts: int
    delay: int = 300

    def begin(self, world: World) -> None:
        world.process.sluggish = self.delay

    def end(self, world: World) -> None:
        world.process.sluggish = 0


@dataclass(frozen=True)
class WallClock(Fault):
    """Somebody sets the machine's wall clock."""

    seconds: float

    def begin(self, world: World) -> None:
        world.clocks.wall_error += self.seconds


@dataclass(frozen=True)
class Delist(Fault):
    """A symbol leaves the exchange."""

    symbol: str

    def begin(self, world: World) -> None:
        world.exchange.delisted.add(self.symbol)
        world.delisted[self.symbol] = world.line.now - 1  # What was due in this very ms may not have been sent.


@dataclass(frozen=True)
class MarketFault(Fault):
    """Something that the exchange itself does or has done: its frames and its REST answers agree on it."""

    symbol: str

    def script(self) -> tuple[tuple[int, str, str], ...]:
        """Return what the market's script contains in addition; see :class:`~.script.Setting`."""
        raise NotImplementedError

    def begin(self, world: World) -> None:
        """Do nothing: the market does it."""

    def _entries(self, *entries: tuple[int, str]) -> tuple[tuple[int, str, str], ...]:
        return tuple((at // STEP * STEP, verb, self.symbol) for at, verb in entries)


@dataclass(frozen=True)
class Recount(MarketFault):
    """Ids of trades and of books begin again, lower; REST does not know the trades before."""

    def script(self) -> tuple[tuple[int, str, str], ...]:
        return self._entries((self.at, "recount"))


@dataclass(frozen=True)
class Relist(MarketFault):
    """A symbol leaves; after a while another contract has its name, with another price scale and its own counters,
    lower ones where it counts ``below``."""

    lasts: int
    below: bool = False

    def script(self) -> tuple[tuple[int, str, str], ...]:
        return self._entries((self.at, "delist"), (self.at + self.lasts, "list below" if self.below else "list"))

    def end(self, world: World) -> None:
        world.patience = max(world.patience, LISTED_AGAIN)


@dataclass(frozen=True)
class Recompute(MarketFault):
    """The open candles of a symbol lose most of the newest minute's trades; the next trade comes at most ``quiet`` ms
    later (0: whenever it comes)."""

    quiet: int = 0

    def script(self) -> tuple[tuple[int, str, str], ...]:
        burst = [(self.at - BURST_EVERY * number, "trade") for number in range(min(BURST, self.at // BURST_EVERY))]
        after = [(self.at + self.quiet, "trade")] if self.quiet else []
        return self._entries(*burst, (self.at, "recompute"), *after)

    @property
    def ends(self) -> int:
        return self.at + self.quiet


@dataclass(frozen=True)
class Halt(MarketFault):
    """Trading is halted, and the exchange has no candles of the halt."""

    lasts: int

    def script(self) -> tuple[tuple[int, str, str], ...]:
        return self._entries((self.at, "halt without candles"), (self.at + self.lasts, "resume"))


@dataclass(frozen=True)
class OldHalt(MarketFault):
    """A halt of some ``hours`` ended before the beginning, and the exchange has no candles of it."""

    hours: float = 1.0
    before: float = 0.3

    def script(self) -> tuple[tuple[int, str, str], ...]:
        stop = -int(self.before * HOUR)
        return self._entries((stop - int(self.hours * HOUR), "hole"), (stop, "hole ends"))


@dataclass(frozen=True)
class Newcomer(MarketFault):
    """A symbol has never traded before this moment, which may never come; with ``pending`` it was only announced."""

    pending: bool = False

    @property
    def ends(self) -> int:
        return min(self.at, 2 * MINUTE)

    def script(self) -> tuple[tuple[int, str, str], ...]:
        return self._entries((0, "pending" if self.pending else "new"), (self.at, "first trade"))
