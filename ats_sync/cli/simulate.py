"""``simulate``: runs the simulated exchange in the foreground."""

from __future__ import annotations

from argparse import Namespace

from ..simulator import serve_forever
from .exits import interrupted_status, need


def run(options: Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    need("simulate", "aiohttp", *(("trustme",) if options.tls else ()))
    serve_forever(
        port=options.port, symbols=options.symbols, seed=options.seed, latency=options.latency, tls=options.tls
    )
    return interrupted_status()
