"""`stormwatch run`: the main job. Load, failures, report, gate."""

from __future__ import annotations

import difflib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from harness.commands._errors import NoReportError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from harness.documents.report import Report
    from harness.experiment.child import Child
    from harness.experiment.suite import Selection
    from harness.history import RunFolder
    from harness.live.process import LiveProcess
    from harness.sla.policy import Policy, Profile
    from harness.target import Permission

_DEFAULT_PROFILE: Final = "quick"
_POLL_S: Final = 0.25
#: Where there is no terminal to draw on, how often a line tells of the objectives so far.
_LINE_EVERY_S: Final = 15.0
#: What shells say of a process that Ctrl-C ended.
_GIVEN_UP: Final = 130


class _RunCommand(click.Command):
    """Names the nearest right option, and says where those of the load go: a report advises some."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            own = {name for option in self.params for name in (*option.opts, *option.secondary_opts)}
            raise click.UsageError(_what_was_meant(error.option_name, own), ctx) from error


def _what_was_meant(name: str, own: set[str]) -> str:
    """Return what to tell whoever gave an option that is none of our ``own``."""
    from harness.experiment.load import load_option_names

    of_load = load_option_names()
    near = difflib.get_close_matches(name, sorted(own | of_load), n=1)
    told = f"No such option {name!r}."
    if name not in of_load and near:
        told += f" Did you mean {near[0]!r}?"
    if not near or near[0] not in own:
        where = near[0] if near else name
        told += f" The load's options go after `--`: stormwatch run -- {where} ..."
    return told


@click.command(
    name="run",
    cls=_RunCommand,
    context_settings={"ignore_unknown_options": False},
    epilog="Exit codes: 0 pass, 1 fail, 2 wrong usage, 3 inconclusive, 4 no report could be made. "
    "Ctrl-C ends the run early and still writes the report of what was seen (inconclusive).",
)
@click.option(
    "--profile",
    default=_DEFAULT_PROFILE,
    show_default=True,
    help="How to run: a profile of the policy (options of the load, tolerances).",
)
@click.option(
    "--sla",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Policy to judge by. [default: scenarios/sla.toml]",
)
@click.option(
    "--reports",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="STORMWATCH_REPORTS",
    default=Path("reports"),
    show_default=True,
    help="Where the run's folder is made.",
)
@click.option(
    "--local", is_flag=True, help="Run on local stacks, whatever the environment says (SUPABASE_URL ...)."
)
@click.option("--load/--no-load", "with_load", default=True, help="Drive concurrent games. [default: load]")
@click.option(
    "--failures/--no-failures",
    "with_failures",
    default=True,
    help="Run the failure scenarios. [default: failures]",
)
@click.option(
    "--scenarios",
    type=click.Choice(["main", "all"]),
    default="main",
    show_default=True,
    help="Failure scenarios to run: those marked `main` (about a minute), or all of them.",
)
@click.option(
    "-k", "expression", metavar="EXPR", help='Failure scenarios to run, as pytest -k ("pubnub and not flap").'
)
@click.option(
    "--workers",
    type=click.IntRange(1, 16),
    default=2,
    show_default=True,
    help="Failure scenarios at a time, each with a stack of its own.",
)
@click.option(
    "--gate/--no-gate",
    "with_gate",
    default=True,
    help="Exit by the verdict; without it 0 whenever a report was made. [default: gate]",
)
@click.argument("load_options", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(
    context: click.Context,
    *,
    profile: str,
    sla: Path | None,
    reports: Path,
    local: bool,
    with_load: bool,
    with_failures: bool,
    scenarios: str,
    expression: str | None,
    workers: int,
    with_gate: bool,
    load_options: tuple[str, ...],
) -> None:
    """Play concurrent games, then break things on purpose, judge the record and exit by the verdict.

    Runs on local stacks of its own, or on the deployment that the environment names (SUPABASE_URL and the
    rest; see the README), after it said what it will do there and found consent that names its address:
    STORMWATCH_MAY_LOAD, STORMWATCH_MAY_BREAK for the failure scenarios, STORMWATCH_MAY_TICK for ticks.
    What follows `--` goes to the load:

    While it goes on, the terminal shows the objectives so far, their intervals and what is broken now,
    each second; in a log it is a line each 15 s.

    \b
      stormwatch run
      stormwatch run -- --games 50 --run-time 60s
      stormwatch run --no-load -k pubnub
      stormwatch run -- --help             the load's options
    """
    from harness.experiment.suite import Selection, SelectionError, see_that_some_match
    from harness.files import DocumentError
    from harness.history import HistoryError, RunFolderError, create_run
    from harness.live.process import LiveProcess
    from harness.load.origins import hand_over
    from harness.process import ProcessError
    from harness.report.gate import EXIT_CODES
    from harness.report.terminal import print_summary
    from harness.sla.policy import PolicyError, load_policy
    from harness.target import ConsentError, TargetError, forget_deployment

    if not (with_load or with_failures):
        raise click.UsageError("--no-load and --no-failures leave nothing to do")
    selection = Selection(None if scenarios == "all" else scenarios, expression)
    try:
        policy = load_policy(sla, profile=profile)
        if with_failures:
            see_that_some_match(selection)
        if local:
            forget_deployment()
        plan = _check(load_options, policy.profiles[profile], with_load=with_load)
        permission = _consent(plan, with_failures=with_failures)
        run = create_run(
            reports.absolute(),
            "sla",
            profile=profile,
            interrupted=False,
            expects_load=with_load,
            expects_scenarios=with_failures,
            command=_again(context, None),
        )
    except (PolicyError, RunFolderError, SelectionError, TargetError, ConsentError) as error:
        raise click.UsageError(str(error)) from error

    job = _Job(run, policy, permission)
    job.again = partial(_again, context)
    try:
        with _interruptible() as job.interrupted, _Display(run.path) as job.display:
            every_s = job.display.judged_every_s
            with LiveProcess(run, sla=sla, profile=profile, every_s=every_s) as job.live:
                if with_load:
                    job.play(hand_over(profile, policy.profiles[profile].options), load_options)
                if with_failures and not job.interrupted():
                    job.break_things(selection, workers)
            document = job.judge()
    except (ProcessError, HistoryError, DocumentError, RunFolderError, OSError) as error:
        raise NoReportError(f"{error}; what was recorded lies in {run.path}") from error
    except KeyboardInterrupt:
        click.echo(f"given up; what was recorded lies in {run.path}", err=True)
        sys.exit(_GIVEN_UP)
    print_summary(document)
    click.echo(f"report: {os.path.relpath(run.path / 'report.html')}")
    sys.exit(EXIT_CODES[document.verdict] if with_gate else 0)


def _check(options: Sequence[str], profile: Profile, *, with_load: bool) -> list[str]:
    """Return what the load will do, a line each; show its help instead if the options ask for it.

    Raises
    ------
    click.UsageError
        The load can't take its options: nothing has started yet.
    """
    from harness.experiment.load import LoadOptionsError, check_load_options
    from harness.load.origins import hand_over

    if options and not with_load:
        raise click.UsageError(f"--no-load leaves nobody to take {' '.join(options)}")
    if not with_load:
        return []
    try:
        told = check_load_options(options, hand_over("", profile.options))
    except LoadOptionsError as error:
        raise click.UsageError(f"{error}; `stormwatch run -- --help` lists the load's options") from error
    if {"-h", "--help"} & set(options):
        click.echo(told)
        sys.exit(0)
    return told.splitlines()


def _consent(plan: list[str], *, with_failures: bool) -> Permission | None:
    """Return the permission to do all of the job to the deployment that the environment names.

    None: it names none; all takes place on stacks of our own.

    Raises
    ------
    TargetError, ConsentError
        It is named by halves, or nobody consented.
    """
    from harness.target import Action, Target, consent, deployment_named

    if not deployment_named():
        return None
    actions = [Action.LOAD]
    if with_failures:
        from harness.experiment.testbed import PLAN

        plan = [*plan, *PLAN]
        actions.append(Action.BREAK)
    return consent.ask(Target.from_environment(), actions, plan, optional=[Action.TICK])


def _again(context: click.Context, seed: int | None) -> str:
    """Return the command that does a run again, with the seed that was drawn for its load."""
    from harness.history.command import command_line, with_seed

    words = ["stormwatch", "run"]
    for option in context.command.params:
        if not isinstance(option, click.Option) or option.name is None:
            continue
        if context.get_parameter_source(option.name) is not ParameterSource.COMMANDLINE:
            continue
        value = context.params[option.name]
        if isinstance(value, bool):
            words.append(option.opts[0] if value else option.secondary_opts[0])
        else:
            words += [option.opts[0], str(value)]
    load_options = with_seed(context.params["load_options"], seed)
    return command_line([*words, *(["--", *load_options] if load_options else [])])


class _Job:
    """The main job in its steps: play, break, judge."""

    display: _Display
    live: LiveProcess
    #: Whether somebody asked for an early end.
    interrupted: Callable[[], bool]
    #: The command that does it again with a seed.
    again: Callable[[int | None], str]

    def __init__(self, run: RunFolder, policy: Policy, permission: Permission | None) -> None:
        self._run = run
        self._policy = policy
        self._leads_here = False
        #: To load and break a deployment, handed on to those who do; None: they start stacks of their own.
        self._environment = {} if permission is None else permission.environment()

    def play(self, profile: dict[str, str], options: Sequence[str]) -> None:
        """Drive the load until it ends by itself, or until interrupted."""
        from harness.experiment.load import LoadProcess
        from harness.history.witnesses import Doubt, Witness

        self.display.stage("set-up")
        with LoadProcess(self._run, self._environment | profile, options) as load:
            self._follow(load, lambda: self._show(load.windows))
            if load.exit_code == click.UsageError.exit_code:
                # Nothing was played: what is wrong was found out before.
                why = load.last_words(1)
                self.live.kill()
                shutil.rmtree(self._run.path)
                raise click.UsageError(why)
            if load.exit_code != 0:
                why = f"the load ended with {load.exit_code}: {load.last_words()}"
                self._run.doubt(Doubt(Witness.RUN, why))
                self._run.update(interrupted=True)

    def break_things(self, selection: Selection, workers: int) -> None:
        """Run the failure scenarios into the run's folder."""
        from harness.experiment.suite import ScenarioSuite

        self._lead_here()
        self.display.stage("failures")
        with ScenarioSuite(self._run, selection, workers=workers, environment=self._environment) as suite:
            self._follow(suite, lambda: self.display.stage("failures", *suite.progress()))
            suite.check()

    def judge(self) -> Report:
        """Write the reports and return the report."""
        from harness.experiment.suite import account_for_missing
        from harness.history.run import utc_now
        from harness.report import write_reports

        self.display.stage("report")
        if self.interrupted():
            self._run.update(interrupted=True)
        account_for_missing(self._run, interrupted=self.interrupted())
        self._run.update(finished_at=utc_now(), command=self.again(self._run.read().get("seed")))
        document = write_reports(self._run, self._policy)
        self._run.point_latest_here()
        return document

    def _follow(self, child: Child, show: Callable[[], None]) -> None:
        asked = False
        while child.exit_code is None:
            if not self.interrupted():
                show()
            elif not asked:
                asked = True
                self.display.stage("stopping")
                child.interrupt()
            time.sleep(_POLL_S)

    def _lead_here(self) -> None:
        """Have `latest` lead here as soon as something is sent: no older verdict is taken for this run's."""
        if not self._leads_here:
            self._leads_here = True
            self._run.point_latest_here()

    def _show(self, windows: dict[str, dict[str, Any]]) -> None:
        if windows:
            self._lead_here()
        options = self._run.read().get("options", {})
        name = next((name for name in ("drain", "steady", "warm-up") if name in windows), "set-up")
        lasts = {"warm-up": None, "steady": options.get("duration_s"), "drain": options.get("drain_s")}
        if name == "set-up":
            self.display.stage(name)
        else:
            self.display.stage(name, time.time() - windows[name]["start_ns"] / 1e9, lasts[name])


_TITLES: Final = {
    "set-up": "getting the target ready",
    "warm-up": "warming up: games join in waves (not judged)",
    "steady": "steady load: concurrent games (judged)",
    "drain": "draining: last games end, last events arrive (not judged)",
    "failures": "failure scenarios: breaking PubNub and the database",
    "stopping": "interrupted: ending early, the report is still written (Ctrl-C again to give up)",
    "report": "judging the record",
}


class _Display:
    """Tells what is going on, how long it will take and how the objectives stand.

    On a terminal bars and a table, drawn anew each second; else a line a stage, and one now and then.

    Parameters
    ----------
    run : the run's folder, whose ``live.json`` is shown.
    console : where; None: stderr.
    """

    def __init__(self, run: Path, console: Console | None = None) -> None:
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        from harness import output

        self._run = run
        self._console = console or output.console(stderr=True)
        self._stage: str | None = None
        self._task: Any = None
        self._next_line = time.monotonic() + _LINE_EVERY_S
        # Never started by itself: it is drawn as a part of the view.
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[done]}"),
            TimeElapsedColumn(),
            console=self._console,
        )
        self._view = Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=2,
            vertical_overflow="crop",
        )

    @property
    def judged_every_s(self) -> float:
        """How often the objectives need to be judged to be shown; in seconds."""
        return 1.0 if self._console.is_interactive else _LINE_EVERY_S

    def __enter__(self) -> _Display:
        if self._console.is_interactive:
            self._view.start()
        return self

    def __exit__(self, *_: object) -> None:
        # What is left on the screen are the stages: the summary of the report comes below.
        self._end_stage()
        if self._console.is_interactive:
            self._view.stop()

    def stage(self, name: str, done: float | None = None, total: float | None = None) -> None:
        """Show that the run is in stage ``name``, ``done`` of ``total`` (seconds, or scenarios) through."""
        if name != self._stage:
            self._end_stage()
            self._stage = name
            if not self._console.is_interactive:
                self._say(_TITLES[name])
            self._task = self._progress.add_task(_TITLES[name], total=total, done="")
        if done is not None and total:
            unit = "" if name == "failures" else " s"
            text = f"{min(done, total):.0f} of {total:.0f}{unit}"
            self._progress.update(self._task, completed=min(done, total), total=total, done=text)
        if not self._console.is_interactive and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_EVERY_S
            self._tell()

    def _draw(self) -> RenderableType:
        from rich.console import Group

        from harness.live.file import read_live
        from harness.live.terminal import render

        document = None if self._stage in {None, "report"} else read_live(self._run)
        if document is None:
            return self._progress
        return Group(self._progress, render(document, time.time()))

    def _tell(self) -> None:
        from harness.live.file import read_live
        from harness.live.terminal import one_line

        document = read_live(self._run)
        if document is not None and document["begun"]:
            self._say(f"  {one_line(document)}")

    def _say(self, text: str) -> None:
        self._console.print(f"[{time.strftime('%H:%M:%S')}] {text}", markup=False, soft_wrap=True)

    def _end_stage(self) -> None:
        if self._stage is not None:
            self._progress.update(self._task, total=1, completed=1)
            self._stage = None


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a question to ask; the second one raises KeyboardInterrupt."""
    asked = False

    def ask(_signal: int, _frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
