"""What a status says in words."""

from __future__ import annotations

from dataclasses import replace

from ats_sync.status import Overall, Status


def test_the_status_says_where_candles_are_audited_less_often_than_intended() -> None:
    status = Status(Overall.LIVE, 0.0, (), (), 0, {}, audit_every=300.0)
    assert "compared with REST" not in str(status)
    assert "compared with REST every 17 minutes" in str(replace(status, audit_every=1_000.0))
