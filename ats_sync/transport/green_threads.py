"""A check for programs that have replaced the system's threads or sockets."""

from __future__ import annotations

import sys

from ..errors import ConfigError

GREEN_PARTS = ("socket", "select", "thread", "threading", "ssl")
"""The modules that gevent or eventlet must not have patched."""


def check_unpatched() -> None:
    """Raise :class:`~ats_sync.errors.ConfigError` if threads or sockets are not those of the system.

    In such a program, a thread that computes, or waits outside the patched calls, stops all the others.
    """
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    by = ""
    if gevent is not None and any(map(gevent.is_module_patched, GREEN_PARTS)):
        by, keep = "gevent", "thread=False, socket=False, dns=False, select=False, ssl=False"
    elif eventlet is not None and any(map(eventlet.is_monkey_patched, GREEN_PARTS)):
        by, keep = "eventlet", "thread=False, socket=False, select=False"
    if by:
        raise ConfigError(
            f"{by} has replaced threads or sockets in this process (monkey patching), and ats_sync needs real ones: "
            f"run it in a separate process, or patch with {keep}"
        )
