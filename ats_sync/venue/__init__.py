"""Everything specific to Binance, kept out of all other parts: paths, stream names, weights, limits, payloads."""
