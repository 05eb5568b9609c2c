from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import pytest

from ats_sync.simulator.controls.arguments import check, describe
from ats_sync.simulator.literals import Cut


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (int, "an integer"),
        (float | None, "a number or null"),
        (int | Literal["hang"] | None, "an integer, 'hang' or null"),
        (Cut, "'close', 'drop', 'reset' or 'half_open'"),
        (Mapping[str, float] | None, "an object or null"),
        (list[str], "an array"),
    ],
)
def test_an_annotation_in_words(annotation: Any, words: str) -> None:
    assert describe(annotation) == words


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (3, int),
        (3, float),
        (2.5, float | None),
        (None, float | None),
        (True, bool),
        ("drop", Cut),
        ("hang", int | Literal["hang"] | None),
        (429, int | Literal["hang"] | None),
        ({"kline": 1, "depth": 0.5}, Mapping[str, float] | None),
        (["a"], list[str]),
        ("币安人生USDT", str),
        ([1, {}], Any),
    ],
)
def test_what_fits_passes(value: Any, annotation: Any) -> None:
    check("it", value, annotation)


@pytest.mark.parametrize(
    ("value", "annotation", "error"),
    [
        ("3", int, TypeError),
        (True, int, TypeError),
        (True, float, TypeError),
        (1, bool, TypeError),
        (2.5, int, TypeError),
        (None, float, TypeError),
        ("gently", Cut, ValueError),
        (5, Cut, TypeError),
        ("later", int | Literal["hang"] | None, ValueError),
        (float("nan"), float, ValueError),
        (float("inf"), float | None, ValueError),
        ({"kline": "much"}, Mapping[str, float], TypeError),
        (["a", 1], list[str], TypeError),
        ("ab", list[str], TypeError),
    ],
)
def test_what_does_not_fit_is_named(value: Any, annotation: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^it must be .*, not "):
        check("it", value, annotation)


def test_the_words_to_choose_from_are_listed() -> None:
    with pytest.raises(ValueError, match="how must be one of 'close', 'drop', 'reset' or 'half_open', not 'gently'"):
        check("how", "gently", Cut)
