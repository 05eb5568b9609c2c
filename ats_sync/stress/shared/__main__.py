"""The process that all others of a schedule are forked from."""

from __future__ import annotations

from .processes import serve

if __name__ == "__main__":
    serve()
