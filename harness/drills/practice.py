"""A drill is one experiment or several, in a run of its own: recorded, judged and reported as any other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import NamedTuple

from harness.documents.report import Report
from harness.experiment import Experiment, Testbeds
from harness.experiment.suite import write_plan
from harness.history import RunFolder
from harness.history.run import utc_now
from harness.report import write_reports
from harness.sla.policy import Policy
from harness.system import System


class Exercise(NamedTuple):
    """One part of a drill: its title in one line, and what is done."""

    title: str
    play: Callable[[Experiment], None]


def practise(
    run: RunFolder, policy: Policy, system: type[System], exercises: Mapping[str, Exercise], command: str
) -> Report:
    """Carry out the exercises one after the other, by their names, and report what came of them.

    What goes wrong ends the exercise that it goes wrong in; Ctrl-C ends the drill.

    Parameters
    ----------
    run : takes the record and the reports.
    command : repeats the drill.
    """
    about = {name: {"id": name, "title": one.title, "command": command} for name, one in exercises.items()}
    write_plan(run, list(about.values()))
    with closing(Testbeds(run.path / "testbeds", policy, system)) as testbeds:
        for name, exercise in exercises.items():
            subject = Experiment(session=run.path, testbeds=testbeds, policy=policy, **about[name])
            since = time.monotonic()
            try:
                exercise.play(subject)
            except BaseException as error:
                subject.conclude(error, time.monotonic() - since)
                # pytest's way to skip what can't be had derives from neither.
                if isinstance(error, KeyboardInterrupt | SystemExit):
                    raise
            else:
                subject.conclude(None, time.monotonic() - since)
    run.update(finished_at=utc_now(), interrupted=False)
    report = write_reports(run, policy)
    run.point_latest_here()
    return report
