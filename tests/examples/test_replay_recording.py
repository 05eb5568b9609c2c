"""Replayed recordings: the real one, one made here, and an incomplete one."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest

from ats_sync.simulator import SimulatedExchange, before_turn

from ..cli.command import run
from .running import EXAMPLES


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the example as a module."""
    spec = importlib.util.spec_from_file_location("replay_recording", EXAMPLES / "replay_recording.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


def replayed(directory: Path) -> str:
    """Return what a replay prints. On a busy machine it goes on for a while after the last frame: the connections then
    deliver nothing, which the library rightly reports."""
    code, out, err = run(str(EXAMPLES / "replay_recording.py"), str(directory))
    assert code == 0, f"{err}\n{out}"
    assert all(line.endswith("lost: it answers pings and delivers nothing") for line in err.splitlines()), err
    return out


def test_the_real_recording(recording: Path) -> None:
    out = replayed(recording)
    assert "4 symbols (AKROUSDT, CTKUSDT, KEEPUSDT, SUSHIUSDT)" in out
    assert (
        "the last candles equal the last of the 67 kline frames, 4 final candles are final, 91 trades are in order"
    ) in out


def test_the_real_recording_all_at_once(recording: Path) -> None:
    # (Its log does not matter: an exchange whose clock runs a thousand times too fast is suspicious.)
    code, out, _ = run(str(EXAMPLES / "replay_recording.py"), str(recording), "--speed", "1000")
    assert code == 0, out
    assert "4 final candles are final, 91 trades are in order" in out


def test_a_recording_of_the_simulated_exchange(tmp_path: Path) -> None:
    with SimulatedExchange(["BTCUSDT", "ETHUSDT", "币安人生USDT"], start=before_turn("1m", 4)) as ex:
        asked = ["--symbols", ",".join(ex.symbols), "--streams", "aggTrade,kline_1m,depth20@100ms,!markPrice@arr@1s"]
        code, _, err = run(
            "-m", "ats_sync", "record", str(tmp_path / "a"), "--seconds", "6", *asked, env=ex.environment()
        )
    assert (code, err) == (0, "")
    out = replayed(tmp_path / "a")
    assert "3 final candles are final" in out


def test_a_lost_trade_is_found(
    recording: Path,
    tmp_path: Path,
    example: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(recording, tmp_path / "a")
    lines = (recording / "stream.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    trades = [index for index, line in enumerate(lines) if '"sushiusdt@aggTrade"' in line]
    del lines[trades[-5]]
    (tmp_path / "a" / "stream.txt").write_text("".join(lines), encoding="utf-8")
    monkeypatch.setattr(example, "SETTLED_AFTER", 2.0)
    monkeypatch.setattr(sys, "argv", ["replay_recording.py", str(tmp_path / "a"), "--speed", "20"])
    assert example.main() == 1
    out = capsys.readouterr().out
    assert "wrong: SUSHIUSDT" in out
    assert "wrong: CTKUSDT" not in out


def test_a_directory_without_a_recording_is_2(tmp_path: Path) -> None:
    code, out, err = run(str(EXAMPLES / "replay_recording.py"), str(tmp_path))
    assert (code, out) == (2, "")
    assert "is not a recording" in err
