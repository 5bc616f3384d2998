"""The steps of `stormwatch run`: play, break, judge."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from harness.commands._display import Display
from harness.documents.report import Report
from harness.documents.run import Window
from harness.experiment.child import Child
from harness.experiment.load import LoadProcess
from harness.experiment.results import account_for_missing
from harness.experiment.suite import ScenarioSuite, Selection
from harness.history import RunFolder
from harness.history.run import utc_now
from harness.history.witnesses import Doubt, Witness
from harness.live.process import LiveProcess
from harness.output import Exit
from harness.report import write_reports
from harness.sla.policy import Policy
from harness.system import find_system
from harness.system.beside import load_of
from harness.target import Permission

_POLL_S: Final = 0.25


class LoadRefusedError(Exception):
    """The load ended before anything was played; the message says why."""


def carry_out(
    run: RunFolder,
    permission: Permission | None,
    interrupted: Callable[[], bool],
    steps: Sequence[Callable[[Job], None]],
    policy: Policy,
    command: Callable[[int | str | None], str],
    *,
    sla: Path | None,
    leading: RunFolder | None = None,
) -> Report:
    """Do ``steps`` of a job while the display shows them, and judge what came of them.

    See :class:`Job` for the others; ``sla`` is the file of the policy, for the display.
    """
    with Display(run.path) as display:
        job = Job(run, permission, display, interrupted, leading)
        with LiveProcess(run, sla=sla, profile=str(run.read().profile), every_s=display.judged_every_s):
            for step in steps:
                step(job)
        return job.judge(policy, command)


class Job:
    """The main job in its steps.

    Parameters
    ----------
    run : folder that takes the record.
    permission : to load and break a deployment, handed on to those who do. None: they start stacks of
        their own.
    display : shows the steps.
    interrupted : tells whether somebody asked for an early end.
    leading : the folder that `latest` leads to; None: that of the run.
    """

    def __init__(
        self,
        run: RunFolder,
        permission: Permission | None,
        display: Display,
        interrupted: Callable[[], bool],
        leading: RunFolder | None = None,
    ) -> None:
        self._run = run
        self._leading = leading or run
        self._display = display
        self._interrupted = interrupted
        self._leads_here = False
        self._environment = {} if permission is None else permission.environment()

    def play(self, profile: Mapping[str, str], options: Sequence[str]) -> None:
        """Drive the load until it ends by itself, or until interrupted.

        Raises
        ------
        LoadRefusedError
            Nothing was played: what is wrong was found out before.
        """
        self._display.stage("set-up")
        environment = {**self._environment, **profile}
        with LoadProcess(self._run, environment, options, load_of(find_system())) as load:
            self._follow(load, lambda: self._show(load.windows))
            if load.exit_code == Exit.USAGE:
                raise LoadRefusedError(self._run.read().refused or load.last_words(1))
            if load.exit_code != 0:
                why = f"the load ended with {load.exit_code}: {load.last_words()}"
                self._run.doubt(Doubt(Witness.RUN, why))
                self._run.update(interrupted=True)

    def break_things(self, selection: Selection, workers: int | None) -> None:
        """Run the failure scenarios into the run's folder, unless interrupted."""
        if self._interrupted():
            return
        self._lead_here()
        self._display.stage("failures")
        with ScenarioSuite(self._run, selection, workers=workers, environment=self._environment) as suite:
            self._follow(suite, lambda: self._display.stage("failures", *suite.progress()))
            suite.check()

    def judge(self, policy: Policy, command: Callable[[int | str | None], str]) -> Report:
        """Write the reports and return the report.

        Parameters
        ----------
        command : returns the command that repeats the run with its seed, if it has one.
        """
        self._display.stage("report")
        interrupted = self._interrupted()
        if interrupted:
            self._run.update(interrupted=True)
        account_for_missing(self._run, interrupted=interrupted)
        self._run.update(finished_at=utc_now(), command=command(self._run.read().seed))
        document = write_reports(self._run, policy)
        self._leading.point_latest_here()
        return document

    def _follow(self, child: Child, show: Callable[[], None]) -> None:
        asked = False
        while child.exit_code is None:
            if not self._interrupted():
                show()
            elif not asked:
                asked = True
                self._display.stage("stopping")
                child.interrupt()
            time.sleep(_POLL_S)

    def _lead_here(self) -> None:
        """Have `latest` lead here as soon as something is sent: no older verdict is taken for this run's."""
        if not self._leads_here:
            self._leads_here = True
            self._leading.point_latest_here()

    def _show(self, windows: dict[str, Window]) -> None:
        if windows:
            self._lead_here()
        run = self._run.read()
        name = next((name for name in ("drain", "steady", "warm-up") if name in windows), "set-up")
        lasts = {"warm-up": None, "steady": run.option("duration_s"), "drain": run.option("drain_s")}
        if name == "set-up":
            self._display.stage(name)
        else:
            self._display.stage(name, time.time() - windows[name].start_ns / 1e9, lasts[name])
