"""One definition of a control: its method, its check, its documentation."""

from __future__ import annotations

import inspect
import types
from typing import Any

import pytest

from ats_sync.simulator import SimulatedExchange
from ats_sync.simulator.controls import CONTROLS, Control, Controls, control, controls_in


class Recorder:
    """Notes the calls that would go to a server."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def call(self, control: Control[Any, Any], arguments: dict[str, Any]) -> Any:
        self.calls.append((control.name, arguments))
        return len(self.calls)


class Program(Recorder, Controls):
    """A class with the controls as methods."""


def test_a_method_sends_only_what_it_was_given() -> None:
    program = Program()
    assert program.cut() == 1
    assert program.cut("market", how="drop") == 2
    program.lag(2.0, connection=4)
    assert program.calls == [
        ("cut", {}),
        ("cut", {"route": "market", "how": "drop"}),
        ("lag", {"seconds": 2.0, "connection": 4}),
    ]


def test_an_argument_that_does_not_exist_is_a_type_error_before_anything_is_sent() -> None:
    program = Program()
    with pytest.raises(TypeError, match="gently"):
        program.cut(gently=True)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="positional"):
        program.drop_stream("btcusdt@depth", True)  # type: ignore[misc]
    assert program.calls == []


def test_every_control_is_a_method() -> None:
    # close() sends "stop"; rest() has the parameters of the path as its own.
    apart = {"stop", "rest"}
    assert {name for name, value in vars(Controls).items() if isinstance(value, Control)} == CONTROLS.keys() - apart
    assert all(callable(getattr(SimulatedExchange, name)) for name in CONTROLS.keys() - {"stop"})


@pytest.mark.parametrize("each", CONTROLS.values(), ids=list(CONTROLS))
def test_every_control_is_documented_and_typed(each: Control[Any, Any]) -> None:
    described = each.to_json(full=True)
    assert described["doc"].endswith((".", ")"))
    first = each.to_json()["doc"]
    assert first.endswith((".", ")")), f"the first line of {each.name} is not a sentence: {first}"
    assert [argument["name"] for argument in described["arguments"]] == list(each.signature.parameters)
    assert all(argument["type"] for argument in described["arguments"])


def test_a_method_shows_its_documentation_and_signature() -> None:
    assert (Controls.cut.__doc__ or "").startswith("Cut the open stream connections")
    assert list(inspect.signature(Program().cut).parameters) == ["route", "how", "connection"]


def test_two_controls_of_one_name_are_refused() -> None:
    def double(server: Any) -> None:
        """Do it."""

    modules = []
    for name in ("one", "two"):
        module = types.ModuleType(name)
        made = control(double)
        made.__module__ = name
        module.made = made  # type: ignore[attr-defined]
        modules.append(module)
    assert controls_in(modules[0]).keys() == {"double"}
    with pytest.raises(ValueError, match="double"):
        controls_in(*modules)
