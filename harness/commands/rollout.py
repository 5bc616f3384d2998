"""`stormwatch rollout`: a new version beside the old one, step by step to all of the traffic, or back."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from harness.commands._errors import said_as
from harness.commands._json import json_option
from harness.commands._notify import notify_option, tell
from harness.commands._policy import policy_from
from harness.commands._progress import interruptible
from harness.commands._reports import reports_option
from harness.commands._system import local_option, system_option, use_system
from harness.files import make_folder, user_cache
from harness.output import Exit

if TYPE_CHECKING:
    from harness.documents.rollout import RolloutDocument
    from harness.history import RunFolder
    from harness.report.notices import NoticeSettings
    from harness.rollout.drive import Rollout
    from harness.rollout.version import Place
    from harness.sla.policy import Policy
    from harness.system import System
    from harness.target import Target

#: Of each outcome.
EXIT_CODES: Final = {"completed": 0, "rolled back": 1, "held": 3, "rollback failed": 5}
_PLAN: Final = (
    "a rollout: {games} items at a time are played on the old and the new version, in shares that rise",
    "afterwards: the items that were made are removed",
)


@click.command(
    name="rollout",
    epilog="Exit codes: 0 the new version serves all, 1 rolled back, 2 wrong usage or a version that does "
    "not come up, 3 held (not told in time, or both versions break a checkpoint), 4 the command itself "
    "failed, 5 the rollback failed, 130 interrupted and rolled back.",
)
@click.option(
    "--new",
    metavar="WHERE",
    help="The new version: a checkout's folder, in which its processes are started, or a system's file or "
    "class. Of a deployment: its address.",
)
@click.option(
    "--new-env",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A further setting of the new version's processes; may be given several times.",
)
@click.option(
    "--games",
    type=click.IntRange(4),
    default=160,
    show_default=True,
    help="Items at a time, of both versions together.",
)
@click.option("--players", type=click.IntRange(1), default=2, show_default=True, help="Players in each.")
@local_option
@click.option(
    "--hooks",
    is_flag=True,
    help="Run the policy's commands (split, rollback) on local stacks, too; on a deployment they always run.",
)
@click.option(
    "--sla", type=click.Path(dir_okay=False, path_type=Path), help="Policy with the steps: its [rollout]."
)
@click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Change a value of the policy.")
@reports_option("Where the rollout's folder is made.")
@notify_option
@json_option
@system_option
def command(
    *,
    new: str | None,
    settings: tuple[str, ...],
    games: int,
    players: int,
    local: bool,
    hooks: bool,
    sla: Path | None,
    changes: tuple[str, ...],
    reports: Path,
    notices: NoticeSettings,
    as_json: bool,
    system: str | None,
) -> None:
    """Give a new version more and more of the new items, as long as it keeps every checkpoint.

    The load splits the traffic, item by item, between the old version (the system, as it is named) and the
    new one beside it. Steps and checkpoints are those of [rollout] in the policy. A step is left as soon as
    each checkpoint is known to be kept; one that is broken by the new version and not by the old one takes
    all traffic back. Items that are under way stay with their version to their end.

    \b
      stormwatch rollout --new ../checkout-of-the-new-version
      stormwatch rollout --new-env RELAY_CONCURRENCY=64
      stormwatch rollout --new https://green.staging.example
    """
    from harness.experiment.setup import Setup
    from harness.files import DocumentError
    from harness.history import create_run
    from harness.rollout.checkpoints import untested
    from harness.rollout.drive import Rollout
    from harness.system import SystemFileError
    from harness.target import ConsentError, TargetError, forget_deployment

    use_system(system)
    policy = policy_from(sla, changes)
    if why := untested(policy):
        raise click.UsageError(why)
    if local:
        forget_deployment()
    with said_as(click.UsageError, SystemFileError, TargetError, ConsentError, DocumentError):
        old_place, new_place = _places(new, _named(settings), games)
        with _alone(old_place):
            run = create_run(reports.absolute(), "rollout", expects_load=False)
            setup = Setup(count=games, players=players)
            hooks = hooks or new_place.permission is not None
            rollout = Rollout(run, policy, old_place, new_place, setup, _say, hooks=hooks)
            found = _carried_out(rollout)
    _write(found, rollout, run, policy, as_json=as_json)
    _tell(found, run, notices)
    sys.exit(_exit_code(found))


def _exit_code(found: RolloutDocument) -> int:
    rolled_back = found.outcome == "rolled back"
    return Exit.INTERRUPTED if found.interrupted and rolled_back else EXIT_CODES[found.outcome]


def _named(settings: tuple[str, ...]) -> dict[str, str]:
    found = dict(one.partition("=")[::2] for one in settings)
    if wrong := next((one for one in settings if not one.partition("=")[1] or one.startswith("=")), None):
        raise click.UsageError(f"--new-env {wrong!r}: write NAME=VALUE")
    return found


def _places(new: str | None, settings: dict[str, str], games: int) -> tuple[Place, Place]:
    """Return the old version and the new one; that of a deployment once there is consent to both."""
    from harness.rollout.version import Place
    from harness.system import find_system
    from harness.target import Target, deployment_named

    system = find_system()
    if deployment_named():
        target = Target.from_environment()
        return _deployed(target, new, settings, system, games)
    if new is None and not settings:
        raise click.UsageError("nothing is new: name the new version by --new, or what is set by --new-env")
    old = Place(f"{system.name}, as its file starts it", system)
    told = ", ".join([new or system.name, *(f"{name}={value}" for name, value in settings.items())])
    if new is not None and "://" in new:
        raise click.UsageError(
            f"{new} is an address, and the environment names no deployment that is the old version"
        )
    if new is not None and Path(new).is_dir():
        return old, Place(told, system, Path(new).absolute(), settings)
    return old, Place(told, system if new is None else find_system(new), None, settings)


def _deployed(
    target: Target, new: str | None, settings: dict[str, str], system: type[System], games: int
) -> tuple[Place, Place]:
    from harness.rollout.version import Place
    from harness.target import Action, consent, see_that_it_is_an_address

    if new is None or settings or new.rstrip("/") == target.service_url.rstrip("/"):
        raise click.UsageError(
            f"the old version is the deployment {target.service_url}: --new takes the new one's address, "
            "or take --local for stacks of our own"
        )
    see_that_it_is_an_address("--new", new)
    plan = [line.format(games=games) for line in _PLAN]
    places = []
    for one in (target, dataclasses.replace(target, service_url=new.rstrip("/"))):
        permission = consent.ask(one, [Action.LOAD], plan, optional=[Action.TICK, Action.WATCH])
        places.append(Place(one.service_url, system, permission=permission))
    return places[0], places[1]


@contextmanager
def _alone(old: Place) -> Iterator[None]:
    """Refuse a second rollout of the same system while one goes on."""
    where = "local" if old.permission is None else old.called
    path = user_cache() / f"rollout-{re.sub(r'[^a-zA-Z0-9]+', '-', where)}.lock"
    make_folder(path.parent, exist_ok=True)
    with path.open("a", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            told = "on this machine" if old.permission is None else f"of {where}"
            raise click.UsageError(f"another rollout {told} goes on: wait for its end") from None
        yield


def _carried_out(rollout: Rollout) -> RolloutDocument:
    from harness.process import ProcessError

    try:
        with interruptible():
            return rollout.carry_out()
    except ProcessError as error:
        first = str(error).partition("\n")[0]
        raise click.UsageError(f"{first}; logs: {os.path.relpath(rollout.folder)}") from error


def _write(
    found: RolloutDocument, rollout: Rollout, run: RunFolder, policy: Policy, *, as_json: bool
) -> None:
    """Write the documents, and the pages of either version's run; tell what came of it."""
    from harness import output
    from harness.documents.rollout import NAME
    from harness.files import DocumentError, write_together
    from harness.history import HistoryError
    from harness.history.run import utc_now
    from harness.report import write_reports
    from harness.report.rollout import print_rollout, render_rollout

    run.update(finished_at=utc_now())
    write_together({run.path / NAME: found.text(), run.path / "rollout.md": render_rollout(found)})
    if as_json:
        click.echo(found.text(), nl=False)
    else:
        print_rollout(found, output.console())
    click.echo(f"rollout: {os.path.relpath(run.path / 'rollout.md')}", err=as_json)
    for version in rollout.runs:
        try:
            write_reports(version, policy)
            click.echo(f"{version.id}: {os.path.relpath(version.path / 'report.html')}", err=as_json)
        except (DocumentError, HistoryError, OSError) as error:  # it costs the outcome nothing
            click.echo(f"{version.id}: no report could be made: {error}", err=True)


def _tell(found: RolloutDocument, run: RunFolder, notices: NoticeSettings) -> None:
    """Tell the outcome, and why the step was not passed at which it ended."""
    from harness.report.gate import Row

    rows = [
        Row(
            "step",
            f"{step.share:.0%} of new items",
            "fail" if step.decision == "roll back" else "inconclusive",
            step.why,
        )
        for step in found.steps
        if step.decision != "go on"
    ]
    tell(found.outcome, rows, run.path / "rollout.md", notices, about=f"stormwatch rollout {run.id}")


def _say(line: str) -> None:
    click.echo(f"[{time.strftime('%H:%M:%S')}] {line}", err=True)
