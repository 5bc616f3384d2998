"""The documents of a run: their schemas are those of the models, and what is none is refused by name."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.synthetic_run import NS, START, Shape, history_of, run_of, synthetic_rows
from harness.documents.__main__ import FOLDER, schemas
from harness.documents.base import read_document
from harness.documents.live import Live
from harness.documents.rows import IntegrityRow, ObjectiveRow
from harness.documents.run import Run
from harness.files import DocumentError
from harness.live.document import Snapshot, judge_so_far, live_document
from harness.sla.policy import load_policy
from harness.tests.synthetic_report import latency_row


def test_the_schemas_are_current() -> None:
    there = {path: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert there == schemas(), "write them again: python -m harness.documents"


def test_a_model_can_not_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        latency_row().threshold = 2.0  # type: ignore[misc]


@given(low=st.floats(0, 10), width=st.floats(0, 10), samples=st.integers(0, 3))
def test_a_row_is_read_as_it_was_written_whatever_its_figures(low: float, width: float, samples: int) -> None:
    row = latency_row(interval=[low, low + width], samples=samples)
    assert ObjectiveRow.model_validate(json.loads(row.model_dump_json())) == row


def test_what_never_came_is_written_as_infinity() -> None:
    row = latency_row(measured="infinity", interval=[1.5, "infinity"])
    assert (row.measured, row.interval, row.verdict) == (math.inf, (1.5, math.inf), "fail")
    written = json.loads(row.model_dump_json())
    assert (written["measured"], written["interval"], written["verdict"]) == (
        "infinity",
        [1.5, "infinity"],
        "fail",
    )


@pytest.mark.parametrize("stated", ["pass", "inconclusive", "not applicable", "odd"])
def test_a_verdict_that_does_not_follow_is_refused(stated: str) -> None:
    with pytest.raises(ValueError, match=f"integrity row 'early' says {stated}, but its figures say fail"):
        IntegrityRow.model_validate({"name": "early", "title": "Early", "violations": 1, "verdict": stated})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "schema is None, expected 'stormwatch.run/1'; look again"),
        ({"schema": "stormwatch.run/1"}, "id: Field required"),
        (
            {"schema": "stormwatch.run/1", "id": 3},
            "id: Input should be a valid string, found '3'; look",
        ),
        (
            {"schema": "stormwatch.run/1", "id": "a", "windows": [{"name": "steady", "start_ns": "now"}]},
            "windows.0.start_ns: Input should be a valid integer, found 'now'",
        ),
        (
            {"schema": "stormwatch.run/1", "id": "a", "started_at": "today"},
            "started_at: Invalid isoformat",
        ),
    ],
)
def test_an_error_names_the_file_the_field_the_value_and_the_way_out(
    content: dict[str, Any], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DocumentError) as refused:
        read_document(path, Run, "look again")
    assert str(refused.value).startswith(f"{path}: ")
    assert said in str(refused.value)


def test_a_run_under_way_writes_what_its_model_says() -> None:
    shape = Shape(games_at_once=5, seconds=20)
    about = run_of(shape)
    snapshot = Snapshot("run", START + 15 * NS, about, history_of(synthetic_rows(shape)), planned=2)
    document = live_document(snapshot, judge_so_far(snapshot, load_policy()), every_s=1.0)
    assert Live.model_validate(json.loads(document.model_dump_json())) == document
    assert document.figures is not None
    assert {row.name for row in document.figures.objectives} >= {"broadcast_latency", "event_delivery"}
