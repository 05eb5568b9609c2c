"""The commands of ``python -m ats_sync``."""

from __future__ import annotations

from .main import main

__all__ = ["main"]
