"""The metrics: names and types by Prometheus' conventions, values that follow the manager."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from ats_sync import DataManager
from ats_sync.endpoint.views import Views
from ats_sync.simulator import SimulatedExchange

from ..support import until

parser = pytest.importorskip("prometheus_client.parser")
pytestmark = pytest.mark.shared_threads


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(2, seed=5, activity=0.1) as exchange:
        yield exchange


@pytest.fixture(scope="module")
def manager(exchange: SimulatedExchange) -> Iterator[DataManager]:
    with DataManager(exchange.symbols, ["1h"], config=exchange.config()) as manager:
        yield manager


def scraped(views: Views) -> dict[tuple[str, tuple[str, ...]], float]:
    text = views.metrics().body.decode()
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_metric_is_named_explained_and_without_symbols(manager: DataManager) -> None:
    text = Views(manager).metrics().body.decode()
    families = list(parser.text_string_to_metric_families(text))
    assert len(families) > 12
    for family in families:
        assert family.name.startswith("ats_sync_")
        assert family.documentation.endswith(".")
        assert family.type in ("gauge", "counter")
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)
    assert "BTCUSDT" not in text


def test_values_follow_the_manager(exchange: SimulatedExchange, manager: DataManager) -> None:
    def live() -> bool:
        found = scraped(Views(manager))
        return found["ats_sync_state", ("live",)] == 1 and found["ats_sync_feeds", ("klines", "live")] >= 2

    until(live, what="live")
    found = scraped(Views(manager))
    assert found["ats_sync_weight_used", ("futures",)] > 0
    assert found["ats_sync_requests_total", ("warm-up",)] > 0
    memory = found["ats_sync_reads_total", ("memory",)]
    manager.get_klines("BTCUSDT", "1h", 10)
    assert scraped(Views(manager))["ats_sync_reads_total", ("memory",)] > memory
    exchange.cut(how="reset")
    until(lambda: scraped(Views(manager))["ats_sync_reconnects_total", ()] > 0, what="a reconnect")
    until(live, what="live again")


def test_a_scrape_is_cheap(manager: DataManager) -> None:
    views = Views(manager)
    views.metrics()
    spent = []
    for _ in range(5):
        began = time.perf_counter()
        views.metrics()
        spent.append(time.perf_counter() - began)
    assert min(spent) < 0.02
