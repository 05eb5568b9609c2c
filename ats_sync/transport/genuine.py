"""The original classes that ours derive from, even if a program has replaced them.

truststore replaces ``ssl.SSLContext`` and requests-cache replaces ``requests.Session``, before or after our import. A
class derived from the replacement inherits its behaviour; a class derived before breaks, since methods of the standard
library look the name up and find the replacement.
"""

from __future__ import annotations

import _ssl
import ssl
from typing import TYPE_CHECKING, Any

import requests.sessions

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


class UnpatchedContext(SSLContext):
    """A context whose attributes can be set even if ``ssl.SSLContext`` has been replaced.

    The setters of the standard library look that name up, and would recurse infinitely.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        setter = vars(_ssl._SSLContext).get(name)
        if setter is None:
            super().__setattr__(name, value)
        else:
            setter.__set__(self, value)


def trusts_the_system() -> bool:
    """Return whether the program uses truststore, so that the system's certificate authorities are trusted."""
    return ssl.SSLContext.__module__.partition(".")[0] == "truststore"
