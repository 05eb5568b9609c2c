"""What the endpoint says of its manager, beyond what :mod:`.test_server` reads over HTTP."""

from __future__ import annotations

import pytest

from ats_sync.endpoint.views import bound, kinds
from ats_sync.feeds import FEEDS, Kind
from ats_sync.status import KindSummary


@pytest.mark.parametrize("streams", [True, False])
def test_a_kind_whose_age_proves_nothing_has_no_bound(streams: bool) -> None:
    assert bound(Kind.LIQUIDATIONS, streams=streams) is None
    assert kinds([KindSummary(Kind.LIQUIDATIONS, {}, 3.0)], streams=streams)["liquidations"]["bound"] is None


@pytest.mark.parametrize("kind", [kind for kind, feed in FEEDS.items() if feed.stream_timeout])
def test_a_kind_with_a_stream_has_one(kind: Kind) -> None:
    most = bound(kind, streams=True)
    assert most is not None
    assert most > 0
