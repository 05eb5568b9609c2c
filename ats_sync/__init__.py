"""Binance USDⓈ-M market data kept in memory for synchronous Python: streamed, repaired, never stale.

``DataManager`` is where to begin; ``get_data_manager()`` is the one the whole process shares.
"""

from .batches import KlineBatch
from .clock import Clock
from .config import Config
from .engine.quality import Quality
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
    SharedStoreUnavailable,
    StaleDataError,
    StartTimeout,
    ThreadUnavailable,
)
from .events.values import CandleEvent, ContractChange, Missed, Turn
from .manager import DataManager
from .process_manager import get_data_manager, reset_data_manager
from .publisher.iterator import EventIterator
from .publisher.publisher import CallbackHandle
from .reads import memory_only
from .rest_shaped import RestShaped
from .results import (
    AggTrade,
    ForcedOrder,
    FundingRate,
    KlineRow,
    OpenInterest,
    OrderBook,
    Quote,
    Ratio,
    RestAggTrade,
    RestDepth,
    RestForceOrder,
    RestFunding,
    RestOpenInterest,
    RestPremiumIndex,
    RestRatio,
    RestTicker24h,
    Statistics,
    Ticker,
)
from .status import ConnectionStatus, FeedState, FeedStatus, Overall, SharedStatus, SnapshotStatus, Status
from .venue.contracts import SymbolInfo

__version__ = "0.1.0"

__all__ = [
    "AccessDenied",
    "AggTrade",
    "AtsSyncError",
    "CallbackHandle",
    "CandleEvent",
    "CertificateRejected",
    "Clock",
    "Config",
    "ConfigError",
    "ConnectionFailed",
    "ConnectionStatus",
    "ContractChange",
    "DataError",
    "DataManager",
    "DataUnavailableError",
    "EventIterator",
    "ExchangeFailure",
    "FeedState",
    "FeedStatus",
    "ForcedOrder",
    "FundingRate",
    "HostNotFound",
    "InvalidArgument",
    "InvalidInterval",
    "InvalidSymbol",
    "KlineBatch",
    "KlineRow",
    "MalformedAnswer",
    "Missed",
    "MissingExtra",
    "NoSpotPair",
    "NotInMemory",
    "NotRunning",
    "OpenInterest",
    "OrderBook",
    "Overall",
    "ProxyRefused",
    "Quality",
    "Quote",
    "RateLimited",
    "Ratio",
    "ReentrantCall",
    "RequestError",
    "RequestRejected",
    "RequestTimeout",
    "RestAggTrade",
    "RestDepth",
    "RestForceOrder",
    "RestFunding",
    "RestOpenInterest",
    "RestPremiumIndex",
    "RestRatio",
    "RestShaped",
    "RestTicker24h",
    "SharedStatus",
    "SharedStoreUnavailable",
    "SnapshotStatus",
    "StaleDataError",
    "StartTimeout",
    "Statistics",
    "Status",
    "SymbolInfo",
    "ThreadUnavailable",
    "Ticker",
    "Turn",
    "__version__",
    "get_data_manager",
    "memory_only",
    "reset_data_manager",
]

for _name in __all__:
    _exported = globals()[_name]
    if getattr(_exported, "__module__", "").startswith("ats_sync."):
        # Tracebacks and documentation show the name that users import.
        _exported.__module__ = __name__
del _name, _exported
