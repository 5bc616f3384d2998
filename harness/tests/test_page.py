"""The HTML page: whole, offline, and safe with whatever a run calls itself."""

from __future__ import annotations

import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from harness.report.html import render_comparison, render_html, script_json
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


class Landmarks(HTMLParser):
    """Where on a page each element stands: by its id, and what the body holds itself."""

    VOID = frozenset({"meta", "link", "br", "img", "input", "hr"})

    def __init__(self, page: str) -> None:
        super().__init__()
        self.path: list[str] = []
        self.in_body: set[str] = set()
        self.path_of: dict[str, list[str]] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.path[-1:] == ["body"]:
            self.in_body.add(tag)
        if name := dict(attrs).get("id"):
            self.path_of[name] = list(self.path)
        if tag not in self.VOID:
            self.path.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.path.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            assert self.path[-1] != "body", f"{data.strip()!r} stands outside of every landmark"


def comparison() -> str:
    document = {
        "change": "same", "base": "a", "head": "b", "differing": [], "tolerance": 0.1, "confidence": 0.95,
        "objectives": [],
    }  # fmt: skip
    return render_comparison(document)


def test_all_that_is_to_be_read_stands_in_a_landmark_the_tooltip_too(report: dict[str, Any]) -> None:
    for page in (render_html(report), comparison()):
        found = Landmarks(page)
        assert found.in_body <= {"header", "main", "footer", "script"}
        # Vega takes the element of this name if there is one, and else makes one at the end of the body.
        assert "main" in found.path_of["vg-tooltip-element"]


def test_a_chart_is_told_by_its_label_and_not_mark_by_mark(report: dict[str, Any]) -> None:
    page = render_html(report)
    for config in (spec["config"] for spec in specs_of(page).values()):
        assert [config[part]["aria"] for part in ("mark", "axis", "legend")] == [False, False, False]
    for attributes in re.findall(r"<div class=\"chart[^>]*>", without_scripts(page)):
        assert 'role="img"' in attributes
        assert re.search(r'aria-label="[^"]{4,}"', attributes)
