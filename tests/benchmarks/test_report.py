from __future__ import annotations

import json

import pytest

from .ingest import AT_RATE, FLAT_OUT, FLOOR, PICOWS, add_ratios
from .report import OURS, Report

SECTION = "Ingest"


@pytest.fixture
def report() -> Report:
    made = Report()
    for case, ours, floor, picows in ((AT_RATE, 20.0, 10.0, 25.0), (FLAT_OUT, 9.0, 6.0, 5.0)):
        for subject, value in ((OURS, ours), (FLOOR, floor), (PICOWS, picows)):
            made.add(SECTION, case, subject, value, "µs")
    return made


def ratios(report: Report) -> dict[tuple[str, str], tuple[float, float | None, bool | None]]:
    return {
        (each["case"], each["subject"]): (each["value"], each["target"], each["met"])
        for each in json.loads(report.to_json())["figures"]
        if each["unit"] == "×"
    }


def test_both_ratios_are_in_the_json_with_their_targets(report: Report) -> None:
    add_ratios(report, SECTION, tls=True, mix="depth20")
    assert ratios(report) == {
        (FLAT_OUT, f"{OURS} ÷ {FLOOR}"): (1.5, None, None),
        (FLAT_OUT, f"{OURS} ÷ {PICOWS}"): (1.8, 2.0, True),
        (AT_RATE, f"{OURS} ÷ {FLOOR}"): (2.0, 1.35, False),
        (AT_RATE, f"{OURS} ÷ {PICOWS}"): (0.8, 1.0, True),
    }
    assert "1.48 times the target" in report.summary()


@pytest.mark.parametrize(("tls", "mix"), [(False, "depth20"), (True, "diffs")])
def test_without_tls_and_with_full_books_only_the_figures_are_reported(report: Report, tls: bool, mix: str) -> None:
    add_ratios(report, SECTION, tls=tls, mix=mix)
    assert [target for _, target, _ in ratios(report).values()] == [None] * 4


def test_what_was_not_measured_has_no_ratio(report: Report) -> None:
    assert report.ratio(SECTION, AT_RATE, OURS, "not installed", 1.0) is None
    assert report.spread(SECTION, AT_RATE, [OURS, "not installed"], 1.0) is None
    assert ratios(report) == {}


def test_a_spread_is_between_the_greatest_and_the_least(report: Report) -> None:
    assert report.spread(SECTION, AT_RATE, [FLOOR, OURS, PICOWS], 1.15) == 2.5
    assert list(ratios(report).values()) == [(2.5, 1.15, False)]


def test_a_ratio_is_not_compared_with_ours_once_more(report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    report.ratio(SECTION, AT_RATE, PICOWS, FLOOR)
    report.show(SECTION)
    lines = capsys.readouterr().out.splitlines()
    [line] = [line for line in lines if "÷" in line]
    assert "2.50 ×" in line
    assert "× ours" not in line
    assert sum("× ours" in line for line in lines) == 4
