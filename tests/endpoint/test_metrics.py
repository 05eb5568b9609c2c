"""The metrics: names and types by Prometheus' conventions, values that follow the manager."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import orjson
import pytest

from ats_sync import Config, DataManager
from ats_sync.endpoint.views import Views
from ats_sync.errors import DataUnavailableError, StaleDataError
from ats_sync.events.values import CandleEvent, Missed
from ats_sync.publisher.iterator import MissedCount
from ats_sync.simulator import SimulatedExchange

from ..support import until

parser = pytest.importorskip("prometheus_client.parser")
metrics = pytest.importorskip("ats_sync.endpoint.metrics")
pytestmark = pytest.mark.shared_threads


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(2, seed=5, activity=0.1) as exchange:
        yield exchange


@pytest.fixture(scope="module")
def manager(exchange: SimulatedExchange, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataManager]:
    config = exchange.config(state_dir=tmp_path_factory.mktemp("kept"))
    with DataManager(exchange.symbols, ["1h"], config=config) as manager:
        yield manager


def scraped(views: Views) -> dict[tuple[str, tuple[str, ...]], float]:
    text = views.metrics().body.decode()
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_metric_is_named_explained_and_without_symbols(manager: DataManager) -> None:
    check_names(manager, 12)
    check_names(DataManager(["BTCUSDT"], config=Config(shared="unix:///nowhere/store.sock")), 28)


def check_names(manager: DataManager, more_than: int) -> None:
    text = Views(manager).metrics().body.decode()
    families = list(parser.text_string_to_metric_families(text))
    assert len(families) > more_than
    for family in families:
        assert family.name.startswith("ats_sync_")
        assert family.documentation.endswith(".")
        assert family.type in ("gauge", "counter", "histogram")
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
    assert found["ats_sync_weight_limit", ("futures",)] == 2400
    assert found["ats_sync_requests_total", ("warm-up", "200", "futures")] > 0
    memory = found["ats_sync_reads_total", ("klines", "memory")]
    manager.get_klines("BTCUSDT", "1h", 10)
    assert scraped(Views(manager))["ats_sync_reads_total", ("klines", "memory")] > memory
    lags = ("ats_sync_event_lag_seconds_count", ("market",))
    until(lambda: scraped(Views(manager))[lags] > 0, what="events")
    before = traffic(manager)
    assert before["market"] > (0, 0)
    exchange.cut(how="reset", route="market")
    broken = ("ats_sync_reconnects_total", ("broken", "market"))
    until(lambda: scraped(Views(manager))[broken] > 0, what="a reconnect")
    until(live, what="live again")
    assert traffic(manager)["market"] > before["market"], "what came on the lost connection is still counted"


def traffic(manager: DataManager) -> dict[str, tuple[float, float]]:
    """Return frames and bytes by route, after checking that the histogram of lags counts at most one receive for each
    frame."""
    found = scraped(Views(manager))
    shown = {}
    for (name, labels), frames in found.items():
        if name == "ats_sync_frames_total":
            (route,) = labels
            assert found["ats_sync_event_lag_seconds_count", (route,)] <= frames
            shown[route] = frames, found["ats_sync_received_bytes_total", (route,)]
    return shown


def test_failures_are_counted_by_what_failed() -> None:
    with SimulatedExchange(1, seed=5) as exchange:
        config = exchange.config(request_timeout=1.0, read_timeout=1.0)
        with DataManager(exchange.symbols, ["1h"], config=config, enable_websocket=False) as manager:
            manager.get_klines("BTCUSDT", "1h", 10)
            exchange.fail_rest("503", path="/fapi/v1/klines")
            with pytest.raises(StaleDataError):
                manager.get_klines("BTCUSDT", "1h", 10, max_age=0)
            with pytest.raises(DataUnavailableError):
                manager.get_klines("BTCUSDT", "4h", 10)
            found = scraped(Views(manager))
            assert found["ats_sync_read_errors_total", ("stale", "klines")] == 1
            assert found["ats_sync_read_errors_total", ("unavailable", "klines")] == 1
            assert found["ats_sync_requests_total", ("read", "503", "futures")] >= 2


def test_candles_that_close_and_consumers_that_miss_them() -> None:
    delays = metrics._Delays()
    for delay, source in ((0.2, "stream"), (2.1, "stream"), (5.4, "rest"), (90.0, "rest")):
        delays.note(candle(delay, source))
    delays.note(Missed("BTCUSDT", "1m", 0, 0))
    counts = {
        (sample.labels["source"], sample.labels["le"]): sample.value
        for sample in delays.metric().samples
        if "le" in sample.labels
    }
    assert [counts["stream", le] for le in ("0.25", "2.0", "2.5", "+Inf")] == [1, 1, 2, 2]
    assert [counts["rest", le] for le in ("5.0", "7.5", "60.0", "+Inf")] == [0, 1, 1, 2]
    missed = MissedCount()
    for event in (candle(0.2, "stream"), Missed("BTCUSDT", "1m", 0, 0)):
        assert missed.given(event) is event
    assert missed.value == 1


def candle(delay: float, source: str) -> CandleEvent:
    return CandleEvent("BTCUSDT", "1m", [0], "[0]", final=True, source=source, final_at=1, delay=delay)


def test_only_what_has_changed_is_written_again(manager: DataManager, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []

    write = metrics.generate_latest

    def noted(registry: Any) -> Any:
        written.extend(family.name for family in registry.collect())
        return write(registry)

    monkeypatch.setattr(metrics, "generate_latest", noted)
    shown = metrics.Metrics(manager, Views(manager))
    try:
        first = shown.reply().body
        names = written[:]
        assert len(names) == len(set(names)) > 20
        written.clear()
        second = shown.reply().body
        assert set(written) < set(names) - {"ats_sync_build_info", "ats_sync_weight_limit", "ats_sync_read_errors"}
        assert [line for line in first.splitlines() if line.startswith(b"#")] == [
            line for line in second.splitlines() if line.startswith(b"#")
        ]
    finally:
        shown.close()


def test_what_is_kept_on_disk_is_shown_where_it_is(manager: DataManager, exchange: SimulatedExchange) -> None:
    found = scraped(Views(manager))
    assert found["ats_sync_snapshot_failing", ()] == 0
    assert found["ats_sync_snapshot_loaded_series", ("no",)] == found["ats_sync_snapshot_loaded_series", ("yes",)] == 0
    shown = orjson.loads(Views(manager).status().body)["snapshot"]
    assert shown == asdict(manager.status().snapshot)
    assert shown["problem"] == ""
    without = DataManager(exchange.symbols, ["1h"], config=exchange.config())
    assert not [name for name, _ in scraped(Views(without)) if "snapshot" in name]
    assert orjson.loads(Views(without).status().body)["snapshot"] is None
