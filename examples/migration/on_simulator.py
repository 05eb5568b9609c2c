"""Run a migrated program on the simulated exchange, and show what the exchange saw of it.

python examples/migration/on_simulator.py scanner --scans 3 --pause 5
python examples/migration/on_simulator.py auto_trader --candles 1
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from ats_sync.simulator import SimulatedExchange, before_turn

HERE = Path(__file__).parent
PROGRAMS = sorted(path.stem for path in (HERE / "after").glob("*.py"))


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] not in PROGRAMS:
        print(f"usage: on_simulator.py {{{','.join(PROGRAMS)}}} [its arguments]", file=sys.stderr)
        return 2
    name, arguments = sys.argv[1], sys.argv[2:]
    # Shortly before a minute ends, so that a candle closes soon.
    with SimulatedExchange(symbols=12, start=before_turn("1m", 6), latency=0.05) as exchange:
        path = os.pathsep.join(filter(None, (str(HERE.parents[1]), os.environ.get("PYTHONPATH"))))
        environment = {**os.environ, **exchange.environment(), "PYTHONPATH": path, "NO_PROXY": "127.0.0.1"}
        status = subprocess.call([sys.executable, str(HERE / "after" / f"{name}.py"), *arguments], env=environment)
        asked = Counter(each.path for each in exchange.request_log())
    print(f"\nrequests that the exchange saw: {sum(asked.values())}")
    for path, count in asked.most_common():
        print(f"  {count:>5}  {path}")
    return status


if __name__ == "__main__":
    sys.exit(main())
