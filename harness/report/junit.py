"""JUnit XML of a report: objectives, integrity, measurement, recovery and scenarios as test cases."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from xml.etree import ElementTree as ET

from harness.output import plain
from harness.report.words import (
    example,
    expected,
    faults_of_load,
    limited,
    measured,
    message,
    reason,
    target,
)

#: What XML 1.0 can't hold: a message of a crashed scenario may.
_NO_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render_junit(report: Mapping[str, Any]) -> str:
    """Return the JUnit view of a report.

    A fail is a ``failure``, an inconclusive row an ``error`` (the promise could not be tested), a
    skipped scenario and what is not applicable ``skipped``.
    """
    root = ET.Element("testsuites", name=f"stormwatch {report['run']['id']}")
    objectives = _suite(root, "objectives")
    for row in report["objectives"]:
        case = _case(objectives, "objectives", row["title"])
        _outcome(case, row["verdict"], f"{measured(row)}, promised {target(row)}", reason(row))
    integrity = _suite(root, "integrity")
    for row in report["integrity"]:
        case = _case(integrity, "integrity", row["title"])
        lines = [row["explanation"], *row["doubts"], *(str(example) for example in row["examples"])]
        _outcome(case, row["verdict"], f"{row['violations']} of {row['looked_at']}", "\n".join(lines))
    measurement = _suite(root, "measurement")
    for row in report["measurement"]["checks"]:
        case = _case(measurement, "measurement", row["title"])
        _outcome(case, row["verdict"], limited(row), row["explanation"])
    recovery = _suite(root, "recovery")
    for fault in faults_of_load(report):
        for row in fault["expectations"]:
            case = _case(recovery, "recovery", f"{fault['name']}: {row['name']}")
            lines = [example(entry) for entry in row.get("examples") or []]
            _outcome(case, row["verdict"], expected(row), "\n".join(lines))
    scenarios = _suite(root, "scenarios")
    for row in report["scenarios"]:
        case = _case(scenarios, "scenarios", row["id"], row["seconds"])
        verdict = {"passed": "pass", "failed": "fail"}.get(row["outcome"], row["outcome"])
        said = message(row)
        again = [f"again: {row['command']}"] if row["command"] else []
        _outcome(case, verdict, said.partition("\n")[0] or row["outcome"], "\n".join([said, *again]))
    for suite in root:
        suite.set("tests", str(len(suite)))
        suite.set("failures", str(len(suite.findall("testcase/failure"))))
        suite.set("errors", str(len(suite.findall("testcase/error"))))
        suite.set("skipped", str(len(suite.findall("testcase/skipped"))))
    for element in root.iter():
        element.text = element.text and _clean(element.text)
        for name, value in element.items():
            element.set(name, _clean(value))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _suite(root: ET.Element, name: str) -> ET.Element:
    return ET.SubElement(root, "testsuite", name=name)


def _case(suite: ET.Element, group: str, name: str, seconds: float | None = None) -> ET.Element:
    return ET.SubElement(
        suite, "testcase", classname=f"stormwatch.{group}", name=name, time=f"{seconds or 0:.3f}"
    )


def _outcome(case: ET.Element, verdict: str, summary: str, text: str) -> None:
    if verdict == "pass":
        return
    tag = {"fail": "failure", "skipped": "skipped", "not applicable": "skipped"}.get(verdict, "error")
    ET.SubElement(case, tag, message=summary, type=verdict).text = text


def _clean(text: str) -> str:
    """Text that XML can hold, made plain: CI shows it in its log too."""
    return _NO_XML.sub("\ufffd", plain(text))
