"""What is refused; that whole programs then work or are refused in time is shown in ``tests/test_patched.py``."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest

from ats_sync.errors import ConfigError
from ats_sync.transport.green_threads import check_unpatched

GEVENT_KEEPS = "thread=False, socket=False, dns=False, select=False, ssl=False"
EVENTLET_KEEPS = "thread=False, socket=False, select=False"
ACCEPTED = [
    "pass",  # both are loaded, and none has replaced anything
    f"gevent.monkey.patch_all({GEVENT_KEEPS})",
    f"eventlet.monkey_patch({EVENTLET_KEEPS})",
]
REFUSED = [
    *((f"gevent.monkey.patch_{part}()", "gevent", GEVENT_KEEPS) for part in ("socket", "select", "thread", "ssl")),
    *((f"eventlet.monkey_patch({part}=True)", "eventlet", EVENTLET_KEEPS) for part in ("socket", "select", "thread")),
]
SCRIPT = """
import json, os, sys, warnings
warnings.simplefilter("ignore")
import gevent.monkey, eventlet
from ats_sync.errors import ConfigError
from ats_sync.transport.green_threads import check_unpatched

for patch in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        said = ""
        exec(patch)
        try:
            check_unpatched()
        except ConfigError as error:
            said = str(error)
        os.write(1, json.dumps([patch, said]).encode() + b"\\n")
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.fixture(scope="module")
def refusals() -> dict[str, str]:
    """Why a program with each of the patches is refused, "" where it is not. It takes one process, which forks."""
    for package in ("gevent", "eventlet"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    patches = json.dumps([*ACCEPTED, *(patch for patch, _, _ in REFUSED)])
    command = [sys.executable, "-c", SCRIPT, patches]
    said = subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout
    return dict(map(json.loads, said.splitlines()))


def test_an_ordinary_program_is_not_refused() -> None:
    check_unpatched()


@pytest.mark.parametrize("patch", ACCEPTED)
def test_a_program_whose_threads_and_sockets_are_real_is_not_refused(refusals: dict[str, str], patch: str) -> None:
    assert refusals[patch] == ""


@pytest.mark.parametrize(("patch", "by", "keeps"), REFUSED)
def test_one_part_that_was_replaced_is_enough_and_it_is_said_what_to_do(
    refusals: dict[str, str], patch: str, by: str, keeps: str
) -> None:
    assert refusals[patch].startswith(f"{by} has replaced threads or sockets")
    assert refusals[patch].endswith(f"patch with {keeps}")


def test_no_retry_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Patched:
        """What is asked of gevent. The process of the tests itself is not patched."""

        @staticmethod
        def is_module_patched(name: str) -> bool:
            return name == "threading"

    monkeypatch.setitem(sys.modules, "gevent.monkey", Patched)
    with pytest.raises(ConfigError) as refused:
        check_unpatched()
    assert not refused.value.retryable
