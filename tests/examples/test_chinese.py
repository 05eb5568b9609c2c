"""The Chinese guide: its code and its commands run, and it says of settings and commands what the README says."""

from __future__ import annotations

import ast
import re
import shlex
import threading
from typing import Any

import pytest
import requests

from ats_sync import Config
from ats_sync.cli import main
from ats_sync.simulator import SimulatedExchange, before_turn

from ..cli.command import ROOT, start, until_line
from ..support import until
from .running import EXAMPLES

GUIDE = (EXAMPLES / "README.zh-CN.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    """Return the blocks of code in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]


def test_it_is_linked_and_has_the_two_commands_of_the_readme() -> None:
    assert "examples/README.zh-CN.md" in README
    indented = re.compile(r"^    (python3 -m venv .*)$", re.MULTILINE)
    assert indented.findall(GUIDE) == indented.findall(README) != []


def test_the_quick_start_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("python")
    with SimulatedExchange(["BTCUSDT", "ETHUSDT"], seed=7, start=before_turn("15m", 6.0)) as exchange:
        for name, value in exchange.environment().items():
            monkeypatch.setenv(name, value)
        names: dict[str, Any] = {}
        printed: list[str] = []
        names["print"] = lambda *values: printed.append(" ".join(map(str, values)))
        thread = threading.Thread(target=exec, args=(compile(code, "guide", "exec"), names), daemon=True)
        thread.start()
        until(lambda: any(line.startswith("未收齐") for line in printed), what="a turn")
        names["dm"].close()
        thread.join(30)
        assert not thread.is_alive()
    assert re.match(r"(live|degraded) since", printed[0])  # on a busy machine streams may be late just then
    assert sorted(line.split()[0] for line in printed[1:3]) == ["BTCUSDT", "ETHUSDT"]
    assert len(names["rows"]) == 300
    assert len(names["book"]["bids"]) == 20


def test_the_examples_it_names_are_those_that_have_tests() -> None:
    examples = [shlex.split(command)[1:] for command in COMMANDS if command.startswith("python examples/")]
    assert examples == [["examples/quick_start.py", "--simulate"], ["examples/batch_scan.py", "--simulate"]]
    for name, _ in examples:
        assert (ROOT / name).is_file()
        assert (ROOT / "tests" / "examples" / f"test_{name.rpartition('/')[2]}").is_file()


def test_what_it_serves_is_what_it_requests() -> None:
    (serve,) = [command for command in COMMANDS if " serve " in command]
    _, *arguments = shlex.split(serve)
    urls = [shlex.split(command)[1] for command in COMMANDS if command.startswith("curl ")]
    assert len(urls) > 3
    with start(*arguments, "--simulate", "--top", "2", "--port", "0") as process:
        found = re.search(r"http://127\.0\.0\.1:\d+", until_line(process, "following"))
        assert found is not None
        for url in urls:
            answer = requests.get(url.replace("http://127.0.0.1:8787", found[0]), timeout=30)
            assert answer.status_code == 200, url
            assert answer.json()


def test_every_command_and_setting_exists(capsys: pytest.CaptureFixture[str]) -> None:
    named = set(re.findall(r"python -m ats_sync ([\w-]+)", GUIDE))
    assert named == {"demo", "serve", "compare", "probe", "collect", "shared-status"}
    for command in named:
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0
    settings = re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", GUIDE, re.MULTILINE)
    assert len(settings) > 6
    for name, default in settings:
        assert getattr(Config(), name) == ast.literal_eval(default), name
    capsys.readouterr()
