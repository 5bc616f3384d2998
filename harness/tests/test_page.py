"""The HTML page: whole, offline, and safe with whatever a run calls itself."""

from __future__ import annotations

import copy
import itertools
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from fixtures.synthetic_run import Shape, synthetic_rows, write_run
from harness.report.compare import Comparison
from harness.report.html import render_comparison, script_json
from harness.report.html import render_html as page_of
from harness.report.write import write_reports
from harness.sla.policy import load_policy
from harness.tests.synthetic_report import eventful, loaded_report, report_of, timeline

SHAPE = Shape(games_at_once=20, seconds=40)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return loaded_report(tmp_path_factory.mktemp("reports"), SHAPE)


def render_html(document: dict[str, Any]) -> str:
    return page_of(report_of(document))


def without_scripts(page: str) -> str:
    return re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def json_of(page: str, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page.split(f'id="{name}">')[1].split("</script>", maxsplit=1)[0])
    return found


def specs_of(page: str) -> dict[str, Any]:
    return json_of(page, "specs")


@pytest.fixture(scope="module")
def busy(report: dict[str, Any]) -> dict[str, Any]:
    """The report with faults, scenarios and their timelines."""
    return eventful(report)


def test_the_page_has_a_place_for_every_chart_and_a_chart_for_every_place(busy: dict[str, Any]) -> None:
    page = render_html(busy)
    places = set(re.findall(r'data-chart="([^"]+)"', page))
    assert places == set(specs_of(page))
    wanted = {f"objective-{row['name']}" for row in busy["objectives"]}
    assert places >= wanted
    assert places >= {"timeline-latency", "timeline-breaker", "distribution-broadcast_latency", "stages"}


def test_the_page_asks_the_network_for_nothing(report: dict[str, Any]) -> None:
    page = without_scripts(render_html(report))
    assert re.findall(r"""(?:src|href)=["'](?!#|data:)[^"']*""", page) == []
    assert "@import" not in page
    assert "url(" not in page


def test_a_page_stays_small_with_200_games_and_55_scenarios(tmp_path: Path) -> None:
    report = loaded_report(tmp_path, Shape(games_at_once=200, seconds=60))
    # As long as a timeline gets, and every panel with all that it may hold.
    report["timeline"] = timeline(600)
    page = render_html(eventful(report, scenarios=55, bins=30))
    assert page.count('-timeline"><summary>') == 54  # one was skipped
    assert len(page.encode()) < 3_000_000


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
    page = page_of(write_reports(run, load_policy()))
    assert "Inconclusive" in page
    assert specs_of(page) == {}


def test_headings_go_down_one_level_at_a_time_and_every_id_is_single(busy: dict[str, Any]) -> None:
    page = without_scripts(render_html(busy))
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
    return render_comparison(Comparison("a", "b", [], 0.1, 0.95, {}))


def test_all_that_is_to_be_read_stands_in_a_landmark_the_tooltip_too(report: dict[str, Any]) -> None:
    for page in (render_html(report), comparison()):
        found = Landmarks(page)
        assert found.in_body <= {"header", "main", "footer", "script"}
        # Vega takes the element of this name if there is one, and else makes one at the end of the body.
        assert "main" in found.path_of["vg-tooltip-element"]


def test_a_chart_is_told_by_its_label_and_not_mark_by_mark(busy: dict[str, Any]) -> None:
    page = render_html(busy)
    config = json_of(page, "config")
    assert [config[part]["aria"] for part in ("mark", "axis", "legend")] == [False, False, False]
    for attributes in re.findall(r"<div class=\"chart[^>]*>", without_scripts(page)):
        assert 'role="img"' in attributes
        assert re.search(r'aria-label="[^"]{4,}"', attributes)


# --- faults and scenarios ------------------------------------------------------------------------------


class Text(HTMLParser):
    """What stands in the element of an id."""

    def __init__(self, page: str, name: str) -> None:
        super().__init__()
        self.depth = 0
        self.name = name
        self.text: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in Landmarks.VOID and (self.depth or dict(attrs).get("id") == self.name):
            self.depth += 1

    def handle_endtag(self, tag: str) -> None:
        self.depth -= bool(self.depth)

    def handle_data(self, data: str) -> None:
        if self.depth:
            self.text.append(data)

    def __str__(self) -> str:
        return " ".join(" ".join(self.text).split())


def text_of(report: dict[str, Any], name: str) -> str:
    return str(Text(without_scripts(render_html(report)), name))


def test_a_fault_of_the_load_is_linked_with_the_timeline_in_words(busy: dict[str, Any]) -> None:
    page = without_scripts(render_html(busy))
    timeline_section = page.split('<section id="timeline"')[1].split("</section>")[0]
    assert re.findall(r'href="(#fault-\d+)"', timeline_section) == ["#fault-0", "#fault-1"]
    card = page.split('id="fault-1"')[1].split("</article>")[0]
    assert 'href="#timeline"' in card


def test_a_card_says_what_was_measured_why_it_is_no_pass_and_which_rows_broke_it(
    busy: dict[str, Any],
) -> None:
    card = text_of(busy, "fault-1")
    assert "the backlog is drained within 15 s of its end measured nothing, threshold 15 s (never;" in card
    assert "2 of what broke it" in card
    assert (
        "actor player-3, game game-17, event game-17-event-2, error timeout, committed 14:13:47.123" in card
    )
    assert "it serves again measured 1.50 s, threshold 15 s (48 transitions, 96 deliveries)" in card


def test_what_did_not_pass_stands_first_and_open(busy: dict[str, Any]) -> None:
    page = without_scripts(render_html(busy))
    found = re.findall(r'<details id="scenario-(\d)" class="row scenario"( open)?>', page)
    assert found == [("1", " open"), ("2", " open"), ("3", " open"), ("0", ""), ("4", ""), ("5", "")]


def test_a_scenario_has_its_message_its_command_and_its_faults(busy: dict[str, Any]) -> None:
    failed = text_of(busy, "scenario-1")
    assert failed.startswith("failed pubnub_outage.number_1[with_a_parameter] 21.5 s · 1 fault · 20 of 21 as")
    assert failed.count("again: pytest") == 1
    assert "20 as expected" in failed
    skipped = text_of(busy, "scenario-3")
    assert "needs `PUBNUB_ORIGIN` | and <keys>" in skipped


def test_a_scenario_draws_the_panels_that_have_something_to_show(busy: dict[str, Any]) -> None:
    quiet = copy.deepcopy(busy)
    for series in quiet["scenarios"][0]["timeline"]["series"]:
        if series["panel"] in {"outbox", "pool"}:
            series["values"] = [None] * len(series["values"])
    specs = specs_of(render_html(quiet))
    assert {name for name in specs if name.startswith("scenario-0")} == {
        "scenario-0-latency",
        "scenario-0-breaker",
    }
    faults = specs["scenario-0-latency"]["layer"][1]["data"]["values"]
    assert [window["url"] for window in faults] == ["#fault-2"]
    assert not any(name.startswith("scenario-3") for name in specs)


def test_a_report_without_load_has_no_empty_sections(busy: dict[str, Any]) -> None:
    alone = busy | {
        "integrity": [],
        "drift": [],
        "stages": [],
        "timeline": None,
        "distributions": [],
        "games": [],
    }
    alone["faults"] = [fault for fault in busy["faults"] if fault["scenario"]]
    sections = re.findall(r'<section id="(\w+)"', render_html(alone))
    assert sections == ["objectives", "scenarios", "measurement", "environment"]


def test_what_could_not_be_shown_is_said_where_the_measurement_is_judged(busy: dict[str, Any]) -> None:
    assert "The games can't be shown: KeyError: <b>'game-3'</b>" in text_of(busy, "measurement")


def test_a_verdict_names_the_scenario_in_which_integrity_was_broken(busy: dict[str, Any]) -> None:
    fault = next(one for one in busy["faults"] if one["scenario"])
    fault["expectations"][0] |= {"name": "moved twice: none", "verdict": "fail", "integrity": True}
    verdict = render_html(busy).partition('id="objectives"')[0]
    assert f"{fault['scenario']}</a>: moved twice: none" in verdict


def test_a_verdict_names_the_fault_that_was_not_recovered_from(busy: dict[str, Any]) -> None:
    page = without_scripts(render_html(busy))
    verdict = page.split('<section class="verdict')[1].split("</section>")[0]
    assert re.findall(r'href="(#fault-\d+)"', verdict) == ["#fault-1"]
