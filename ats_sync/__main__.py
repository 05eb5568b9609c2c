"""``python -m ats_sync``: see :mod:`ats_sync.cli`."""

from __future__ import annotations

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
