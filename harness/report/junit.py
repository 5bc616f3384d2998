"""JUnit XML of a report: objectives, integrity, measurement, recovery and scenarios as test cases."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from xml.etree import ElementTree as ET

from harness.documents.report import Report
from harness.output import plain
from harness.report.words import (
    example,
    expected,
    grows,
    growth_reason,
    limited,
    measured,
    message,
    named,
    reason,
    target,
)

#: What XML 1.0 can't hold: a message of a crashed scenario may.
_NO_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(report: Report) -> str:
    """Return the JUnit view of a report.

    A fail is a ``failure``, an inconclusive row an ``error`` (the promise could not be tested), a
    skipped scenario and what is not applicable ``skipped``.
    """
    system = report.run.words
    root = ET.Element("testsuites", name=f"stormwatch {report.run.id}")
    suite = _suite(root, "objectives")
    for objective in report.objectives:
        case = _case(suite, objective.title)
        summary = f"{measured(objective)}, promised {target(objective)}"
        _outcome(case, objective.verdict, summary, reason(objective))
    suite = _suite(root, "integrity")
    for rule in report.integrity:
        lines = [
            rule.explanation,
            *filter(None, [rule.absent]),
            *rule.doubts,
            *(str(named(one, system)) for one in rule.examples),
        ]
        summary = f"{rule.violations} of {rule.looked_at}"
        _outcome(_case(suite, rule.title), rule.verdict, summary, "\n".join(lines))
    suite = _suite(root, "drift")
    for row in report.drift:
        # What a run is too short to tell is not judged, and no error of it.
        told = "skipped" if row.verdict == "inconclusive" else row.verdict
        _outcome(_case(suite, row.title), told, grows(row), growth_reason(row))
    suite = _suite(root, "measurement")
    for check in report.measurement.checks:
        _outcome(_case(suite, check.title), check.verdict, limited(check), check.explanation)
    suite = _suite(root, "recovery")
    for fault in report.faults_of_load:
        for one in fault.expectations:
            case = _case(suite, f"{fault.name}: {one.name}")
            examples = "\n".join(example(entry, system) for entry in one.examples)
            _outcome(case, one.verdict, expected(one), examples)
    suite = _suite(root, "scenarios")
    for scenario in report.scenarios:
        verdict = {"passed": "pass", "failed": "fail"}.get(scenario.outcome, scenario.outcome)
        said = message(scenario)
        again = [f"again: {scenario.command}"] if scenario.command else []
        case = _case(suite, scenario.id, scenario.seconds)
        _outcome(case, verdict, said.partition("\n")[0] or scenario.outcome, "\n".join([said, *again]))
    return _written(root)


def render_rows(name: str, rows: Iterable[tuple[str, str, str, float | None]]) -> str:
    """Return the JUnit view of one list: what each row is called, its verdict, why, and its length in ms."""
    root = ET.Element("testsuites", name=f"stormwatch {name}")
    suite = _suite(root, name)
    for title, verdict, what, ms in rows:
        _outcome(_case(suite, title, (ms or 0.0) / 1000), verdict, what, "")
    return _written(root)


def _written(root: ET.Element) -> str:
    _count(root)
    _clean(root)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(root: ET.Element, name: str) -> ET.Element:
    return ET.SubElement(root, "testsuite", name=name)


def _case(suite: ET.Element, name: str, seconds: float | None = None) -> ET.Element:
    group = f"stormwatch.{suite.get('name')}"
    return ET.SubElement(suite, "testcase", classname=group, name=name, time=f"{seconds or 0:.3f}")


def _outcome(case: ET.Element, verdict: str, summary: str, text: str) -> None:
    if verdict == "pass":
        return
    tag = {"fail": "failure", "skipped": "skipped", "not applicable": "skipped"}.get(verdict, "error")
    ET.SubElement(case, tag, message=summary, type=verdict).text = text


def _count(root: ET.Element) -> None:
    """Have each suite say how many of its cases came to what."""
    for suite in root:
        suite.set("tests", str(len(suite)))
        for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            suite.set(name, str(len(suite.findall(f"testcase/{tag}"))))


def _clean(root: ET.Element) -> None:
    """Leave only text that XML can hold, made plain: CI shows it in its log too."""
    for element in root.iter():
        element.text = element.text and _NO_XML.sub("\ufffd", plain(element.text))
        for name, value in element.items():
            element.set(name, _NO_XML.sub("\ufffd", plain(value)))
