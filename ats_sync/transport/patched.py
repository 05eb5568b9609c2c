"""What programs replace in the standard library and in requests: threads and sockets, which is refused, and the classes
that ours derive from, of which the originals are used.

truststore replaces ``ssl.SSLContext`` and requests-cache ``requests.Session``, before our import or after it. A class
derived from the replacement inherits its behaviour; a class derived before breaks, since methods of the standard
library look the name up and find the replacement.
"""

from __future__ import annotations

import _ssl
import ssl
import sys
from typing import TYPE_CHECKING, Any

import requests.sessions

from ..errors import ConfigError

if TYPE_CHECKING:
    from ssl import SSLContext as SSLContext

    from requests import Session as Session
else:
    SSLContext = next(
        kind
        for kind in _ssl._SSLContext.__subclasses__()
        if (kind.__module__, kind.__qualname__) == ("ssl", "SSLContext")
    )
    Session = next(
        (kind for kind in requests.sessions.Session.__mro__ if kind.__module__ == "requests.sessions"),
        requests.sessions.Session,
    )

GREEN_PARTS = ("socket", "select", "thread", "threading", "ssl")
"""The modules that gevent or eventlet must not have patched."""


class UnpatchedContext(SSLContext):
    """A context whose attributes can be set also where ``ssl.SSLContext`` has been replaced.

    The setters of the standard library look that name up, and would recurse without end.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        setter = vars(_ssl._SSLContext).get(name)
        if setter is None:
            super().__setattr__(name, value)
        else:
            setter.__set__(self, value)


def trusts_the_system() -> bool:
    """Return whether the program uses truststore, so that the system's certificate authorities count."""
    return ssl.SSLContext.__module__.partition(".")[0] == "truststore"


def check_unpatched() -> None:
    """Raise :class:`~ats_sync.errors.ConfigError` where threads or sockets are not those of the system.

    In such a program a thread that computes, or waits outside the patched calls, stops all the others.
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
            f"run it in a process of its own, or patch with {keep}"
        )
