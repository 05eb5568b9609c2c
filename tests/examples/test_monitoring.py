"""The files of ``examples/monitoring``: they are valid, about metrics that exist, and their alerts fire on faults."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests

from ats_sync import AtsSyncError, Config, DataManager, Missed
from ats_sync.endpoint import Endpoint
from ats_sync.endpoint.views import Views
from ats_sync.simulator import SimulatedExchange, before_turn

from ..shared.conftest import started
from ..support import until
from .running import EXAMPLES

yaml = pytest.importorskip("yaml")
metrics = pytest.importorskip("ats_sync.endpoint.metrics")

HERE = EXAMPLES / "monitoring"
DASHBOARD: dict[str, Any] = json.loads((HERE / "grafana.json").read_text("utf-8"))
(GROUP,) = yaml.safe_load((HERE / "alerts.yml").read_text("utf-8"))["groups"]
ALERTS: dict[str, str] = {rule["alert"]: rule["expr"] for rule in GROUP["rules"]}
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def shown() -> dict[str, set[str]]:
    """Return the labels of each metric by its name in Prometheus."""
    manager = DataManager(["BTCUSDT"], config=Config(shared="unix:///nowhere/store.sock"))
    found: dict[str, set[str]] = {}
    for family in metrics.Metrics(manager, Views(manager)).collect():
        for suffix in SUFFIXES[family.type]:
            labels = set(family._labelnames) if hasattr(family, "_labelnames") else set()
            found[family.name + suffix] = labels | {"instance", "job"} | ({"le"} if suffix == "_bucket" else set())
    return found


def used(expression: str) -> dict[str, set[str]]:
    """Return the labels that an expression selects of each metric."""
    return {
        name: set(re.findall(r"(\w+)\s*(?:=|!)", selector or ""))
        for name, selector in re.findall(r"\b((?:ats_sync_\w+)|up)\b(\{[^}]*\})?", expression)
    }


EXPRESSIONS = {
    **{f"alert {name}": expression for name, expression in ALERTS.items()},
    **{
        f"panel {panel['title']} {target['refId']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    },
}


def test_every_expression_is_about_metrics_and_labels_that_exist() -> None:
    known = shown()
    for where, expression in EXPRESSIONS.items():
        names = used(expression)
        assert names, where
        for name, labels in names.items():
            if name != "up":
                assert name in known, where
                assert labels <= known[name], where
        for by in re.findall(r"by \(([^)]*)\)", expression):
            assert {label.strip() for label in by.split(",")} <= set().union(
                *(known.get(name, set()) for name in names)
            )


def test_the_dashboard_can_be_imported() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert DASHBOARD["schemaVersion"] >= 36
    assert {each["name"] for each in DASHBOARD["templating"]["list"]} == {"datasource", "instance"}
    for panel in panels:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    for one, other in itertools.combinations([panel["gridPos"] for panel in panels], 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]


def test_the_readme_names_every_alert() -> None:
    named = re.findall(r"^\| `(AtsSync\w+)`", (HERE / "README.md").read_text("utf-8"), re.MULTILINE)
    assert sorted(named) == sorted(ALERTS)


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian's package prometheus has it)")
    return found


def test_promtool_finds_no_mistake() -> None:
    checked = subprocess.run(
        [program("promtool"), "check", "config", str(HERE / "prometheus.yml")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


EVERY = 15
"""Seconds between two samples, and between two evaluations."""
LASTING: dict[str, tuple[int, dict[str, str]]] = {
    "AtsSyncDown": (0, {'up{job="ats_sync",instance="a"}': "0x200"}),
    "AtsSyncNotLive": (0, {'ats_sync_state{state="live"}': "0x200"}),
    "AtsSyncFeedsDegraded": (0, {'ats_sync_feeds{kind="klines",state="degraded"}': "3x200"}),
    "AtsSyncWeightNearLimit": (
        0,
        {'ats_sync_weight_used{host="futures"}': "2200x200", 'ats_sync_weight_limit{host="futures"}': "2400x200"},
    ),
    # A rate takes two samples.
    "AtsSyncScansCauseRequests": (EVERY, {'ats_sync_requests_total{cause="read",code="200"}': "0+9000x200"}),
    "AtsSyncOpenGaps": (0, {'ats_sync_open_gaps{kind="trades"}': "1x200"}),
    "AtsSyncNoCollector": (0, {'ats_sync_shared_leader_seen{shard="1/1"}': "0x200"}),
    "AtsSyncQualityLow": (0, {'ats_sync_quality_symbols{verdict="stop"}': "2x200"}),
}
"""What makes an alert with a ``for`` true, and from when on (seconds)."""


def seconds(duration: str) -> int:
    """Return a duration as Prometheus writes it."""
    return int(duration[:-1]) * {"s": 1, "m": 60, "h": 3600}[duration[-1]]


def test_alerts_fire_after_their_time_and_not_later(tmp_path: Path) -> None:
    durations = {rule["alert"]: seconds(rule["for"]) for rule in GROUP["rules"] if "for" in rule}
    assert durations.keys() == LASTING.keys()

    def in_state(name: str, state: str, at: int, count: int) -> dict[str, Any]:
        counted = f'count(ALERTS{{alertname="{name}",alertstate="{state}"}})'
        expected = [{"labels": "{}", "value": count}] if count else []
        return {"expr": counted, "eval_time": f"{at}s", "exp_samples": expected}

    cases = []
    for name, (begins, series) in LASTING.items():
        due = begins + durations[name]
        states = [
            *(in_state(name, "pending", due - EVERY, 1), in_state(name, "firing", due - EVERY, 0)),
            *(in_state(name, "pending", due, 0), in_state(name, "firing", due, 1)),
        ]
        cases.append(
            {
                "name": name,
                "interval": f"{EVERY}s",
                "input_series": [{"series": each, "values": values} for each, values in series.items()],
                "promql_expr_test": states,
            }
        )
    rules = tmp_path / "times.yml"
    rules.write_text(
        yaml.safe_dump(
            {"rule_files": [str(HERE / "alerts.yml")], "evaluation_interval": f"{EVERY}s", "tests": cases},
            allow_unicode=True,
        ),
        "utf-8",
    )
    checked = subprocess.run(
        [program("promtool"), "test", "rules", str(rules)], capture_output=True, text=True, timeout=60
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


class Prometheus:
    """A real one, which scrapes an endpoint twice a second."""

    def __init__(self, binary: str, target: str, directory: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        config = yaml.safe_load((HERE / "prometheus.yml").read_text("utf-8"))
        config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "500ms"}
        (scrape,) = config["scrape_configs"]
        scrape["static_configs"] = [{"targets": [target]}]
        shutil.copy(HERE / "alerts.yml", directory)
        (directory / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")
        self._url = f"http://127.0.0.1:{port}/api/v1"
        self._session = requests.Session()
        self._session.trust_env = False
        with (directory / "log").open("w") as output:
            self.process = subprocess.Popen(
                [
                    binary,
                    f"--config.file={directory / 'prometheus.yml'}",
                    f"--storage.tsdb.path={directory / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return what an expression selects now; nothing while it has not begun to answer."""
        try:
            answer = self._session.get(f"{self._url}/query", params={"query": expression}, timeout=10)
        except requests.ConnectionError:
            assert self.process.poll() is None, "Prometheus has ended"
            return []
        if answer.status_code == 503:
            return []
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def firing(self) -> set[str]:
        """Return the alerts whose expressions select something now."""
        return {name for name, expression in ALERTS.items() if self.query(expression)}

    def close(self) -> None:
        self._session.close()
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture
def exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(3, seed=5, start=before_turn("1m", 12.0)) as exchange:
        yield exchange


def test_every_alert_fires_on_a_fault(exchange: SimulatedExchange, tmp_path: Path) -> None:
    binary = program("prometheus")
    config = exchange.config(read_timeout=1.0, request_timeout=1.0)
    fired: dict[str, str] = {}
    with (
        started("valkey") as store,
        DataManager(
            exchange.symbols, ["1m", "1h"], config=replace(config, shared=store.url, role="collector")
        ) as manager,
        Endpoint(manager, port=0) as endpoint,
    ):
        prometheus = Prometheus(binary, endpoint.url.removeprefix("http://"), tmp_path)

        def read(count: int, **more: float) -> None:
            for number in range(count):
                with contextlib.suppress(AtsSyncError):  # counted as well
                    manager.get_klines(exchange.symbols[number % 3], "1h", 5, **more)

        def ranges(count: int) -> None:
            """Read this many ranges of the past, each of which is a request."""
            path = f"{config.fapi_base}/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=1&endTime="
            now = exchange.now()
            with ThreadPoolExecutor(8) as pool:
                list(
                    pool.map(lambda hours: manager.rest_text.pass_on(f"{path}{now - hours * 3_600_000}"), range(count))
                )

        def miss() -> None:
            """Begin with candles that memory no longer has."""
            with manager.closed(exchange.symbols[:1], ["1h"], since=exchange.now() - 90 * 86_400_000) as events:
                assert isinstance(next(events), Missed)

        def spend() -> None:
            """Let others use the weight of this minute up to 90 %."""
            exchange.pardon()
            exchange.spend_weight(max(0, 2_160 - exchange.spend_weight(0)))
            read(1, max_age=0)

        def fires(name: str, by: str, meanwhile: Callable[[], None] = lambda: None) -> None:
            def does() -> list[dict[str, Any]]:
                meanwhile()
                return prometheus.query(ALERTS[name])

            until(does, timeout=60.0, what=f"{name} by {by}")
            fired[name] = by

        try:
            until(lambda: prometheus.query('ats_sync_state{state="live"} == 1'), what="a scrape of a live manager")
            assert prometheus.firing() == set(), "nothing is wrong yet"
            exchange.lose_finals()
            fires("AtsSyncOpenGaps", "final events that are lost")
            fires("AtsSyncCandlesLate", "final events that are lost")
            fires("AtsSyncEventsMissed", "a consumer that begins before what memory has", miss)
            ranges(330)
            fires("AtsSyncScansCauseRequests", "reads that memory must not answer")
            exchange.lag(4.0)
            fires("AtsSyncEventsLate", "a backlog on the way")
            exchange.refuse()
            exchange.cut(how="reset")
            fires("AtsSyncNotLive", "connections that are refused")
            fires("AtsSyncFeedsDegraded", "connections that are refused")
            fires("AtsSyncReconnects", "connections that are refused")
            fires("AtsSyncQualityLow", "connections that are refused")
            exchange.fail_rest("503")
            fires("AtsSyncReadsFail", "answers of 503", lambda: read(1))
            fires("AtsSyncRequestsFail", "answers of 503", lambda: read(1))
            exchange.clear_faults()
            exchange.ban(5.0)
            fires("AtsSyncBlocked", "a ban", lambda: read(1, max_age=0))
            fires("AtsSyncWeightNearLimit", "another program on this address", spend)
            store.kill()
            fires("AtsSyncNoCollector", "a shared store that has gone")
            endpoint.close()
            fires("AtsSyncDown", "an endpoint that has gone")
            assert fired.keys() == ALERTS.keys()
        finally:
            prometheus.close()
