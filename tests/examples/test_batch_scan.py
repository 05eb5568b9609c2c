"""Scans from a pool of threads."""

from __future__ import annotations

import re

from .running import output


def test_scans_cause_no_request() -> None:
    out = output("batch_scan.py", "--simulate", "--scans", "3")
    found = re.findall(r"^scan (\d): (\d+) symbols in \d+ ms, requests caused: (\d+)$", out, re.MULTILINE)
    assert [(number, symbols) for number, symbols, _ in found] == [("1", "30"), ("2", "30"), ("3", "30")]
    # Just after the start the exchange is busy with the trades of 30 symbols: on a busy machine its books come late.
    assert int(found[0][2]) <= 30
    assert [requests for _, _, requests in found[1:]] == ["0", "0"]
