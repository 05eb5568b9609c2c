"""What other programs see: the exchange's REST, answered from a manager's memory, and the state of that manager.

Needs the extra ``serve`` (aiohttp)::

    with DataManager(["BTCUSDT"]) as dm, Endpoint(dm, port=8787) as endpoint:
        print(endpoint.url)   # what a client of the exchange takes as its base URL
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import MissingExtra

if TYPE_CHECKING:
    from .server import Endpoint

__all__ = ["Endpoint"]


def __getattr__(name: str) -> Any:
    if name != "Endpoint":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from .server import Endpoint
    except ImportError as error:
        raise MissingExtra("the endpoint needs aiohttp; install with: pip install 'ats-sync[serve]'") from error
    return Endpoint
