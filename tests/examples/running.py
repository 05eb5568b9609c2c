"""Running the examples as a user does."""

from __future__ import annotations

from collections.abc import Mapping

from ..cli.command import ROOT, run

EXAMPLES = ROOT / "examples"


def output(name: str, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Return what an example prints; it must succeed and write nothing to stderr."""
    code, out, err = run(str(EXAMPLES / name), *arguments, env=env)
    assert (code, err) == (0, ""), f"{err}\n{out}"
    return out
