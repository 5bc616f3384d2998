"""A long run in parts on one stack: each is recorded and judged by itself, and all of them as a whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import click
import pyarrow as pa
import pyarrow.compute as pc

from harness.commands._job import Job, LoadRefusedError, carry_out
from harness.documents.report import Report
from harness.history import HistoryWriter, Row, RunFolder, create_run, read_history
from harness.history.run import utc_now
from harness.history.witnesses import Doubt, Witness
from harness.report import write_reports
from harness.report.whole import PART, PARTS
from harness.sla.policy import Policy
from harness.stack import StackOptions, start_stack
from harness.target import Permission

#: Parts that keep their history, besides the first that failed: what a long run takes of the disk is bounded.
_KEPT: Final = 2
#: Of the readings of a part that is over, one of each kind is kept in so long.
_EVERY_NS: Final = 10 * 10**9


def play_in_parts(
    run: RunFolder,
    policy: Policy,
    count: int,
    *,
    permission: Permission | None,
    interrupted: Callable[[], bool],
    profile: tuple[str, Mapping[str, str]],
    options: Sequence[str],
    sla: Path | None,
    command: str,
    began: Callable[[Path], None],
) -> Report:
    """Play ``count`` parts one after the other, and return the report of the whole.

    The system is the same throughout: on a local stack of its own if ``permission`` is None. Ctrl-C ends
    the part that is being played, and what was played by then is judged. So it is where a later part can't
    be played. Until all were played, the run is an interrupted one.

    Parameters
    ----------
    profile : its name, and the options of the load that it sets.
    options : further options of the load.
    sla : the policy's file, for the display.
    command : repeats the run.
    began : is told the folder of each part as it begins.

    Raises
    ------
    LoadRefusedError
        Not even the first part could be played.
    """
    run.update(interrupted=True, parts=count)
    parts: list[Report] = []
    name, settings = profile

    def play(job: Job) -> None:
        job.play(settings, options)

    with ExitStack() as closing:
        if permission is None:
            permission = closing.enter_context(start_stack(StackOptions(log_folder=run.logs))).permission
        readings = closing.enter_context(HistoryWriter(run.history, "parts", run.id))
        folders: list[RunFolder] = []
        while not parts or (len(parts) < count and not interrupted()):
            part = create_run(
                run.path / PARTS,
                "part",
                run_id=f"{PART}{len(parts) + 1}",
                profile=name,
                interrupted=False,
                expects_load=True,
                expects_scenarios=False,
            )
            began(part.path)
            try:
                report = carry_out(
                    part, permission, interrupted, [play], policy, lambda _: command, sla=sla, leading=run
                )
            except LoadRefusedError as error:
                if not parts:
                    raise
                why = f"part {len(parts) + 1} could not be played: {error}"
                run.doubt(Doubt(Witness.RUN, why))
                click.echo(why, err=True)
                break
            folders.append(part)
            parts.append(report)
            click.echo(f"part {len(parts)} of {count}: {parts[-1].verdict}", err=True)
            keep_readings(part, run, readings)
            forget(folders, parts)
    ended_early = interrupted() or len(parts) < count
    run.update(finished_at=utc_now(), interrupted=ended_early, command=command)
    report = write_reports(run, policy)
    run.point_latest_here()
    return report


def keep_readings(part: RunFolder, run: RunFolder, history: HistoryWriter) -> None:
    """Take over what tells of growth: some of a part's readings and ticks, and its steady windows."""
    about, table = part.read(), read_history(part.history).table
    kinds = pc.is_in(table["kind"].cast(pa.string()), value_set=pa.array(["resource", "monitor"]))
    rows = table.filter(pc.fill_null(kinds, fill_value=False)).to_pylist()
    kept: dict[tuple[str, str], int] = {}
    for row in rows:
        reading, at_ns = (row["name"], row["actor"]), row["start_ns"] or 0
        if row["kind"] == "monitor" or at_ns - kept.get(reading, -_EVERY_NS) >= _EVERY_NS:
            kept[reading] = at_ns
            history.append(Row(**row))
    history.flush()
    known = [window.model_dump() for window in run.read().windows or ()]
    windows = [window.model_dump() for window in about.windows or ()]
    run.update(windows=known + windows, options=about.options, system=about.system, target=about.target)


def forget(folders: Sequence[RunFolder], parts: Sequence[Report]) -> None:
    """Remove the histories of parts but the last ones, and the first that failed."""
    failed = next((n for n, part in enumerate(parts) if part.verdict == "fail"), None)
    for number, folder in enumerate(folders[:-_KEPT]):
        if number != failed:
            shutil.rmtree(folder.history, ignore_errors=True)
