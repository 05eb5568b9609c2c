"""The errors that a simulated exchange raises in the program that runs it."""

from __future__ import annotations


class SimulatorError(RuntimeError):
    """The simulated exchange did not start, has ended, or could not carry out a call."""


class ApiError(Exception):
    """An error body of the exchange: ``{"code": code, "msg": msg}`` with an HTTP status."""

    def __init__(self, code: int, msg: str, status: int = 400) -> None:
        super().__init__(code, msg, status)
        self.code = code
        self.msg = msg
        self.status = status

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.msg}"
