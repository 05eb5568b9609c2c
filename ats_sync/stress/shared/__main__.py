"""The process that all other processes of a schedule are forked from."""

from __future__ import annotations

from .processes import serve

if __name__ == "__main__":
    serve()
