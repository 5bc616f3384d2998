"""A long run in parts: each is judged by itself, and all of them as a whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from fixtures.synthetic_run import (
    NS,
    START,
    Shape,
    about_run,
    history_of,
    run_of,
    synthetic_rows,
    windows,
    write_file,
    write_run,
)
from harness.commands import _parts
from harness.commands._display import Display
from harness.commands._job import Job, LoadRefusedError
from harness.commands._parts import forget, keep_readings
from harness.commands.run import command as run_command
from harness.documents.report import Report
from harness.documents.rows import CheckRow, DriftRow, ObjectiveRow
from harness.documents.run import Window
from harness.files import DocumentError
from harness.history import HistoryWriter, RunFolder, create_run, read_history
from harness.judge import Evidence, evidence_of
from harness.report.build import build_report, report_on
from harness.report.markdown import render_markdown
from harness.report.whole import whole
from harness.sla.policy import load_policy
from harness.tests.permitted import permitted
from harness.tests.test_pool import target_of

SHAPE = Shape(games_at_once=6, players=2, seconds=60, warm_up=3, http_per_s=20)
#: From the begin of a part to that of the next.
APART_S = 200


@cache
def rows() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


def later(found: pd.DataFrame, seconds: int) -> pd.DataFrame:
    """Return the same rows of a part that was played so much later."""
    moved = found.copy()
    for column in ("intended_ns", "start_ns", "end_ns"):
        moved[column] = moved[column] + seconds * NS
    return moved


def part(found: pd.DataFrame, **about: object) -> Report:
    run = run_of(SHAPE, windows=windows(SHAPE), **about)
    return report_on(evidence_of(history_of(found), run, load_policy()), "part")


@cache
def good() -> Report:
    return part(rows())


def failing() -> pd.DataFrame:
    """Return a part in which each tenth request failed."""
    found = rows().copy()
    calls = np.flatnonzero((found["kind"] == "http").to_numpy())
    found.loc[calls[::10], "ok"] = False
    return found


def spoiled() -> pd.DataFrame:
    """Return a part in which one game moved early."""
    found = rows().copy()
    moves = found.index[(found["kind"] == "transition") & found["intended_ns"].notna()]
    found.loc[moves[0], "intended_ns"] += 60 * NS
    return found


def readings(values: list[float]) -> Evidence:
    """Return the memory of the service in the parts, one value for each."""
    frames, spans = [], []
    for number, value in enumerate(values):
        at = START + (number * APART_S + np.arange(0, SHAPE.seconds, 10)) * NS
        one = {"kind": "resource", "name": "rss_bytes", "actor": "service-1", "start_ns": at, "value": value}
        frames.append(pd.DataFrame(one))
        span = {"name": "steady", "start_ns": int(at[0]), "end_ns": int(at[-1]) + NS}
        spans.append(span)
    found = pd.concat([rows().iloc[:0], *frames], ignore_index=True).astype(rows().dtypes.to_dict())
    return evidence_of(history_of(found), run_of(SHAPE, windows=spans), load_policy())


def objective(report: Report, name: str) -> ObjectiveRow:
    return next(row for row in report.objectives if row.name == name)


def drift(report: Report, name: str) -> DriftRow:
    return next(row for row in report.drift if row.name == name)


def test_the_whole_has_the_samples_of_all_parts() -> None:
    one = good()
    found = whole([one, one, one], readings([50e6] * 3))
    single, all_of_them = (objective(report, "error_rate") for report in (one, found))
    assert all_of_them.samples == 3 * single.samples
    assert (all_of_them.interval[1] or 100) < (single.interval[1] or 0), "more samples tell more"
    assert found.integrity[0].looked_at == 3 * one.integrity[0].looked_at
    assert Report.model_validate_json(found.text()) == found
    assert "Part 3: " in render_markdown(found)


def test_a_quantile_of_the_whole_lies_between_those_of_its_parts() -> None:
    slow = rows().copy()
    heard = (slow["kind"] == "delivery") & (slow["name"] == "phase_changed")
    slow.loc[heard, "end_ns"] += NS // 2
    parts = [good(), part(slow)]
    ends = [objective(one, "broadcast_latency").interval for one in parts]
    found = objective(whole(parts, readings([50e6] * 2)), "broadcast_latency")
    assert found.interval == (ends[0][0], ends[1][1])


def test_what_one_part_fails_the_whole_fails_and_names_it() -> None:
    found = whole([good(), part(failing()), good()], readings([50e6] * 3))
    row = objective(found, "error_rate")
    assert (row.verdict, found.verdict) == ("fail", "fail")
    assert row.explanation.startswith("In part 2. ")
    assert found.notes[1].startswith("Part 2: fail, failed: error_rate")


def test_one_violation_in_one_part_is_one_of_the_whole() -> None:
    found = whole([part(spoiled()), good()], readings([50e6] * 2))
    early = next(row for row in found.integrity if row.name == "early")
    assert (early.verdict, early.violations) == ("fail", 1)


def test_what_grows_from_part_to_part_is_seen_in_none_of_them() -> None:
    one = good()
    memory = [50e6 + 20e6 * number for number in range(12)]
    grows, stays = (drift(whole([one] * 12, readings(values)), "memory") for values in (memory, [50e6] * 12))
    assert (grows.verdict, stays.verdict) == ("fail", "pass")
    assert all(row.verdict != "fail" for row in one.drift)


def test_a_part_that_was_given_up_before_it_began_makes_the_whole_open_but_no_row_of_it() -> None:
    nothing = rows()[(rows()["kind"] == "resource").to_numpy()]
    given_up = part(nothing, interrupted=True)
    found = whole([good(), given_up], readings([50e6] * 2))
    ended = whole([good(), part(rows(), interrupted=True)], readings([50e6] * 2))
    for report in (found, ended):
        assert objective(report, "error_rate") == objective(whole([good()], readings([50e6])), "error_rate")
        assert {row.verdict for row in report.integrity} == {"pass"}
    broken = whole([good(), part(spoiled(), interrupted=True)], readings([50e6] * 2))
    assert [row.name for row in broken.integrity if row.verdict == "fail"] == ["early"]
    assert {row.name: row.verdict for row in found.measurement.checks}["complete_run"] == "inconclusive"


def test_of_a_part_that_is_over_a_tenth_of_the_readings_is_kept(tmp_path: Path) -> None:
    one = write_run(tmp_path / "parts", rows(), SHAPE)
    run = create_run(tmp_path, "whole")
    with HistoryWriter(run.history, "parts", run.id) as history:
        keep_readings(one, run, history)
        keep_readings(one, run, history)
    table = read_history(run.history).table
    assert set(table["kind"].unique().to_pylist()) == {"resource", "monitor"}
    found = table.to_pandas()
    seconds = SHAPE.seconds + SHAPE.warm_up
    assert (found["name"] == "pool_in_use").sum() == 2 * (seconds // 10 + 1)
    assert [window.name for window in run.read().windows or ()] == ["warm-up", "steady", "drain"] * 2


def test_the_disk_is_bounded_and_the_first_part_that_failed_keeps_its_record(tmp_path: Path) -> None:
    fine, bad = good(), part(failing())
    folders: list[RunFolder] = []
    parts: list[Report] = []
    for report in (fine, bad, fine, fine, fine):
        folders.append(create_run(tmp_path, "part", run_id=f"part-{len(parts) + 1}"))
        parts.append(report)
        forget(folders, parts)
    assert [folder.history.exists() for folder in folders] == [False, True, False, True, True]


@pytest.mark.parametrize("arguments", [["--parts", "3"], ["--profile", "soak", "--failures"]])
def test_parts_and_failure_scenarios_do_not_go_together(arguments: list[str], tmp_path: Path) -> None:
    done = CliRunner().invoke(run_command, ["--reports", str(tmp_path), *arguments])
    assert done.exit_code == 2
    assert "has no failure scenarios: add --no-failures" in " ".join(done.output.split())
    assert list(tmp_path.iterdir()) == []


class Played:
    """Parts that are played at once: each leaves the record of a good one.

    Parameters
    ----------
    ends_after : so many parts, somebody asks for an early end.
    error : ends the part after that instead.
    """

    def __init__(self, ends_after: int, error: BaseException | None = None) -> None:
        self.folders: list[RunFolder] = []
        self.began: list[Path] = []
        self._ends_after = ends_after
        self._error = error

    def interrupted(self) -> bool:
        return self._error is None and len(self.folders) >= self._ends_after

    def carry_out(self, folder: RunFolder, *_: object, leading: RunFolder, **__: object) -> Report:
        assert self.began[-1] == folder.path
        if self._error is not None and len(self.folders) == self._ends_after:
            raise self._error
        leading.point_latest_here()
        self.folders.append(folder)
        write_part(folder, rows())
        return good()

    def play(self, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> Report:
        """Play three parts."""
        monkeypatch.setattr(_parts, "carry_out", self.carry_out)
        return _parts.play_in_parts(
            run,
            load_policy(),
            3,
            permission=permitted(target_of()),
            interrupted=self.interrupted,
            profile=("soak", {}),
            options=[],
            sla=None,
            command="stormwatch run",
            began=self.began.append,
        )


def write_part(folder: RunFolder, found: pd.DataFrame) -> None:
    """Write the record and the report of a part."""
    write_file(folder.history / "one.arrow", found, folder.id, "one")
    folder.update(**about_run(SHAPE, windows=windows(SHAPE)))
    folder.report_json.write_text(good().text(), encoding="utf-8")


def completeness(report: Report) -> CheckRow:
    return next(row for row in report.measurement.checks if row.name == "complete_run")


@pytest.mark.parametrize(("ends_after", "count"), [(99, 3), (2, 2), (0, 1)])
def test_parts_are_played_until_all_are_or_somebody_ends_them(
    ends_after: int, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played, run = Played(ends_after), create_run(tmp_path, "soak")
    report = played.play(run, monkeypatch)
    assert [folder.id for folder in played.folders] == [f"part-{number + 1}" for number in range(count)]
    assert len(report.notes) == count
    assert report.run.interrupted is (ends_after < 3)
    assert completeness(report).verdict == ("pass" if count == 3 else "inconclusive")
    assert Report.model_validate_json(run.report_json.read_text(encoding="utf-8")) == report
    assert (tmp_path / "latest" / "report.html").exists()


def test_a_part_that_cannot_be_played_ends_the_run_and_costs_none_of_those_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run(tmp_path, "soak")
    report = Played(2, LoadRefusedError("nobody answers")).play(run, monkeypatch)
    assert (report.verdict, report.run.interrupted, len(report.notes)) == ("inconclusive", True, 2)
    assert "part 3 could not be played: nobody answers." in completeness(report).explanation
    assert "No report is there of part-3." in completeness(report).explanation
    assert (run.path / "parts" / "part-1" / "report.json").exists()
    assert "nobody answers" in (tmp_path / "latest" / "report.md").read_text(encoding="utf-8")


def test_a_first_part_that_cannot_be_played_is_a_load_that_was_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_run(tmp_path, "before").point_latest_here()
    with pytest.raises(LoadRefusedError):
        Played(0, LoadRefusedError("nobody answers")).play(create_run(tmp_path, "soak"), monkeypatch)
    assert (tmp_path / "latest").resolve().name.endswith("-before")


def test_a_run_that_is_killed_between_parts_is_the_latest_and_no_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create_run(tmp_path, "before").point_latest_here()
    run = create_run(tmp_path, "soak")
    with pytest.raises(KeyboardInterrupt):
        Played(1, KeyboardInterrupt()).play(run, monkeypatch)
    assert (tmp_path / "latest").resolve() == run.path
    report = build_report(run, load_policy())
    assert report.verdict == "inconclusive"
    assert "No report is there of part-2, part-3." in completeness(report).explanation


def test_latest_leads_to_the_whole_as_soon_as_a_part_sends_something(tmp_path: Path) -> None:
    run, one = create_run(tmp_path, "soak"), create_run(tmp_path / "aside", "part")
    job = Job(one, None, Display(one.path), lambda: False, run)
    job._show({})
    assert not (tmp_path / "latest").exists()
    job._show({"warm-up": Window(name="warm-up", start_ns=START)})
    assert (tmp_path / "latest").resolve() == run.path
    assert not (tmp_path / "aside" / "latest").exists()


def test_parts_that_were_all_ended_early_make_a_report_that_the_gate_reads() -> None:
    ended = part(rows(), interrupted=True)
    found = whole([ended, ended], readings([50e6] * 2))
    assert Report.model_validate_json(found.text()) == found
    assert found.verdict == "inconclusive"
    assert [row.name for row in found.objectives] == [row.name for row in ended.objectives]


def test_a_failure_is_told_of_the_part_that_it_was_in_whatever_part_does_not_count() -> None:
    found = whole([part(rows(), interrupted=True), part(failing())], readings([50e6] * 2))
    assert objective(found, "error_rate").explanation.startswith("In part 2. ")


def test_parts_are_judged_by_another_policy_from_their_reports_or_their_histories(tmp_path: Path) -> None:
    run = write_run(tmp_path, rows().iloc[:0], SHAPE)
    folders = [create_run(run.path / "parts", "part", run_id=f"part-{number}") for number in (1, 2)]
    for folder in folders:
        write_part(folder, rows())
    stricter = load_policy(changes={"broadcast_latency.threshold": "1ms"})
    assert build_report(run, load_policy()).verdict == good().verdict == "inconclusive"
    assert objective(build_report(run, stricter), "broadcast_latency").verdict == "fail"
    other = load_policy(changes={"broadcast_latency.quantile": "p50"})
    assert objective(build_report(run, other), "broadcast_latency").quantile == 0.5
    shutil.rmtree(folders[0].history)
    assert objective(build_report(run, stricter), "broadcast_latency").verdict == "fail"
    with pytest.raises(DocumentError, match=r"part-1: objective 'broadcast_latency': .*is not kept"):
        build_report(run, other)


def test_what_is_served_while_a_run_in_parts_goes_on_is_of_the_part_that_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[object] = []

    def served(_: str | None, read: Callable[[], object]) -> AbstractContextManager[None]:
        reads.append(read)
        return nullcontext()

    def play_in_parts(*_: object, began: Callable[[Path], None], **__: object) -> Report:
        for name in ("part-1", "part-2"):
            began(tmp_path / name)
            seen.append(reads[0]())
        raise LoadRefusedError("enough was seen")

    reads: list[Callable[[], object]] = []
    monkeypatch.setattr("harness.live.prometheus.served", served)
    monkeypatch.setattr("harness.live.file.read_live", lambda path: path.name)
    monkeypatch.setattr(_parts, "play_in_parts", play_in_parts)
    arguments = ["--reports", str(tmp_path), "--local", "--parts", "2", "--no-failures", "--prometheus", "9"]
    done = CliRunner().invoke(run_command, arguments)
    assert (done.exit_code, seen) == (2, ["part-1", "part-2"]), done.output
