"""Scans from a pool of threads."""

from __future__ import annotations

import re

from .running import output


def test_scans_cause_no_request() -> None:
    out = output("batch_scan.py", "--simulate", "--scans", "3")
    found = re.findall(r"^scan (\d): (\d+) symbols in \d+ ms, requests caused: (\d+)$", out, re.MULTILINE)
    assert [(number, symbols) for number, symbols, _ in found] == [("1", "30"), ("2", "30"), ("3", "30")]
    # On a busy machine the exchange's books may come late, and then reads rightly ask REST.
    assert all(int(requests) <= 30 for _, _, requests in found)
    assert "0" in [requests for _, _, requests in found]
