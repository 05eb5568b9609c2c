"""Checks of a control's arguments, and the words that describe them, both derived from its annotations."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin

_NAMES: dict[Any, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a text",
    type(None): "null",
    Any: "anything",
}


def _alternatives(annotation: Any) -> list[Any]:
    """Return the members of a union, or the annotation alone."""
    if get_origin(annotation) in (Union, types.UnionType):
        return [inner for member in get_args(annotation) for inner in _alternatives(member)]
    return [type(None) if annotation is None else annotation]


def describe(annotation: Any) -> str:
    """Return what an argument of this annotation may be: "a number or null"."""
    words: list[str] = []
    for member in _alternatives(annotation):
        origin = get_origin(member)
        if origin is Literal:
            words += [f"{value!r}" for value in get_args(member)]
        elif origin is not None and issubclass(origin, Mapping):
            words.append("an object")
        elif origin is not None and issubclass(origin, Sequence):
            words.append("an array")
        else:
            words.append(_NAMES[member])
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def check(name: str, value: Any, annotation: Any) -> None:
    """Raise ValueError for a word or number that ``name`` does not accept, TypeError for a value of another type."""
    if _fits(value, annotation):
        return
    members = _alternatives(annotation)
    words = [word for member in members if get_origin(member) is Literal for word in get_args(member)]
    close = any(type(word) is type(value) for word in words) or (isinstance(value, float) and float in members)
    choice = "one of " if words and len(members) == 1 else ""
    raise (ValueError if close else TypeError)(f"{name} must be {choice}{describe(annotation)}, not {value!r}")


def _fits(value: Any, annotation: Any) -> bool:
    return any(_is_a(value, member) for member in _alternatives(annotation))


def _is_a(value: Any, member: Any) -> bool:
    origin, inner = get_origin(member), get_args(member)
    if member is Any:
        return True
    if origin is Literal:
        return any(type(word) is type(value) and word == value for word in inner)
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(_fits(k, inner[0]) and _fits(v, inner[1]) for k, v in value.items())
    if origin is not None and issubclass(origin, Sequence):
        return isinstance(value, list) and all(_fits(item, inner[0]) for item in value)
    if isinstance(value, bool):
        return member is bool
    if member is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, member)
