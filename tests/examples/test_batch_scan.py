"""Scans from a pool of threads."""

from __future__ import annotations

import re

from .running import output


def test_scans_cause_no_request() -> None:
    out = output("batch_scan.py", "--simulate", "--scans", "2")
    found = re.findall(r"^scan (\d): (\d+) symbols in \d+ ms, requests caused: (\d+)$", out, re.MULTILINE)
    assert found == [("1", "30", "0"), ("2", "30", "0")]
