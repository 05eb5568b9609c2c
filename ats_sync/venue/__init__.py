"""What is particular to Binance: paths, stream names, weights, limits, calendars, payloads. Nothing else knows them."""
