from __future__ import annotations

import pytest

from ats_sync.errors import InvalidArgument
from ats_sync.reads.arguments import check_limit, check_max_age


def test_what_makes_sense_passes() -> None:
    assert check_limit(1) == 1
    assert check_limit(1500, 1500) == 1500
    assert check_max_age(None) is None
    assert check_max_age(0) == 0.0
    assert check_max_age(2.5) == 2.5


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "7", None, True, 1501])
def test_limits_that_are_none_are_refused(wrong: object) -> None:
    with pytest.raises(InvalidArgument, match="limit"):
        check_limit(wrong, 1500)


@pytest.mark.parametrize("wrong", [-0.1, "1", True, float("nan"), [1]])
def test_ages_that_are_none_are_refused(wrong: object) -> None:
    with pytest.raises(InvalidArgument, match="max_age"):
        check_max_age(wrong)
