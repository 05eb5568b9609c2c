"""``probe``: the exchange as it is, compared with each fact that the client rests on."""

from __future__ import annotations

import sys
from argparse import Namespace
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone

from ..config import Config
from ..errors import AccessDenied, RateLimited, RequestError
from ..simulator import SimulatedExchange
from .exits import FAILED, OK, CommandFailed
from .probe_facts import FACTS
from .probe_looks import look
from .screen import Screen

UNREACHABLE = 2
BEFORE_MINUTE = 25
"""Seconds before a full minute at which the embedded exchange starts, so that its turn need not be waited for."""


def run(options: Namespace) -> int:
    """Print whether each fact was kept; return 1 when one has changed, 2 when the exchange could not be reached."""
    screen = Screen(sys.stdout)
    with ExitStack() as stack:
        if options.live:
            config = Config.from_env()
        else:
            now = datetime.now(timezone.utc).replace(second=0, microsecond=0)
            start = now - timedelta(seconds=BEFORE_MINUTE)
            exchange = SimulatedExchange(["BTCUSDT", "ETHUSDT"], start=start)
            config = stack.enter_context(exchange).config()
        screen.heading(f"{len(FACTS)} facts on {config.fapi_base} and its streams, in about a minute")
        try:
            seen = look(config)
        except RateLimited as error:
            raise CommandFailed(f"the exchange says to wait, so nothing more is sent: {error}", UNREACHABLE) from error
        except (AccessDenied, RequestError) as error:
            raise CommandFailed(f"the exchange could not be reached: {error}", UNREACHABLE) from error
    changed = 0
    for fact in FACTS:
        kept, what = fact.check(seen)
        changed += not kept
        screen.line(f"{'kept' if kept else 'changed':<8} {fact.name} ({fact.source}): {what}")
    screen.line(f"{len(FACTS) - changed} kept, {changed} changed; {seen.spent} of request weight")
    return FAILED if changed else OK
