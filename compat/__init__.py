"""The old modules under their old names, served by :mod:`ats_sync`.

``from ats_core.sources.binance import get_klines`` becomes ``from compat.binance import get_klines``; signatures,
defaults and result shapes are those of the old functions. These modules contain only names, defaults and clamps; the
shared manager, ``ats_sync.get_data_manager()``, does the work.
"""
