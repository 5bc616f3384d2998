"""`stormwatch run`: the main job. Load, failures, report, gate."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Final

import click
from click.core import ParameterSource

from harness.commands._errors import NoReportError, said_as
from harness.commands._json import json_option, print_json
from harness.commands._notify import notify_option, tell_of
from harness.commands._reports import reports_option
from harness.commands._run_options import RunCommand, collector, own_options
from harness.commands._system import local_option, system_option, use_system
from harness.output import Exit

if TYPE_CHECKING:
    from harness.documents.report import Report
    from harness.history import RunFolder
    from harness.report.notices import NoticeSettings
    from harness.target import Permission

_DEFAULT_PROFILE: Final = "quick"


@click.command(
    name="run",
    cls=RunCommand,
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
@system_option
@click.option(
    "--sla",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Policy to judge by. [default: STORMWATCH_SLA, else the one beside the system's file, else an "
    "example]",
)
@reports_option("Where the run's folder is made.")
@local_option
@click.option("--load/--no-load", "with_load", default=True, help="Drive the load. [default: load]")
@click.option(
    "--failures/--no-failures",
    "with_failures",
    default=None,
    help="Run the failure scenarios. [default: as the profile says, else failures]",
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
    "--parts",
    type=click.IntRange(1, 1000),
    help="Play the load so often on one stack: each part is judged, and the whole. [default: as the profile]",
)
@click.option(
    "--prometheus",
    metavar="[HOST:]PORT",
    help="Serve the objectives so far, verdicts and faults to Prometheus there. [host: 127.0.0.1]",
)
@click.option(
    "--otlp",
    metavar="URL",
    callback=collector,
    help="Send the report to an OpenTelemetry collector at the end: spans and metrics (http://127.0.0.1:4318).",
)
@click.option("--list", "only_list", is_flag=True, help="List the failure scenarios that would run, no more.")
@click.option(
    "--workers",
    type=click.IntRange(1, 16),
    help="Failure scenarios at a time, each with a stack of its own. [default: as many as the cores carry]",
)
@click.option(
    "--gate/--no-gate",
    "with_gate",
    default=True,
    help="Exit by the verdict; without it 0 whenever a report was made. [default: gate]",
)
@json_option
@notify_option
@click.argument("load_options", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def command(
    context: click.Context,
    *,
    profile: str,
    system: str | None,
    sla: Path | None,
    reports: Path,
    local: bool,
    with_load: bool,
    with_failures: bool | None,
    scenarios: str,
    expression: str | None,
    workers: int | None,
    with_gate: bool,
    parts: int | None,
    prometheus: str | None,
    otlp: str | None,
    only_list: bool,
    as_json: bool,
    notices: NoticeSettings,
    load_options: tuple[str, ...],
) -> None:
    """Put the system under load, then break things on purpose, judge the record and exit by the verdict.

    Runs on local stacks of its own, or on the deployment that the environment names (SUPABASE_URL and the
    rest; see the README), after it said what it will do there and found consent that names its address:
    STORMWATCH_MAY_LOAD, STORMWATCH_MAY_BREAK for the failure scenarios, STORMWATCH_MAY_TICK for ticks.

    While it goes on, the terminal shows the objectives so far, their intervals and what is broken now,
    each second; in a log it is a line each 15 s. What follows `--` goes to the load:

    \b
      stormwatch run
      stormwatch run -- --games 50 --run-time 60s
      stormwatch run --no-load -k pubnub
      stormwatch run --system auction.py
      stormwatch run -- --help             the load's options
    """
    from harness.commands._job import carry_out
    from harness.commands._parts import play_in_parts
    from harness.experiment.suite import Selection, SelectionError, listed, see_that_some_match
    from harness.files import DocumentError
    from harness.history import create_run
    from harness.live.file import read_live
    from harness.live.prometheus import MetricsRefused, served
    from harness.load.origins import hand_over
    from harness.report.gate import EXIT_CODES
    from harness.sla.policy import PolicyError, load_policy
    from harness.target import ConsentError, TargetError, forget_deployment

    if not with_load and with_failures is False:
        raise click.UsageError("--no-load and --no-failures leave nothing to do")
    use_system(system)
    selection = Selection(None if scenarios == "all" else scenarios, expression)
    refused = (PolicyError, DocumentError, SelectionError, TargetError, ConsentError, MetricsRefused)
    with said_as(click.UsageError, *refused):
        if only_list:
            _tell(listed(selection), as_json=as_json)
            return
        policy = load_policy(sla, profile=profile)
        if with_failures is None:
            with_failures = policy.profiles[profile].failures or _asks_for_failures(context)
        _make_known(sla)
        if with_failures:
            see_that_some_match(selection)
        if local:
            forget_deployment()
        load_profile = policy.profiles[profile].options
        count = _count(parts or policy.profiles[profile].parts, with_load, with_failures)
        plan = _check(load_options, load_profile) if with_load else _see_that_none_are_given(load_options)
        permission = _consent(plan, with_failures=with_failures)
        shown: list[Path] = []
        context.with_resource(served(prometheus, lambda: read_live(shown[-1]) if shown else None))
        run = create_run(
            reports.absolute(),
            "sla",
            profile=profile,
            interrupted=False,
            expects_load=with_load,
            expects_scenarios=with_failures,
            command=_repeating(context, None),
        )
        shown.append(run.path)
    with _record_named(run), _interruptible() as interrupted:
        if count > 1:
            document = play_in_parts(
                run,
                policy,
                count,
                permission=permission,
                interrupted=interrupted,
                profile=(profile, hand_over(profile, load_profile)),
                options=load_options,
                sla=sla,
                command=_repeating(context, None),
                began=shown.append,
            )
        else:
            steps = [lambda job: job.play(hand_over(profile, load_profile), load_options)] * with_load
            steps += [lambda job: job.break_things(selection, workers)] * with_failures
            repeating = partial(_repeating, context)
            document = carry_out(run, permission, interrupted, steps, policy, repeating, sla=sla)
    _print(document, run, as_json=as_json, with_gate=with_gate)
    if otlp:
        _send(document, otlp)
    tell_of(document, run.path, notices, command="run")
    sys.exit(EXIT_CODES[document.verdict] if with_gate else 0)


def _count(parts: int, with_load: bool, with_failures: bool) -> int:
    """Return in how many parts the load is played."""
    if parts > 1 and with_failures:
        raise click.UsageError(f"a run in {parts} parts has no failure scenarios: add --no-failures")
    return parts if with_load else 1


def _send(document: Report, collector: str) -> None:
    """Send a report to a collector. That it can't be sent is said; the exit code is the verdict's."""
    from harness.report.otlp import OtlpError, send

    try:
        send(document, collector)
    except OtlpError as error:
        click.echo(str(error), err=True)


def _make_known(sla: Path | None) -> None:
    """Have failure scenarios judged by the policy that was named, too; say so if an example judges."""
    from harness.sla.policy import EXAMPLE_POLICY, SETTING

    if sla:
        os.environ[SETTING] = str(sla.absolute())
    elif os.environ.get(SETTING) == str(EXAMPLE_POLICY):
        click.echo(
            "no policy lies beside the system's file: an example judges, whose promises nobody made; "
            "`stormwatch init` writes one to begin with, --sla names another",
            err=True,
        )


def _print(report: Report, run: RunFolder, *, as_json: bool, with_gate: bool) -> None:
    from harness.report.terminal import print_summary

    if as_json:
        click.echo(report.text(), nl=False)
        return
    print_summary(report)
    click.echo(f"report: {os.path.relpath(run.path / 'report.html')}")
    if with_gate and report.verdict == "inconclusive":
        click.echo(
            "exit code 3, neither pass nor fail: each row marked ? says why, and what would decide it; "
            "close what else uses the machine, or give the run more time (-- --duration 5min)"
        )


def _tell(scenarios: Sequence[tuple[str, str]], *, as_json: bool) -> None:
    """Print name and title of each scenario."""
    if as_json:
        print_json([{"name": name, "title": title} for name, title in scenarios])
    else:
        click.echo("\n".join(f"{name}  {title}" for name, title in scenarios))


@contextmanager
def _record_named(run: RunFolder) -> Iterator[None]:
    """Say of what goes wrong where the record lies; the folder of a load that was refused goes."""
    from harness.commands._job import LoadRefusedError
    from harness.files import DocumentError
    from harness.history import HistoryError
    from harness.process import ProcessError

    try:
        yield
    except LoadRefusedError as error:
        shutil.rmtree(run.path)
        raise click.UsageError(str(error)) from error
    except (ProcessError, HistoryError, DocumentError, OSError) as error:
        raise NoReportError(f"{error}; what was recorded lies in {run.path}") from error
    except KeyboardInterrupt:
        click.echo(f"given up; what was recorded lies in {run.path}", err=True)
        sys.exit(Exit.INTERRUPTED)


def _asks_for_failures(context: click.Context) -> bool:
    """Return whether what else is asked for needs failure scenarios, whatever the profile says."""
    sources = {context.get_parameter_source(name) for name in ("scenarios", "expression", "workers")}
    return sources != {ParameterSource.DEFAULT} or not context.params["with_load"]


def _see_that_none_are_given(options: Sequence[str]) -> list[str]:
    if options:
        raise click.UsageError(f"--no-load leaves nothing to take {' '.join(options)}")
    return []


def _check(options: Sequence[str], profile: Mapping[str, Any]) -> list[str]:
    """Return what the load will do, a line each; show its help instead if the options ask for it.

    Parameters
    ----------
    profile : options of the load that the profile sets.

    Raises
    ------
    click.UsageError
        The load can't take its options: nothing has started yet.
    """
    from harness.experiment.load import LoadOptionsError, check_load_options
    from harness.load.origins import hand_over

    try:
        told = check_load_options(options, hand_over("", profile))
    except LoadOptionsError as error:
        misplaced = [word for word in options if word.partition("=")[0] in own_options(command)]
        way_out = (
            f"{misplaced[0]} stands before `--`: it is no option of the load"
            if misplaced
            else "`stormwatch run -- --help` lists the load's options"
        )
        raise click.UsageError(f"{error}; {way_out}") from error
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
        from harness.experiment.setup import PLAN

        plan = [*plan, *PLAN]
        actions.append(Action.BREAK)
    return consent.ask(Target.from_environment(), actions, plan, optional=[Action.TICK, Action.WATCH])


def _repeating(context: click.Context, seed: int | None) -> str:
    """Return the command that repeats a run, with the seed that was drawn for its load."""
    from harness.commands._settings import ONCE
    from harness.history.command import command_line, with_seed

    words = ["stormwatch", "run"]
    for option in context.command.params:
        if not isinstance(option, click.Option) or option.name is None:
            continue
        source = context.get_parameter_source(option.name)
        if source not in {ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP} or option.name in ONCE:
            continue
        value = context.params[option.name]
        if isinstance(value, bool):
            words += option.opts[:1] if value else option.secondary_opts[:1]
        else:
            words += [option.opts[0], str(value)]
    load_options = with_seed(context.params["load_options"], seed)
    return command_line([*words, *(["--", *load_options] if load_options else [])])


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
