"""The child process of :class:`SimulatedExchange`; people use ``python -m ats_sync simulate``."""

import sys

if __name__ == "__main__":
    try:
        from .serving import child_main
    except ImportError as error:
        sys.exit(f"the simulated exchange needs the extra 'simulator': {error}")
    child_main()
