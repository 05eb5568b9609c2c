"""Everything specific to Binance: paths, stream names, weights, limits, calendars, payloads. No other part knows
them."""
