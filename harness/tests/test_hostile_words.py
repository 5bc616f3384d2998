"""Whatever strings a report holds, no view makes markup, links, images or escape sequences of them."""

from __future__ import annotations

import copy
import io
import re
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fixtures.synthetic_run import Shape
from harness import output
from harness.documents.base import INFINITY
from harness.report.html import render_html
from harness.report.junit import render_junit
from harness.report.markdown import code, render_markdown, text
from harness.report.terminal import print_summary
from harness.tests.synthetic_report import eventful, loaded_report, report_of

MARK = "HOSTILE"
WORDS = (
    f"{MARK}![i](http://evil.example/i.png) [l](javascript:alert(1)) <img src=x onerror=alert(1)> "
    "<script>alert(1)</script> http://evil.example www.evil.example @everyone `code` **b** a|b \\| "
    "[link=http://evil.example]x[/link] \x1b[2J\x1b]8;;http://evil.example\x07\u202e\x00"
    "\r\n# big\n\n- item"
)

#: Of these, only what the schema lists, or what a policy can be told of, comes this far.
CHOICES = {"verdict", "outcome", "comparison", "schema", "kind", "at", "metric", "place", "unit"}

Place = tuple[str | int, ...]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    run = loaded_report(tmp_path_factory.mktemp("run"), Shape(games_at_once=5, seconds=15))
    return eventful(run, scenarios=4, bins=3, expectations=2)


@pytest.fixture(scope="module")
def hostile(report: dict[str, Any]) -> dict[str, Any]:
    """The report with every string replaced, but for those that only a few values are understood of."""
    found = copy.deepcopy(report)
    for *above, last in strings(report):
        parent = at(found, tuple(above))
        if last not in CHOICES and not str(last).endswith("_at") and parent[last] != INFINITY:
            parent[last] = WORDS
    return found


def strings(value: Any, place: Place = ()) -> Iterator[Place]:
    if isinstance(value, str):
        yield place
    elif isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from strings(part, (*place, key))


def at(value: Any, place: Place) -> Any:
    for key in place:
        value = value[key]
    return value


def shown(report: dict[str, Any]) -> str:
    """What a terminal gets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", io.TextIOWrapper(out := io.BytesIO(), encoding="utf-8"))
        output.guard_output()
        print_summary(report_of(report))
        sys.stdout.flush()
        return out.getvalue().decode()


def test_a_terminal_gets_no_escape_sequences(hostile: dict[str, Any]) -> None:
    text = shown(hostile)
    assert MARK in text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", text)


def test_xml_is_well_formed(hostile: dict[str, Any]) -> None:
    root = ET.fromstring(render_junit(report_of(hostile)))
    assert MARK in root.attrib["name"]
    assert "\x1b" not in ET.tostring(root, encoding="unicode")


class Page(HTMLParser):
    """What a browser would load or run of a page, and where its links lead."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in {"href", "src", "action", "data"} or name.startswith("on"):
                self.found.append((tag, value or ""))
        if tag in {"img", "iframe", "object", "embed"}:
            self.found.append((tag, ""))


def test_a_page_loads_and_runs_nothing_and_its_links_stay_in_it(
    report: dict[str, Any], hostile: dict[str, Any]
) -> None:
    page, before = Page(), Page()
    html = render_html(report_of(hostile))
    page.feed(html)
    before.feed(render_html(report_of(report)))
    assert MARK in html
    elsewhere = [[value for _, value in one.found if not value.startswith("#")] for one in (page, before)]
    assert elsewhere[0] == elsewhere[1]
    assert {tag for tag, _ in page.found} == {tag for tag, _ in before.found}
    assert html.count("<script") == render_html(report_of(report)).count("<script")


def test_markdown_makes_nothing_of_words(report: dict[str, Any], hostile: dict[str, Any]) -> None:
    lines, before = (render_markdown(report_of(one)).splitlines() for one in (hostile, report))
    assert any(MARK in line for line in lines)
    # No row more than there were, and no cell more in any of them.
    assert [bars(line) for line in lines if bars(line)] == [bars(line) for line in before if bars(line)]
    assert not any(line.startswith(("# ", "- item")) for line in lines)
    for line in lines:
        outside = CODE.sub("", line)
        assert not re.search(
            r"(?<!\\)[\[\]]|<(?!/?(details|summary)>)[A-Za-z/!?]|://|www\.|javascript:|@e", outside
        )


#: A span of code.
CODE = re.compile(r"(?<![\\`])(`+)(?!`)(.*?)(?<!`)\1(?!`)")


def bars(line: str) -> int:
    return (
        len(re.findall(r"(?<!\\)\|", CODE.sub("", line).replace("\\\\", ""))) if line.startswith("|") else 0
    )


@given(st.text(alphabet="`|\\ ab", max_size=12))
def test_code_is_one_span_whatever_it_holds(words: str) -> None:
    assert CODE.sub("", code(words)) == ""


@given(st.text(alphabet="`|\\*_[]<>!&# ab.:/@\n1-", max_size=16))
@example("1__")
def test_text_has_no_sign_that_is_markup(words: str) -> None:
    left = re.sub(r"\\[\\`*_\[\]|~$#+.)>-]", ".", text(words))
    assert not re.search(r"[\\`*\[\]|]|\b_\B|\B_\b|<[a-z/!]|&(?!amp;|lt;)[#\w]|://|\n", left)
