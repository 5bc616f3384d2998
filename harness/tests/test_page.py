"""The HTML page: whole, offline, and safe with whatever a run calls itself."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.report.html import render_html, script_json
from harness.report.write import write_reports
from harness.sla.policy import load_policy
from harness.tests.synthetic_run import Shape, synthetic_rows, write_run

SHAPE = Shape(games_at_once=20, seconds=40)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return write_reports(
        write_run(tmp_path_factory.mktemp("reports"), synthetic_rows(SHAPE), SHAPE), load_policy()
    )


def without_scripts(page: str) -> str:
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def specs_of(page: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page.split('id="specs">')[1].split("</script>", maxsplit=1)[0])
    return found


def test_the_page_has_a_place_for_every_chart_and_a_chart_for_every_place(report: dict[str, Any]) -> None:
    page = render_html(report)
    places = set(re.findall(r'data-chart="([^"]+)"', page))
    assert places == set(specs_of(page))
    wanted = {f"objective-{row['name']}" for row in report["objectives"]}
    assert places >= wanted
    assert places >= {"timeline-latency", "timeline-breaker", "distribution-broadcast_latency", "stages"}


def test_the_page_asks_the_network_for_nothing(report: dict[str, Any]) -> None:
    page = without_scripts(render_html(report))
    assert re.findall(r"""(?:src|href)=["'](?!#|data:)[^"']*""", page) == []
    assert "@import" not in page
    assert "url(" not in page


def test_the_page_stays_small(report: dict[str, Any]) -> None:
    assert len(render_html(report).encode()) < 3_000_000


def test_a_name_can_not_become_markup_or_script(report: dict[str, Any]) -> None:
    nasty = '</script><img src=x onerror="alert(1)">'
    spoiled = json.loads(json.dumps(report))
    spoiled["run"]["command"] = spoiled["games"][0]["game"] = nasty
    spoiled["games"][0]["deliveries"][0]["player"] = nasty
    page = render_html(spoiled)
    assert "<img" not in without_scripts(page)
    assert nasty in json.dumps(specs_of(page)).replace('\\"', '"')
    assert "</script>" not in script_json({"name": nasty})


def test_a_report_with_nothing_in_it_still_makes_a_page(tmp_path: Path) -> None:
    run = write_run(tmp_path, synthetic_rows(SHAPE).head(0), SHAPE)
    page = render_html(write_reports(run, load_policy()))
    assert "Inconclusive" in page
    assert specs_of(page) == {}


def test_headings_go_down_one_level_at_a_time_and_every_id_is_single(report: dict[str, Any]) -> None:
    page = without_scripts(render_html(report))
    levels = [int(level) for level in re.findall(r"<h([1-6])", page)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    targets = set(re.findall(r'href="#([^"]+)"', page))
    assert targets <= set(ids)
