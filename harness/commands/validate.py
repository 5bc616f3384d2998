"""`stormwatch validate`: put defective versions of the system before the harness: which does it catch?"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Final

import click

from harness.commands._errors import said_as
from harness.commands._json import json_option
from harness.commands._progress import Progress, interruptible
from harness.commands._reports import reports_option
from harness.commands._system import system_option, use_system
from harness.output import Exit
from harness.report.gate import EXIT_CODES

if TYPE_CHECKING:
    from harness.documents.shown import Healthy, Tried
    from harness.documents.validation import Validation
    from harness.history import RunFolder
    from harness.validate.catalogue import Catalogue, Defect, Load, Scenario

#: A run of each, in the run's folder.
_RUNS: Final = "runs"


@click.command(
    name="validate",
    epilog="Exit codes: 0 every defect that was tried is caught as what it is, without a false alarm, 1 one "
    "is missed or taken for something else, or the healthy system raised an alarm, 2 wrong usage, 3 it could "
    "not be told, 130 given up. Nothing else should run on the machine meanwhile.",
)
@click.option(
    "--only",
    "names",
    multiple=True,
    metavar="NAME",
    help="Try this defect alone; may be given several times. [default: all]",
)
@click.option(
    "--healthy",
    "times",
    type=click.IntRange(0, 100),
    default=1,
    show_default=True,
    help="How often the healthy system plays each of the runs.",
)
@click.option(
    "--at-once",
    type=click.IntRange(1, 16),
    default=2,
    show_default=True,
    help="Runs at a time, each with a stack of its own.",
)
@click.option(
    "--defects",
    "package",
    metavar="MODULE",
    help="Python package of the defects. [default: `defects` of the system's file]",
)
@click.option(
    "--summary",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Also write the table as Markdown into this file.",
)
@reports_option("Where the validation's folder is made; the reports of runs there show the newest one.")
@system_option
@json_option
def command(
    names: tuple[str, ...],
    times: int,
    at_once: int,
    package: str | None,
    summary: Path | None,
    reports: Path,
    system: str | None,
    *,
    as_json: bool,
) -> None:
    """Run the harness on defective versions of the system, and on the healthy one beside them.

    Each defect says which run must catch it, and as what. All runs are those of `stormwatch run`, on local
    stacks. What is missed, or caught as something else, is a fault of the harness, and
    so is an alarm about the healthy system.

    \b
      stormwatch validate
      stormwatch validate --only early_timers --only health_lies
      stormwatch validate --healthy 20
    """
    from harness.files import DocumentError, write_atomically
    from harness.history import create_run
    from harness.report.validation import render_summary
    from harness.validate.catalogue import CatalogueError

    use_system(system)
    with said_as(click.UsageError, CatalogueError, DocumentError):
        catalogue = _catalogue(package)
        chosen = _chosen(catalogue, names)
        run = create_run(reports.absolute(), "validate")
    trials = _Trials(run, catalogue, chosen, times)
    given_up = False
    try:
        with interruptible(), Progress() as progress:
            trials.run(progress, at_once)
    except KeyboardInterrupt:
        given_up = True
    found = trials.validation(package or catalogue.system)
    if as_json:
        click.echo(found.text(), nl=False)
    else:
        _print(found)
    if given_up:
        click.echo(f"given up; what was recorded lies in {run.path}", err=True)
        sys.exit(Exit.INTERRUPTED)
    write_atomically(run.path / "validation.json", found.text())
    if summary is not None:
        write_atomically(summary, render_summary(found))
    click.echo(os.path.relpath(run.path / "validation.json"), err=as_json)
    sys.exit(EXIT_CODES[found.verdict])


def _catalogue(package: str | None) -> Catalogue:
    """Return the defects of the system that is named.

    Raises
    ------
    CatalogueError
        It has none, or they are no catalogue.
    """
    from harness.system import HasDefects, find_system
    from harness.validate.catalogue import CatalogueError, load_catalogue

    system = find_system()
    if package is None:
        if not isinstance(system, HasDefects):
            raise CatalogueError(
                f"{system.__name__} has no `defects`, the name of a Python package with its defects: write "
                "one, or give --defects MODULE"
            )
        package = system.defects
    return load_catalogue(package)


def _chosen(catalogue: Catalogue, names: Sequence[str]) -> list[Defect]:
    import difflib

    for name in names:
        if name not in catalogue.defects:
            near = difflib.get_close_matches(name, catalogue.defects, n=3) or sorted(catalogue.defects)
            raise click.UsageError(f"--only {name}: no such defect; near are {', '.join(near)}")
    return [one for name, one in catalogue.defects.items() if not names or name in names]


class _Trials:
    """What is tried, and what came of it so far."""

    def __init__(self, run: RunFolder, catalogue: Catalogue, chosen: Sequence[Defect], times: int) -> None:
        from harness.validate.trial import healthy_runs, left_out

        self._run = run
        self._catalogue = catalogue
        self._chosen = [one for one in chosen if one.run is not None]
        self._healthy_runs = healthy_runs(self._chosen) * times
        self._tried: dict[str, Tried] = {name: left_out(defect) for name, defect in catalogue.defects.items()}
        self._healthy: list[Healthy] = []

    def run(self, say: Callable[[str, int, int], None], at_once: int) -> None:
        """Try them, the healthy system first, so many at a time; an interruption ends those under way."""
        from harness.validate.trial import try_defect, try_healthy

        folder, stop = self._run.path / _RUNS, Event()

        def healthy(number: int, run: Load | Scenario) -> str:
            self._healthy.append(try_healthy(run, folder / f"healthy-{number}", stop))
            return f"healthy: {run}"

        def defective(defect: Defect) -> str:
            self._tried[defect.name] = found = try_defect(defect, self._catalogue, folder, stop)
            return f"{defect.name}: {found.outcome}"

        with ThreadPoolExecutor(at_once) as threads:
            trials = [threads.submit(healthy, *one) for one in enumerate(self._healthy_runs, start=1)]
            trials += [threads.submit(defective, one) for one in self._chosen]
            try:
                for done, trial in enumerate(as_completed(trials), start=1):
                    say(trial.result(), done, len(trials))
            except BaseException:  # Ctrl-C too: what runs is told to end, what waits never begins
                stop.set()
                threads.shutdown(cancel_futures=True)
                raise

    def validation(self, catalogue: str) -> Validation:
        """Return what came of them."""
        from harness.documents.validation import Validation
        from harness.history.run import utc_now

        about = self._run.read()
        return Validation(
            run=self._run.id,
            started_at=about.started_at or utc_now(),
            finished_at=utc_now(),
            catalogue=catalogue,
            tried=tuple(self._tried.values()),
            healthy=tuple(self._healthy),
            versions={name: str(version) for name, version in (about.versions or {}).items()},
            machine=about.machine or {},
        )


def _print(found: Validation) -> None:
    from rich.table import Table
    from rich.text import Text

    from harness import output
    from harness.report.validation import WORTH, complaints, summary
    from harness.report.words import MARKS, STYLES

    console = output.console()
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", "defect", "outcome"):
        table.add_column(heading, overflow="fold")
    table.add_column("s", justify="right", no_wrap=True)
    table.add_column("rows that failed", overflow="fold")
    for one in found.tried:
        if one.outcome != "left out":
            worth = WORTH[one.outcome]
            seconds = "" if one.seconds is None else f"{one.seconds:.0f}"
            mark = Text(MARKS[worth], style=STYLES[worth])
            table.add_row(mark, one.name, one.outcome, seconds, "; ".join(one.caught))
    console.print(table)
    console.print()
    for complaint in complaints(found):
        console.print(Text(f"- {complaint}"))
    console.print(Text(summary(found), style=STYLES[found.verdict]))
