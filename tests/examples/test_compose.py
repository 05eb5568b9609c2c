"""``examples/shared/docker-compose.yml``: without Docker, everything in it that can be checked is checked."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis

from ats_sync import Config, DataManager
from ats_sync.cli.main import _parser
from ats_sync.config import _ENVIRONMENT
from ats_sync.endpoint import Endpoint
from ats_sync.endpoint.admission import TOKEN_VARIABLE
from ats_sync.shared.client import SharedStore

from ..shared.conftest import started
from ..shared.servers import binary
from ..support import until
from .running import EXAMPLES

yaml = pytest.importorskip("yaml")

HERE = EXAMPLES / "shared"
TEXT = (HERE / "docker-compose.yml").read_text("utf-8")
PROJECT: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = PROJECT["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
SECRETS = {"STORE_PASSWORD": "a1b2c3d4", "ATS_SYNC_TOKEN": "a long secret", "GRAFANA_PASSWORD": "another"}
COPIED = {"ats_sync", "compat", "README.md", "pyproject.toml", "setup.py"}


def filled(text: str) -> str:
    """Return a value as Compose passes it on, with the variables of ``.env``."""
    return re.sub(r"\$\{(\w+)(?::\?[^}]*)?\}", lambda found: SECRETS[found[1]], text)


def options(name: str) -> Namespace:
    """Return the parsed command line of one of our services."""
    return _parser().parse_args([filled(each) for each in SERVICES[name]["command"]])


def environment(name: str) -> dict[str, str]:
    return {variable: filled(value) for variable, value in SERVICES[name].get("environment", {}).items()}


def mounts(name: str) -> dict[str, str]:
    """Return the sources of a service's volumes by mount point."""
    pairs = (each.split(":") for each in SERVICES[name].get("volumes", ()))
    return {target: source for source, target, *_ in pairs}


def test_it_has_every_part() -> None:
    assert OURS.keys() == {"collector", "standby", "serve"}
    assert SERVICES.keys() == {*OURS, "store", "prometheus", "grafana"}
    for name, service in SERVICES.items():
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL"), name
        assert service["restart"] == "unless-stopped"
        assert set(service.get("depends_on", ())) <= SERVICES.keys()
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), "reached from this host alone"
        _, _, tag = service["image"].rpartition(":")
        assert re.search(r"\d", tag) or name in OURS, f"the image of {name} has no version"
    assert "latest" not in TEXT


def test_every_command_line_is_one_of_ours() -> None:
    for name in ("collector", "standby"):
        given = options(name)
        assert given.run.__name__ == "_collect"
        assert (given.standby, given.shared) == ("hot", None)
    assert options("collector") == options("standby")
    serves = options("serve")
    assert serves.run.__name__ == "_serve"
    assert f"127.0.0.1:{serves.port}:{serves.port}" in SERVICES["serve"]["ports"]
    assert (serves.top, serves.intervals) == (options("collector").top, options("collector").intervals)
    for name in ("collector", "standby"):
        python, _, module, *arguments = SERVICES[name]["healthcheck"]["test"][1:]
        assert (python, module) == ("python", "ats_sync")
        assert _parser().parse_args(arguments).run.__name__ == "_shared_status"


def test_every_variable_is_read_and_makes_settings() -> None:
    for name in OURS:
        given = environment(name)
        assert given.keys() <= {*_ENVIRONMENT, TOKEN_VARIABLE}, name
        assert (TOKEN_VARIABLE in given) == (name == "serve")
        state_dir = given.pop("ATS_SYNC_STATE_DIR", None)
        config = Config.from_env(given)
        assert config.shared is not None
        url = SharedStore(config.shared).url
        assert url.addresses == (("store", 6379),)
        assert url.password == SECRETS["STORE_PASSWORD"]
        assert (state_dir in mounts(name)) == (name != "serve"), "a collector keeps its rows in a volume"
    assert mounts("collector") != mounts("standby"), "of two on one directory, the second would run without it"


def test_everything_that_is_mounted_and_built_exists() -> None:
    for name in SERVICES:
        for source in mounts(name).values():
            if source.startswith("."):
                assert (HERE / source).is_file(), source
            else:
                assert source in PROJECT["volumes"]
    build = SERVICES["serve"]["build"]
    context = (HERE / build["context"]).resolve()
    assert (context / build["dockerfile"]).is_file()
    admitted = re.findall(r"^!(.*)$", (context / f"{build['dockerfile']}.dockerignore").read_text(), re.MULTILINE)
    assert set(admitted) == COPIED
    assert all((context / each).exists() for each in admitted)
    dockerfile = (context / build["dockerfile"]).read_text()
    assert re.search(r"^FROM python:3\.1[0-3]-", dockerfile, re.MULTILINE)
    (extras,) = re.findall(r"/src\[([\w,]+)\]", dockerfile)
    assert set(extras.split(",")) == {"shared", "serve", "metrics"}
    for name in ("collector", "standby"):
        (directory,) = mounts(name)
        assert f"-g ats {directory}" in dockerfile, "a new volume has the owner of its directory"


def test_secrets_are_only_in_the_environment() -> None:
    example = dict(
        line.split("=", 1)
        for line in (HERE / "env.example").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    )
    assert example == dict.fromkeys(SECRETS, "")
    assert set(re.findall(r"\$\{(\w+)", TEXT)) == SECRETS.keys()
    for name in SECRETS:
        assert f"${{{name}:?" in TEXT, "without it, nothing starts"
    assert [secret["environment"] for secret in PROJECT["secrets"].values()] == ["ATS_SYNC_TOKEN"]


@pytest.fixture
def socket_of_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Start a real server with the command line of the store; yield its socket."""
    with started("valkey") as for_its_folder:
        socket = for_its_folder.directory / "compose.sock"
        program, *arguments = (filled(each) for each in SERVICES["store"]["command"])
        assert program == "valkey-server"
        process = subprocess.Popen(
            [binary("valkey"), *arguments, "--port", "0", "--unixsocket", str(socket), "--dir", str(socket.parent)],
            stdout=subprocess.DEVNULL,
        )
        try:
            until(socket.exists, what="the server has started")
            yield socket
        finally:
            process.terminate()
            process.wait(30)


def test_the_store_starts_with_a_password_and_evicts_nothing(socket_of_store: Path) -> None:
    with pytest.raises(redis.AuthenticationError), redis.Redis(unix_socket_path=str(socket_of_store)) as stranger:
        stranger.ping()
    store = SharedStore(f"unix://:{SECRETS['STORE_PASSWORD']}@{socket_of_store}")
    assert store.connect(writes=True).policy == "noeviction"
    assert store.run(lambda redis: redis.config_get("maxmemory")) == {"maxmemory": str(512 * 1024 * 1024)}
    assert store.run(lambda redis: redis.config_get("save", "appendonly")) == {"save": "", "appendonly": "no"}
    store.close()


def test_the_health_check_of_serve_needs_the_token(tmp_path: Path) -> None:
    *_, program = SERVICES["serve"]["healthcheck"]["test"]

    def healthy(endpoint: Endpoint, token: str) -> bool:
        at = endpoint.url.removeprefix("http://")
        assert program.count("127.0.0.1:8787") == 1
        ended = subprocess.run(
            [sys.executable, "-c", program.replace("127.0.0.1:8787", at)],
            env={"ATS_SYNC_TOKEN": token, "NO_PROXY": "*"},
            capture_output=True,
            timeout=60,
        )
        return ended.returncode == 0

    with Endpoint(DataManager(), port=0, token=SECRETS["ATS_SYNC_TOKEN"]) as endpoint:
        assert healthy(endpoint, SECRETS["ATS_SYNC_TOKEN"])
        assert not healthy(endpoint, "another secret")


def configured(name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = yaml.safe_load((HERE / name).read_text("utf-8"))
    return found


def test_prometheus_scrapes_serve_and_has_the_alerts(tmp_path: Path) -> None:
    config: Any = configured("prometheus.yml")
    (scrape,) = config["scrape_configs"]
    assert scrape["static_configs"] == [{"targets": [f"serve:{options('serve').port}"]}]
    (secret,) = SERVICES["prometheus"]["secrets"]
    assert secret in PROJECT["secrets"]
    assert scrape["authorization"]["credentials_file"] == f"/run/secrets/{secret}"
    mounted = mounts("prometheus")
    for rules in config["rule_files"]:
        assert mounted[f"/etc/prometheus/{rules}"] == f"../monitoring/{rules}"
    beside = yaml.safe_load((EXAMPLES / "monitoring" / "prometheus.yml").read_text("utf-8"))
    assert scrape["job_name"] == beside["scrape_configs"][0]["job_name"], "an alert is about it"
    assert {**config, "scrape_configs": None} == {**beside, "scrape_configs": None}
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian's package prometheus has it)")
    scrape["authorization"]["credentials_file"] = str(tmp_path / "token")
    (tmp_path / "token").write_text("secret")
    for target, source in mounted.items():
        if source.startswith("."):
            shutil.copy(HERE / source, tmp_path / Path(target).name)
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    checked = subprocess.run(
        [promtool, "check", "config", str(tmp_path / "prometheus.yml")], capture_output=True, text=True, timeout=60
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_grafana_finds_prometheus_and_the_dashboard() -> None:
    mounted = mounts("grafana")
    (source,) = configured("grafana/datasources.yml")["datasources"]
    assert (source["type"], source["url"], source["isDefault"]) == ("prometheus", "http://prometheus:9090", True)
    (provider,) = configured("grafana/dashboards.yml")["providers"]
    directory = provider["options"]["path"]
    assert mounted[f"{directory}/ats_sync.json"] == "../monitoring/grafana.json"
    for what in ("datasources", "dashboards"):
        assert mounted[f"/etc/grafana/provisioning/{what}/ats_sync.yml"] == f"./grafana/{what}.yml"
