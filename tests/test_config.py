from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ats_sync.config import Config
from ats_sync.errors import AtsSyncError, ConfigError

HOSTS = ("fapi_base", "spot_base", "fstream_base", "spot_stream_base")
SECONDS = (
    "read_timeout",
    "shim_timeout",
    "request_timeout",
    "connect_timeout",
    "close_timeout",
    "reconnect_min",
    "reconnect_max",
    "healthy_after",
    "connection_max_age",
    "ping_interval",
    "silence_limit",
)
COUNTS = (
    "max_klines",
    "max_trades",
    "max_open_interest",
    "max_liquidations",
    "warmup_klines",
    "futures_weight_limit",
    "spot_weight_limit",
    "max_rest_threads",
    "max_streams_per_connection",
)


def made(**settings: Any) -> Config:
    return Config(**settings)


def test_the_defaults_are_the_exchange() -> None:
    config = Config()
    assert config.fapi_base == "https://fapi.binance.com"
    assert config.spot_base == "https://api.binance.com"
    assert config.fstream_base == "wss://fstream.binance.com"
    assert config.spot_stream_base == "wss://stream.binance.com:9443"
    assert (config.max_klines, config.warmup_klines, config.read_timeout, config.close_timeout) == (500, 500, 10, 2)
    assert (config.reconnect_min, config.reconnect_max) == (1.0, 15.0)
    assert (config.futures_weight_limit, config.spot_weight_limit) == (2400, 6000)
    assert config.weight_share < 1
    assert config.repair_share > 0
    assert config.connection_max_age < 24 * 3600


def test_it_is_immutable_and_hashable() -> None:
    config = Config(proxies={"https": "http://127.0.0.1:1"})
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.max_klines = 5  # type: ignore[misc]
    assert hash(config) == hash(dataclasses.replace(config))
    assert config == dataclasses.replace(config)
    assert config != Config()


@pytest.mark.parametrize("name", HOSTS)
@pytest.mark.parametrize(
    "wrong",
    [
        "", "fapi.binance.com", "ftp://x", "https://", "http:///path", "https://host name", "https://host\n", None, 5,
        b"https://x", "https://host:99999", "https://host:port", "http://[::1", "https://host?a=1", "https://host#x",
    ],
)  # fmt: skip
def test_an_unusable_host_is_refused_by_name(name: str, wrong: Any) -> None:
    if isinstance(wrong, str) and "stream" in name:
        wrong = wrong.replace("https:", "wss:").replace("http:", "ws:")
    with pytest.raises(ConfigError, match=name):
        made(**{name: wrong})


@pytest.mark.parametrize("wrong", ["https://host?", "https://host#"])
def test_a_host_with_an_empty_query_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match="fapi_base"):
        Config(fapi_base=wrong)


def test_schemes_are_those_of_the_protocol() -> None:
    assert Config(fapi_base="http://127.0.0.1:8080").fapi_base == "http://127.0.0.1:8080"
    assert Config(fstream_base="ws://[::1]:8080").fstream_base == "ws://[::1]:8080"
    with pytest.raises(ConfigError):
        Config(fapi_base="wss://x")
    with pytest.raises(ConfigError):
        Config(fstream_base="https://x")


def test_a_trailing_slash_does_not_double() -> None:
    assert Config(fapi_base="http://127.0.0.1:1/").fapi_base == "http://127.0.0.1:1"
    assert Config(spot_base="http://127.0.0.1:1/mirror/").spot_base == "http://127.0.0.1:1/mirror"


@pytest.mark.parametrize("name", SECONDS)
@pytest.mark.parametrize("wrong", [0, -1, math.nan, math.inf, -math.inf, "5", None, True, [1]])
def test_times_are_numbers_above_zero(name: str, wrong: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        made(**{name: wrong})


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("wrong", [0, -1, 1.5, "5", None, True, 10**9])
def test_counts_are_whole_and_within_reason(name: str, wrong: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        made(**{name: wrong})


@pytest.mark.parametrize(
    "settings",
    [
        {"weight_share": 0},
        {"weight_share": 1.01},
        {"weight_share": math.nan},
        {"repair_share": -0.1},
        {"weight_share": 0.5, "repair_share": 0.5},
        {"reconnect_min": 20.0},
        {"ping_interval": 6.0, "silence_limit": 6.0},
        {"drain_interval": -0.1},
        {"drain_interval": 2.0},
        {"max_klines": 1501},
        {"max_open_interest": 501},
        {"max_streams_per_connection": 1025},
    ],
)
def test_contradictory_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        made(**settings)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, AtsSyncError)
    assert not caught.value.retryable


def test_whole_numbers_are_numbers() -> None:
    assert Config(read_timeout=5, weight_share=1, repair_share=0).read_timeout == 5


def test_a_file_of_authorities_must_exist(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    with pytest.raises(ConfigError, match="ca_file"):
        Config(ca_file=str(file))
    file.write_text("")
    assert Config(ca_file=str(file)).ca_file == str(file)
    with pytest.raises(ConfigError):
        Config(ca_file=str(tmp_path))


def test_periods_are_checked_and_kept_as_a_tuple() -> None:
    assert made(open_interest_periods=["5m", "1h"]).open_interest_periods == ("5m", "1h")
    assert made(open_interest_periods=()).open_interest_periods == ()


@pytest.mark.parametrize("wrong", ["1h", 5, None, ("1h", None)])
def test_periods_that_are_not_strings_are_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="open_interest_periods"):
        made(open_interest_periods=wrong)


@pytest.mark.parametrize("wrong", ["http://127.0.0.1:1", 5, ["http://x"], {"https": 5}])
def test_proxies_are_a_mapping_of_strings(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="proxies"):
        made(proxies=wrong)


def test_the_environment_names_the_hosts() -> None:
    environ = {
        "BINANCE_FAPI_BASE": "http://127.0.0.1:1",
        "BINANCE_SPOT_BASE": "http://127.0.0.1:2",
        "BINANCE_FSTREAM_BASE": "ws://127.0.0.1:3",
        "BINANCE_SPOT_STREAM_BASE": "ws://127.0.0.1:4",
        "SOMETHING": "else",
    }
    config = Config.from_env(environ)
    assert [getattr(config, name) for name in HOSTS] == [
        "http://127.0.0.1:1",
        "http://127.0.0.1:2",
        "ws://127.0.0.1:3",
        "ws://127.0.0.1:4",
    ]
    assert Config.from_env({}) == Config()
    assert Config.from_env({"BINANCE_FAPI_BASE": ""}) == Config()
    assert Config.from_env(environ, spot_base="http://127.0.0.1:9", max_klines=7).spot_base == "http://127.0.0.1:9"


def test_the_process_environment_is_read_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINANCE_SPOT_BASE", "http://127.0.0.1:7")
    assert Config.from_env().spot_base == "http://127.0.0.1:7"


def test_a_wrong_variable_is_an_error_that_names_the_setting() -> None:
    with pytest.raises(ConfigError, match="fapi_base"):
        Config.from_env({"BINANCE_FAPI_BASE": "nonsense"})


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(ConfigError, match="max_candles"):
        Config.from_env({}, max_candles=5)


def test_numbers_of_numpy_are_numbers() -> None:
    config = Config(max_klines=np.int64(300), read_timeout=np.float32(2.5), close_timeout=np.int64(3))  # type: ignore[arg-type]
    assert (config.max_klines, config.read_timeout, config.close_timeout) == (300, 2.5, 3.0)
    assert type(config.max_klines) is int
    assert type(config.read_timeout) is float
    with pytest.raises(ConfigError, match="max_klines"):
        Config(max_klines=np.bool_(True))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="read_timeout"):
        Config(read_timeout=np.float64("nan"))


class TestStateDirectory:
    def test_it_is_an_absolute_path_whatever_happens_to_the_working_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        assert Config().state_dir is None
        assert Config(state_dir="kept/here").state_dir == str(tmp_path / "kept" / "here")
        assert Config(state_dir=tmp_path / "kept" / ".." / "there").state_dir == str(tmp_path / "there")
        assert Config(state_dir="~/kept").state_dir == str(tmp_path / "home" / "kept")
        assert list(tmp_path.iterdir()) == [], "it is made when it is needed"

    def test_the_environment_names_it(self, tmp_path: Path) -> None:
        assert Config.from_env({"ATS_SYNC_STATE_DIR": str(tmp_path)}).state_dir == str(tmp_path)
        assert Config.from_env({"ATS_SYNC_STATE_DIR": ""}).state_dir is None
        assert Config.from_env({"ATS_SYNC_STATE_DIR": "elsewhere"}, state_dir=None).state_dir is None

    @pytest.mark.parametrize("path", ["", "  ", "a\0b", b"bytes", 7, "~nobody-of-that-name/kept"])
    def test_what_is_not_a_path_is_refused(self, path: object) -> None:
        with pytest.raises(ConfigError, match="state_dir"):
            Config(state_dir=path)  # type: ignore[arg-type]

    def test_a_file_in_its_place_or_above_it_is_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "file"
        file.touch()
        dangling = tmp_path / "dangling"
        dangling.symlink_to(tmp_path / "nowhere")
        for path in (file, file / "kept", dangling):
            with pytest.raises(ConfigError, match=r"state_dir: .* is not a directory"):
                Config(state_dir=path)


@pytest.mark.parametrize(
    ("settings", "gathers"),
    [
        ({}, 0.02),
        ({"flush": 0.004}, 0.02),
        ({"role": "collector", "flush": 0.004}, 0.02),
        ({"shared": "redis://127.0.0.1:1", "flush": 0.004}, 0.02),
        ({"shared": "redis://127.0.0.1:1", "role": "collector", "flush": 0.004}, 0.001),
        ({"shared": "redis://127.0.0.1:1", "role": "collector", "flush": 0.004, "drain_interval": 0.0}, 0.0),
    ],
)
def test_a_collector_lets_frames_gather_for_part_of_the_delay_that_its_readers_have_anyway(
    settings: dict[str, Any], gathers: float
) -> None:
    assert made(**settings).gathers == gathers
