"""A copy in another process shows what this one shows, whatever breaks meanwhile.

Fresh schedules at every run; a failure prints its schedule.
"""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ..virtual.copies import Copy
from ..virtual.recording import SETTINGS
from ..virtual.schedules import a_schedule
from ..virtual.world import run


@settings(max_examples=2, phases=(Phase.explicit, Phase.generate))  # a smaller seed is no simpler schedule
@given(seed=st.integers(0, 2**48), meet=st.booleans())
def test_a_copy_shows_what_the_original_shows(seed: int, meet: bool) -> None:
    rng = random.Random(seed)
    schedule = a_schedule(rng, rng.choice(SETTINGS), meet=meet)
    run(replace(schedule, faults=(Copy(300), *schedule.faults)))
