"""``shared-status``: shows who writes to a shared store, who stands by, and how old the data is."""

from __future__ import annotations

import os
import sys
from argparse import Namespace

from ..errors import ConfigError, MissingExtra, SharedStoreUnavailable
from ..shared.account import Account, egresses
from ..shared.census import Census, census
from ..shared.client import SharedStore
from ..shared.layout import MalformedFeed, feed_in
from ..shared.publish import Names
from ..shared.shards import Shard
from ..shared.wishes import WISHES_KEY
from ..venue.endpoints import Bucket, Host
from .exits import FAILED, OK, USAGE, CommandFailed

WHOLE_MACHINE = "what the machine has"
_SHOWN = ((Bucket.FUTURES, Host.FUTURES), (Bucket.SPOT, Host.SPOT))


def run(options: Namespace) -> int:
    """Show the status once; the exit status says whether collectors lead."""
    url = options.url or os.environ.get("ATS_SYNC_SHARED")
    if not url:
        raise CommandFailed("which store? Give its URL, or set ATS_SYNC_SHARED", USAGE)
    try:
        store = SharedStore(url)
        try:
            lines, leads = _lines(store)
        finally:
            store.close()
    except (ConfigError, SharedStoreUnavailable, MissingExtra) as error:
        raise CommandFailed(str(error), USAGE) from error
    except MalformedFeed as error:
        raise CommandFailed(str(error)) from error
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return OK if leads else FAILED


def _lines(store: SharedStore) -> tuple[list[str], bool]:
    users = census(store)
    lines = []
    for shard, view in users.leases:
        part = f"{shard}  " if shard.count > 1 else ""
        option = f" --shard {shard}" if shard.count > 1 else ""
        lines += [
            f"leader    {part}{view.label or 'nobody'}, epoch {view.epoch}, for {view.led_for:.0f} s"
            if view.left > 0
            else f"leader    {part}nobody; start one with: python -m ats_sync collect{option}",
            f"standbys  {part}{', '.join(view.standbys) or 'none'}",
        ]
    wishes = store.run(lambda redis: redis.zcard(WISHES_KEY))
    lines += [
        f"readers   {_readers(users)}; {wishes} series wished for in the last minutes",
        *_accounts(store),
        f"memory    {users.memory / 1e6:.1f} MB of {f'{users.limit / 1e6:.0f} MB' if users.limit else WHOLE_MACHINE}",
    ]
    for shard, _ in users.leases:
        lines += _feed(store, shard, users.time)
    return lines, all(view.left > 0 for _, view in users.leases)


def _readers(users: Census) -> str:
    """Return how many processes read at this moment, and how many share only the account of requests."""
    if users.processes is None:
        return f"unknown, since this user may not list clients; {users.clients} connections"
    alone = f", {users.processes['alone']} that share only the account of requests" if users.processes["alone"] else ""
    return f"{users.readers or 'none'}{alone}"


def _feed(store: SharedStore, shard: Shard, now: float) -> list[str]:
    """Return the state of the feed of one shard at a moment of the store's clock."""
    part = f"{shard}  " if shard.count > 1 else ""
    life = store.run(lambda redis: redis.hget(shard.feed_key, "life"))
    if life is None:
        return [f"feed      {part}nothing has been written yet"]
    names = Names(life.decode(), shard)
    text, heads, parts = store.run(
        lambda redis: (
            redis.pipeline(transaction=False).hget(names.meta, "feed").hlen(names.heads).hlen(names.parts).execute()
        )
    )
    if text is None:
        return [f"feed      {part}nothing is left"]
    feed = feed_in(text)
    exchange = now + feed.latest
    lines = [
        f"feed      {part}{feed.state}: {feed.reason or 'it has just begun'}",
        f"series    {part}{feed.followed} followed, {heads} heads and {parts} parts in the store",
    ]
    for number, (route, up, watermark) in feed.links.items():
        down = "" if up else ", which is down"
        lines.append(f"age       {part}{exchange - watermark:.2f} s on {route}-{number}{down}")
    lines.append(f"watched   {part}{exchange - feed.watched_until:.2f} s ago")
    return lines


def _accounts(store: SharedStore) -> list[str]:
    """Return a line for each address, with what all its processes have requested in the last minute."""
    lines = []
    for egress in egresses(store):
        account = Account(store, "", egress=egress)
        uses = ((host, account.look(bucket, host)) for bucket, host in _SHOWN)
        text = "; ".join(
            f"{host.value} {use.used + use.open} in the last minute, {use.foreign} by other programs"
            + (f", blocked for {use.blocked:.0f} s" if use.blocked else "")
            for host, use in uses
        )
        lines.append(f"weight    {egress}: {text}")
    return lines
