"""Binance USDⓈ-M market data kept in memory for synchronous Python: streamed, repaired, never stale.

``DataManager`` is where to begin; ``get_data_manager()`` is the one the whole process shares.
"""

from .clock import Clock
from .config import Config
from .errors import (
    AccessDenied,
    AtsSyncError,
    CertificateRejected,
    ConfigError,
    ConnectionFailed,
    DataError,
    DataUnavailableError,
    ExchangeFailure,
    HostNotFound,
    InvalidArgument,
    InvalidInterval,
    InvalidSymbol,
    MalformedAnswer,
    MissingExtra,
    NoSpotPair,
    NotInMemory,
    NotRunning,
    ProxyRefused,
    RateLimited,
    ReentrantCall,
    RequestError,
    RequestRejected,
    RequestTimeout,
    StaleDataError,
    StartTimeout,
    ThreadUnavailable,
)
from .manager import DataManager
from .reads.routing import memory_only
from .rest_shaped import RestShaped
from .shared import get_data_manager, reset_data_manager
from .status import ConnectionStatus, FeedState, FeedStatus, Overall, Status

__all__ = [
    "AccessDenied",
    "AtsSyncError",
    "CertificateRejected",
    "Clock",
    "Config",
    "ConfigError",
    "ConnectionFailed",
    "ConnectionStatus",
    "DataError",
    "DataManager",
    "DataUnavailableError",
    "ExchangeFailure",
    "FeedState",
    "FeedStatus",
    "HostNotFound",
    "InvalidArgument",
    "InvalidInterval",
    "InvalidSymbol",
    "MalformedAnswer",
    "MissingExtra",
    "NoSpotPair",
    "NotInMemory",
    "NotRunning",
    "Overall",
    "ProxyRefused",
    "RateLimited",
    "ReentrantCall",
    "RequestError",
    "RequestRejected",
    "RequestTimeout",
    "RestShaped",
    "StaleDataError",
    "StartTimeout",
    "Status",
    "ThreadUnavailable",
    "get_data_manager",
    "memory_only",
    "reset_data_manager",
]
