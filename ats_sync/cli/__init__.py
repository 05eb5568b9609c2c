"""The command: ``python -m ats_sync demo``, ``simulate`` and ``record``."""

from __future__ import annotations

from .main import main

__all__ = ["main"]
