"""The pages of a report, a comparison and a trend in a real browser: what is seen, reached and followed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fixtures.synthetic_run import Shape, synthetic_rows, write_run
from harness.history import RunFolder
from harness.report.compare import compare, load_side
from harness.report.html import render_comparison, render_html, render_trend
from harness.report.trend import trend_of
from harness.sla.policy import load_policy
from harness.tests.browser import find_chromium
from harness.tests.synthetic_report import eventful, loaded_report, report_of
from harness.tests.test_compare import slower
from harness.tests.test_trend import releases

SHAPE = Shape(games_at_once=20, seconds=40)
BROWSE = Path(__file__).with_name("page_browser.py")


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one run of the browser saw; its pictures are left beside the pages."""
    chromium = find_chromium()
    folder = tmp_path_factory.mktemp("pages")
    report = eventful(loaded_report(folder / "reports", SHAPE), scenarios=4, expectations=8)
    report["games"] = report["games"][:2]
    pages = [folder / "report.html", folder / "comparison.html", folder / "trend.html"]
    slow = releases(report_of(report), 12, level=lambda release: 2.0 if release > 7 else 1.0)
    pages[0].write_text(render_html(report_of(report)), encoding="utf-8")
    pages[1].write_text(render_comparison(comparison(folder / "compared")), encoding="utf-8")
    pages[2].write_text(render_trend(trend_of(slow, 0.1)), encoding="utf-8")
    browser = subprocess.run(
        [sys.executable, str(BROWSE), chromium, *map(str, pages), str(folder)],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
        encoding="utf-8",
    )
    assert browser.returncode == 0, browser.stderr
    found: dict[str, Any] = json.loads(browser.stdout)
    return found


def comparison(folder: Path) -> dict[str, Any]:
    """A run against one that is the same but for its deliveries, which are slower."""
    policy, rows = load_policy(), synthetic_rows(SHAPE)

    def run(name: str, factor: float) -> RunFolder:
        return write_run(folder / name, slower(rows, factor), SHAPE)

    base, head = (load_side(run(*one), policy) for one in (("base", 1.0), ("head", 2.0)))
    return compare(base, head, policy, tolerance=0.1)


@pytest.fixture
def looks(seen: dict[str, Any]) -> list[dict[str, Any]]:
    """Each page at each width in each colour scheme; the trend on a phone alone."""
    assert len(seen["looks"]) == 2 * 3 * 2 + 2
    found: list[dict[str, Any]] = seen["looks"]
    return found


def where(look: dict[str, Any]) -> str:
    return f"{look['page']}, {look['width']} px, {look['scheme']}"


def test_no_page_is_wider_than_its_window(looks: list[dict[str, Any]]) -> None:
    assert {where(look): look["overflow"] for look in looks if look["overflow"] > 0} == {}


def test_axe_finds_nothing_also_no_lack_of_contrast(looks: list[dict[str, Any]]) -> None:
    assert {where(look): look["violations"] for look in looks if look["violations"]} == {}


def test_the_network_is_asked_for_nothing_but_the_page(looks: list[dict[str, Any]]) -> None:
    assert {where(look): look["asked"] for look in looks if len(look["asked"]) != 1} == {}
    assert all(look["asked"][0].startswith("file:") for look in looks)


def test_no_script_fails(looks: list[dict[str, Any]]) -> None:
    assert {where(look): look["errors"] for look in looks if look["errors"]} == {}


def test_a_page_is_light_or_dark_as_the_reader_wishes(looks: list[dict[str, Any]]) -> None:
    papers = {"light": "rgb(255, 255, 255)", "dark": "rgb(17, 21, 28)"}
    assert {where(look): look["paper"] for look in looks if look["paper"] != papers[look["scheme"]]} == {}


def test_on_paper_it_is_light_and_has_no_navigation(seen: dict[str, Any]) -> None:
    pages = seen["print"].pop("pages")
    assert seen["print"] == {"paper": "light", "nav": False, "verdict": True, "overflow": 0}
    assert 1 < pages < 15


def test_tab_reaches_the_navigation_and_details_which_enter_opens(seen: dict[str, Any]) -> None:
    keys = seen["keys"]
    skip, *rest = keys["passed"]
    assert skip == "#main"
    assert rest[: len(keys["nav"])] == keys["nav"]
    assert keys["passed"][-1].startswith("SUMMARY What this is")
    assert (keys["opened"], keys["unreachable"]) == (True, 0)


def test_a_fault_leads_from_its_band_and_from_its_link_to_its_card_and_back(seen: dict[str, Any]) -> None:
    links = seen["links"]
    assert links["band"] == ["fault-1", True]
    assert links["text"] == ["fault-0", True]
    assert links["back"] == ["timeline", True]


def test_a_link_opens_what_is_closed_and_only_then_are_its_charts_drawn(seen: dict[str, Any]) -> None:
    links = seen["links"]
    assert links["timeline"] == ["scenario-0-timeline", True]
    assert (links["drawn before"], links["drawn after"]) == (0, 4)
