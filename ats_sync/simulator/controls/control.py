"""The control: one function of the server, callable from the program that runs the exchange and over HTTP."""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from .arguments import check, describe

if TYPE_CHECKING:
    from ..server import ExchangeServer

P = ParamSpec("P")
R = TypeVar("R")


class Caller(Protocol):
    """A program's side of a running exchange."""

    def call(self, control: Control[Any, Any], arguments: dict[str, Any]) -> Any:
        """Carry out ``control`` in the server; return its result as decoded from JSON."""


class Control(Generic[P, R]):
    """A function whose first argument is the server, defined once for all callers.

    The server runs it (:meth:`run`). As an attribute of a :class:`Caller`'s class it is a method that sends its
    arguments there, and ``control(exchange, …)`` does the same. Its annotations define the check of its arguments, its
    docstring documents both.
    """

    def __init__(
        self, function: Callable[Concatenate[ExchangeServer, P], Any], decode: Callable[[Any], R] | None
    ) -> None:
        functools.update_wrapper(self, function)
        self.name = function.__name__
        self._function = function
        self._decode = decode
        whole = inspect.signature(function)
        self.signature = whole.replace(parameters=list(whole.parameters.values())[1:])
        self.blocks = inspect.iscoroutinefunction(function)
        """Whether it ends only after the time in its argument ``seconds``."""

    # -- in the program

    def __call__(self, exchange: Caller, /, *args: P.args, **kwargs: P.kwargs) -> R:
        result = exchange.call(self, dict(self.signature.bind(*args, **kwargs).arguments))
        return result if self._decode is None else self._decode(result)

    @overload
    def __get__(self, instance: None, owner: type) -> Control[P, R]: ...

    @overload
    def __get__(self, instance: Caller, owner: type) -> Callable[P, R]: ...

    def __get__(self, instance: Caller | None, owner: type) -> Control[P, R] | Callable[P, R]:
        return self if instance is None else types.MethodType(self, instance)

    # -- in the server

    @functools.cached_property
    def annotations(self) -> dict[str, Any]:
        """The types of its arguments by name."""
        names: dict[str, Any] = getattr(self._function, "__globals__", {})
        return {
            name: eval(parameter.annotation, names) if isinstance(parameter.annotation, str) else parameter.annotation
            for name, parameter in self.signature.parameters.items()
        }

    async def run(self, server: ExchangeServer, arguments: Any) -> Any:
        """Check ``arguments``, a JSON value, and carry it out; return its result, a JSON value.

        Raises TypeError and ValueError for bad arguments; otherwise whatever the function raises.
        """
        if not isinstance(arguments, Mapping):
            raise TypeError(f"the arguments of {self.name} must be an object, not {arguments!r}")
        for name, value in arguments.items():
            if name not in self.annotations:
                known = ", ".join(self.annotations) or "none"
                raise TypeError(f"{self.name} has no argument {name!r}; its arguments are: {known}")
            check(name, value, self.annotations[name])
        for name, parameter in self.signature.parameters.items():
            if parameter.default is parameter.empty and name not in arguments:
                raise TypeError(f"{self.name} needs the argument {name!r}")
        result = self._function(server, **arguments)  # type: ignore[call-arg]
        return await result if inspect.isawaitable(result) else result

    def to_json(self, *, full: bool = False) -> dict[str, Any]:
        """Return its name, arguments and documentation: the first sentence, or all of it."""
        doc = inspect.cleandoc(self.__doc__ or "")
        arguments = []
        for name, parameter in self.signature.parameters.items():
            argument = {"name": name, "type": describe(self.annotations[name])}
            if parameter.default is not parameter.empty:
                argument["default"] = parameter.default
            arguments.append(argument)
        return {"name": self.name, "arguments": arguments, "doc": doc if full else doc.partition("\n")[0]}


@overload
def control(function: Callable[Concatenate[ExchangeServer, P], R]) -> Control[P, R]: ...


@overload
def control(
    *, decode: Callable[[Any], R]
) -> Callable[[Callable[Concatenate[ExchangeServer, P], Any]], Control[P, R]]: ...


def control(function: Any = None, *, decode: Any = None) -> Any:
    """Turn a function of the server into a control.

    ``decode`` converts the JSON value that the function returns to the caller's result.
    """
    if function is None:
        return functools.partial(Control, decode=decode)
    return Control(function, decode)


def controls_in(*modules: types.ModuleType) -> dict[str, Control[Any, Any]]:
    """Return the controls that ``modules`` define, by name; raises ValueError if two have the same name."""
    found: dict[str, Control[Any, Any]] = {}
    for module in modules:
        for value in vars(module).values():
            if isinstance(value, Control) and value.__module__ == module.__name__:
                if value.name in found:
                    raise ValueError(f"two controls have the name {value.name!r}")
                found[value.name] = value
    return found
