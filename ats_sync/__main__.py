"""``python -m ats_sync``: see :mod:`ats_sync.cli`."""

from __future__ import annotations

import sys

from .cli import main
from .cli.interrupts import end_on_sigterm, interrupted_status

if __name__ == "__main__":
    end_on_sigterm()
    try:
        status = main()
    except KeyboardInterrupt:
        status = interrupted_status()
    sys.exit(status)
