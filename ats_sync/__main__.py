"""``python -m ats_sync``, and the console script ``ats-sync``: see :mod:`ats_sync.cli`."""

from __future__ import annotations

import sys

from .cli import main
from .cli.exits import end_on_sigterm, interrupted_status


def run() -> int:
    """Run the command of ``sys.argv`` as a program and return its exit status; SIGTERM ends it as Ctrl-C does."""
    end_on_sigterm()
    try:
        return main()
    except KeyboardInterrupt:
        return interrupted_status()


if __name__ == "__main__":
    sys.exit(run())
