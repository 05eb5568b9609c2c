"""The examples as a user starts them."""

from __future__ import annotations

from collections.abc import Mapping

from ..cli.command import ROOT, run

EXAMPLES = ROOT / "examples"


def output(name: str, *arguments: str, env: Mapping[str, str] | None = None) -> str:
    """What an example writes; it must end well and without a word on stderr."""
    code, out, err = run(str(EXAMPLES / name), *arguments, env=env)
    assert (code, err) == (0, ""), out
    return out
