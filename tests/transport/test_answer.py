from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from ats_sync.transport.answer import Answer

ANSWER = Answer(b"[]", 200, {"X-MBX-USED-WEIGHT-1M": "7"}, 10.0, 10.25)
USERS = ("ats_sync.transport.answer", "ats_sync.runtime.executor", "ats_sync.runtime.direct")
"""What needs answers and sends no request by itself."""


def test_an_answer_never_changes_since_threads_share_it() -> None:
    for field in dataclasses.fields(Answer):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(ANSWER, field.name, None)
    assert not hasattr(ANSWER, "__dict__")


def test_answers_that_say_the_same_are_equal_and_their_times_count() -> None:
    assert dataclasses.replace(ANSWER) == ANSWER
    assert dataclasses.replace(ANSWER, received_at=10.5) != ANSWER


def test_who_knows_answers_need_not_load_the_client() -> None:
    code = (
        f"import importlib, sys; [importlib.import_module(each) for each in {USERS}]; print('requests' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True).stdout == "False\n"
