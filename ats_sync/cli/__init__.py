"""The command: ``python -m ats_sync demo``, ``simulate``, ``record``, ``compare``, ``probe`` and ``stress``."""

from __future__ import annotations

from .main import main

__all__ = ["main"]
