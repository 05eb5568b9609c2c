"""The child process of :class:`SimulatedExchange`; people use ``python -m ats_sync simulate``.

It is run by its path: it needs nothing from the rest of the library, and importing that would take as long as
everything it does need.
"""

import gc
import sys
from pathlib import Path
from types import ModuleType

if __name__ == "__main__":
    gc.disable()  # None of the imported objects is garbage; enabled again once it serves.
    here = Path(__file__).parent
    package = here.parent
    sys.path = [str(package.parent), *(each for each in sys.path if each != str(here))]
    sys.modules[package.name] = ModuleType(package.name)
    sys.modules[package.name].__path__ = [str(package)]
    try:
        from ats_sync.simulator.serving import child_main
    except ImportError as error:
        sys.exit(f"the simulated exchange needs the extra 'simulator': {error}")
    child_main()
