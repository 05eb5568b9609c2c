"""``exchangeInfo`` of USDⓈ-M futures, COIN-M futures and spot."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .decimals import fixed, plain
from .instrument import Instrument
from .spot import SpotPair


def exchange_info(contracts: Iterable[tuple[Instrument, str]], now: int, *, weight_limit: int) -> dict[str, Any]:
    """Return ``/fapi/v1/exchangeInfo`` for contracts, each with its status."""
    return {
        "timezone": "UTC",
        "serverTime": now,
        "futuresType": "U_MARGINED",
        "rateLimits": [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": weight_limit},
            {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
            {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300},
        ],
        "exchangeFilters": [],
        "assets": [
            {"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"},
            {"asset": "BTC", "marginAvailable": True, "autoAssetExchange": "-0.10000000"},
        ],
        "symbols": [_contract(each, status) for each, status in contracts],
    }


def _contract(instrument: Instrument, status: str) -> dict[str, Any]:
    spec = instrument.spec
    tick = _size(spec.tick, spec.price_decimals)
    step = plain(1, spec.qty_decimals)
    price = spec.price * spec.tick
    lot = {"stepSize": step, "minQty": step}
    return {
        "symbol": spec.name,
        "pair": spec.pair,
        "contractType": spec.contract_type,
        "deliveryDate": spec.delivery,
        "onboardDate": instrument.listed,
        "status": status,
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": spec.base_asset,
        "quoteAsset": "USDT",
        "marginAsset": "USDT",
        "pricePrecision": spec.price_decimals,
        "quantityPrecision": spec.qty_decimals,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": spec.underlying_type,
        "underlyingSubType": [],
        "settlePlan": 0,
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "maxMoveOrderLimit": 10000,
        "filters": [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": _size(max(spec.tick, price // 100), spec.price_decimals),
                "maxPrice": _size(price * 100, spec.price_decimals),
                "tickSize": tick,
            },
            {"filterType": "LOT_SIZE", "maxQty": _size(spec.mean_qty * 10**4, spec.qty_decimals), **lot},
            {"filterType": "MARKET_LOT_SIZE", "maxQty": _size(spec.mean_qty * 10**3, spec.qty_decimals), **lot},
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 10},
            {"filterType": "MIN_NOTIONAL", "notional": "5"},
            {
                "filterType": "PERCENT_PRICE",
                "multiplierUp": "1.0500",
                "multiplierDown": "0.9500",
                "multiplierDecimal": "4",
            },
        ],
        "orderTypes": [
            "LIMIT",
            "MARKET",
            "STOP",
            "STOP_MARKET",
            "TAKE_PROFIT",
            "TAKE_PROFIT_MARKET",
            "TRAILING_STOP_MARKET",
        ],
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
    }


def _size(value: int, decimals: int) -> str:
    return fixed(value, decimals)


def spot_exchange_info(pairs: list[SpotPair], now: int, *, weight_limit: int) -> dict[str, Any]:
    """Return spot ``/api/v3/exchangeInfo``."""
    return {
        "timezone": "UTC",
        "serverTime": now,
        "rateLimits": [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": weight_limit},
            {"rateLimitType": "RAW_REQUESTS", "interval": "MINUTE", "intervalNum": 5, "limit": 61000},
        ],
        "exchangeFilters": [],
        "symbols": [
            {
                "symbol": pair.name,
                "status": "TRADING",
                "baseAsset": pair.base_asset,
                "baseAssetPrecision": 8,
                "quoteAsset": "USDT",
                "quotePrecision": 8,
                "quoteAssetPrecision": 8,
                "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"],
                "isSpotTradingAllowed": True,
                "isMarginTradingAllowed": False,
                "filters": [
                    {
                        "filterType": "PRICE_FILTER",
                        "minPrice": pair.tick_text,
                        "maxPrice": "1000000.00000000",
                        "tickSize": pair.tick_text,
                    },
                    {
                        "filterType": "LOT_SIZE",
                        "minQty": pair.qty(1),
                        "maxQty": "92233720000.00000000",
                        "stepSize": pair.qty(1),
                    },
                ],
                "permissions": ["SPOT"],
            }
            for pair in pairs
        ],
    }


def coin_margined_exchange_info(names: Iterable[str], now: int, *, weight_limit: int) -> dict[str, Any]:
    """Return ``/dapi/v1/exchangeInfo``: the COIN-M contracts with these names."""
    return {
        "timezone": "UTC",
        "serverTime": now,
        "rateLimits": [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": weight_limit},
        ],
        "exchangeFilters": [],
        "symbols": [
            {
                "symbol": name,
                "pair": name.partition("_")[0],
                "contractType": "PERPETUAL" if name.endswith("_PERP") else "CURRENT_QUARTER",
                "contractStatus": "TRADING",
                "contractSize": 100 if name.startswith("BTC") else 10,
                "baseAsset": name.partition("USD_")[0],
                "quoteAsset": "USD",
                "marginAsset": name.partition("USD_")[0],
                "underlyingType": "COIN",
                "filters": [],
            }
            for name in names
        ],
    }
