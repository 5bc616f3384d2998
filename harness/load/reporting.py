"""What a run of the load says of itself: its command, what it was asked to be, and its verdict."""

from __future__ import annotations

import argparse
import logging
import os
from dataclasses import asdict
from typing import Any

from harness.history import RunFolder
from harness.history.command import command_line
from harness.history.witnesses import Doubt, Witness
from harness.load.origins import origins_of_ours
from harness.load_options import LoadOptions
from harness.output import Exit, plain
from harness.system import HasHealth, SqlWitness, System, Ticks
from harness.system.members import members_of
from harness.target import Action, Permission, Target

log = logging.getLogger(__name__)


def about_run(
    system: type[System],
    options: LoadOptions,
    permission: Permission,
    given: argparse.Namespace,
    *,
    alone: bool,
) -> dict[str, Any]:
    """Return what run.json says of a load before it begins.

    Parameters
    ----------
    alone : whether the run is this load and nothing else. Else run.json has the run's command already.
    """
    about: dict[str, Any] = {
        "system": {**system.entry(may_watch=Action.WATCH in permission), "members": members_of(system)},
        "options": asdict(options),
        "options_from": origins_of_ours(given),
        "target": permission.target.public(),
        "seed": options.seed,
        "interrupted": False,
    }
    if absent := absent_from_the_start(system, permission):
        about["absent"] = [doubt.entry() for doubt in absent]
    if profile := getattr(given, "profile", None):
        about["profile"] = profile
    if alone:
        about["command"] = repeating_command(options, permission.target, given)
    return about


def absent_from_the_start(system: type[System], permission: Permission) -> list[Doubt]:
    """Return what a run does without by choice, or because the system has no such thing."""
    absent = []
    if not issubclass(system, Ticks):
        absent.append(Doubt(Witness.CRON, f"no ticks of ours: {system.name} ticks by itself"))
    elif Action.TICK not in permission:
        reason = f"no ticks of ours: {Action.TICK.setting} does not name the target's address"
        absent.append(Doubt(Witness.CRON, reason))
    if not issubclass(system, HasHealth):
        absent.append(Doubt(Witness.HEALTH, f"no health probes: {system.name} does not tell its health"))
    if not (isinstance(system.witness, SqlWitness) and system.witness.tells_triggers):
        reason = f"nothing tells how long triggers take: the witness of {system.name} has no trigger_ms"
        absent.append(Doubt(Witness.TRIGGERS, reason))
    return absent


def doubts_from_the_start(
    system: type[System], permission: Permission, given: argparse.Namespace
) -> list[Doubt]:
    """Return what the record of a load will lack, whatever happens."""
    doubts = []
    if permission.target.database_url is None and system.witness.needs_database:
        reason = "no DATABASE_URL: transitions, triggers and the outbox were not read"
        doubts.append(Doubt(Witness.DATABASE, reason))
    if Action.TICK not in permission and "tick" not in origins_of_ours(given):
        reason = "how often the target's own cron ticks is not known: say it with --tick"
        doubts.append(Doubt(Witness.SCHEDULE, reason))
    return doubts


def repeating_command(options: LoadOptions, target: Target, given: argparse.Namespace) -> str:
    """Return the command that repeats the load, with all that was left to defaults or chance."""
    words = ["locust", "-f", given.locustfile, "--headless"]
    if target.origin != "embedded":
        words.append(f"--host={target.service_url}")
    if given.system is not None:
        words.append(f"--system={given.system}")
    if given.processes is not None:
        words.append(f"--processes={given.processes}")
    if given.anyway:
        words.append("--anyway")
    return command_line(words + options.words())


def judge(folder: RunFolder) -> int:
    """Write the reports of a finished run, show the objectives, and return the verdict's exit code."""
    from harness.report import write_reports
    from harness.report.gate import EXIT_CODES
    from harness.report.terminal import print_summary
    from harness.sla.policy import load_policy

    try:
        policy = load_policy()
        profile = folder.read().profile
        if profile in policy.profiles:
            policy = load_policy(profile=profile)
        document = write_reports(folder, policy)
    except Exception as error:  # whatever it is: the record is there to be judged later
        log.exception("%s: the report could not be written", folder.path)
        print(plain(f"no report: {error}; try `stormwatch report {os.path.relpath(folder.path)}`"))
        return Exit.NO_REPORT
    print_summary(document)
    print(f"report: {os.path.relpath(folder.path / 'report.html')}")
    return EXIT_CODES[document.verdict]
