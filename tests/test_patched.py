"""Programs that replace parts of the standard library or of requests, before or after they import us, each in a process
of its own: everything works, or ``start()`` says at once what is wrong."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ats_sync import Config
from ats_sync.simulator import SimulatedExchange

ROOT = Path(__file__).parents[1]
LONGEST = 60.0
SCRIPT = """
import faulthandler, json, sys, warnings
urls, ca_file, patch, when, then = json.loads(sys.argv[1])
faulthandler.dump_traceback_later(45, exit=True)
warnings.simplefilter("ignore")

if when == "before":
    exec(patch)
from ats_sync import Config, ConfigError, DataManager
if when == "after":
    exec(patch)

config = Config(
    fapi_base=urls[0], spot_base=urls[1], fstream_base=urls[2], spot_stream_base=urls[3], ca_file=ca_file, proxies={}
)
manager = DataManager(["BTCUSDT"], ["1h"], config=config)
exec(then)
print("well")
"""
WORKS = """
manager.start(timeout=40)
assert len(manager.get_klines("BTCUSDT", "1h", 10)) == 10
first = last = manager.get_orderbook("BTCUSDT", 5, max_age=0)["lastUpdateId"]
for _ in range(50):
    last = manager.get_orderbook("BTCUSDT", 5, max_age=0)["lastUpdateId"]
    if last != first:
        break
assert last != first, "the same old answer again and again"
assert manager.status().connections
manager.close()
assert not manager.running
"""
REFUSED = """
for call in (manager.start, lambda: manager.rest_shaped.klines("BTCUSDT", "1h", 10)):
    try:
        call()
    except ConfigError as error:
        assert "{name} has replaced threads or sockets" in str(error), error
    else:
        raise AssertionError("not refused")
manager.close()
assert not manager.running
"""
CLOSES = """
import time
manager.start(timeout=40)
{patch}
{then}
began = time.monotonic()
manager.close()
assert time.monotonic() - began < 10, "close() took too long"
assert not manager.running
"""
NONE_REPLACED = """
import gc, threading
ours = [each for each in gc.get_objects() if str(type(each).__module__).startswith("ats_sync.")]
assert any(type(each).__name__ == "CancelScope" for each in ours)
for each in ours:
    for held in [*gc.get_referents(each), *getattr(each, "__dict__", {}).values()]:
        assert type(held) is not threading._PyRLock, each
"""
"""Eventlet looks for locks that exist. Threads that meet at one that was replaced while they ran wait for ever, so it
must find none of ours."""
GEVENT = "from gevent import monkey; monkey.patch_all()"
EVENTLET = "import eventlet; eventlet.monkey_patch()"
GEVENT_WITHOUT = (
    "from gevent import monkey; "
    "monkey.patch_all(thread=False, socket=False, dns=False, select=False, ssl=False)"
)  # fmt: skip
EVENTLET_WITHOUT = "import eventlet; eventlet.monkey_patch(thread=False, socket=False, select=False)"
TRUSTSTORE = "import truststore; truststore.inject_into_ssl()"
REQUESTS_CACHE = "import requests_cache; requests_cache.install_cache(backend='memory', expire_after=3600)"


@pytest.fixture(scope="module")
def plain() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(symbols=["BTCUSDT"], seed=7) as ex:
        yield ex


@pytest.fixture(scope="module")
def secure() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(symbols=["BTCUSDT"], seed=7, tls=True) as ex:
        yield ex


def run(package: str, config: Config, patch: str, when: str, then: str) -> None:
    """Run the script with the package that ``patch`` imports; assert that it ends by itself and reports success."""
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    urls = [config.fapi_base, config.spot_base, config.fstream_base, config.spot_stream_base]
    arguments = json.dumps([urls, config.ca_file, patch, when, then])
    ended = subprocess.run(
        [sys.executable, "-c", SCRIPT, arguments], cwd=ROOT, capture_output=True, text=True, timeout=LONGEST
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert ended.stdout.strip() == "well"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("package", "patch"), [("gevent", GEVENT), ("eventlet", EVENTLET)])
def test_green_threads_are_refused_with_advice(plain: SimulatedExchange, package: str, patch: str, when: str) -> None:
    run(package, plain.config(), patch, when, REFUSED.format(name=package))


@pytest.mark.parametrize(("package", "patch"), [("gevent", GEVENT_WITHOUT), ("eventlet", EVENTLET_WITHOUT)])
def test_what_the_refusal_recommends_works(plain: SimulatedExchange, package: str, patch: str) -> None:
    run(package, plain.config(), patch, "before", WORKS)


@pytest.mark.parametrize(
    ("package", "patch", "then"),
    [("gevent", GEVENT, ""), ("eventlet", EVENTLET, NONE_REPLACED)],
    ids=["gevent", "eventlet"],
)
def test_patching_while_it_runs_replaces_no_lock_of_ours_and_does_not_delay_close(
    plain: SimulatedExchange, package: str, patch: str, then: str
) -> None:
    run(package, plain.config(), "", "", CLOSES.format(patch=patch, then=then))


@pytest.mark.parametrize("when", ["before", "after"])
def test_truststore(secure: SimulatedExchange, when: str) -> None:
    run("truststore", secure.config(), TRUSTSTORE, when, WORKS)


def test_truststore_that_patches_a_running_program(secure: SimulatedExchange) -> None:
    run("truststore", secure.config(), "", "", f"manager.start(timeout=40)\n{TRUSTSTORE}\n{WORKS}")


@pytest.mark.parametrize("when", ["before", "after"])
def test_requests_cache_elsewhere_does_not_touch_our_requests(plain: SimulatedExchange, when: str) -> None:
    run("requests_cache", plain.config(), REQUESTS_CACHE, when, WORKS)
