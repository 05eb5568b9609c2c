"""The query of one REST request, checked as it is read."""

from __future__ import annotations

from collections.abc import Mapping

from .errors import ApiError


class Params:
    """The parameters of one request; each reader raises :class:`ApiError` as the exchange would answer."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def text(self, name: str) -> str | None:
        """Return the value, or None if it was not sent; an empty value is an error."""
        value = self._values.get(name)
        if value == "":
            raise self.missing(name)
        return value

    def need(self, name: str) -> str:
        """Return the value of a mandatory parameter."""
        value = self.text(name)
        if value is None:
            raise self.missing(name)
        return value

    def integer(self, name: str) -> int | None:
        """Return a non-negative whole number, or None if it was not sent."""
        value = self.text(name)
        if value is None:
            return None
        if not (value.isascii() and value.isdigit() and len(value) <= 18):
            raise self.missing(name)
        return int(value)

    def limit(self, default: int, most: int) -> int:
        """Return ``limit``, which must be from 1 to ``most``."""
        value = self.integer("limit")
        if value is None:
            return default
        if not 1 <= value <= most:
            raise self.bad("limit")
        return value

    def window(self) -> tuple[int | None, int | None]:
        """Return ``startTime`` and ``endTime``."""
        start, end = self.integer("startTime"), self.integer("endTime")
        if start is not None and end is not None and start > end:
            raise ApiError(-1023, "Start time is greater than end time.")
        return start, end

    @staticmethod
    def missing(name: str) -> ApiError:
        """Return the error -1102 for ``name``."""
        return ApiError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")

    @staticmethod
    def bad(name: str) -> ApiError:
        """Return the error -1130 for ``name``."""
        return ApiError(-1130, f"Data sent for parameter '{name}' is not valid.")
