"""Follows a run while it goes on and keeps its ``live.json`` up to date, at a bounded cost.

What goes on (window, faults, scenarios) is written each second. Judging costs more the longer the record
is: it is done each second as long as that takes no more than a tenth of the machine, else as seldom as
keeps it there. The process gives way to every other one, so that what is measured stays undisturbed.
"""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Final

from harness.documents.live import Figures, Live
from harness.documents.run import Run
from harness.files import DocumentError
from harness.history import HistoryError, HistoryReader, RunFolder, now_ns
from harness.limits import cores
from harness.live.document import Snapshot, judge_so_far, live_document, with_trails
from harness.live.file import write_live
from harness.report.scenarios import read_plan, read_scenarios
from harness.sla.policy import Policy, load_policy

log = logging.getLogger(__name__)

#: Judging may take this share of all cores.
SHARE: Final = 0.1

#: Between two looks at what is new.
LOOK_S: Final = 1.0


class Follower:
    """One run, followed from its begin to its end.

    Parameters
    ----------
    run : its folder.
    sla : the policy it is judged by; None: that of the project.
    profile : profile of the policy; None: the one that ``run.json`` names, if any.
    every_s : the least time between two judgements, in seconds.
    """

    def __init__(
        self, run: RunFolder, sla: Path | None = None, profile: str | None = None, every_s: float = LOOK_S
    ) -> None:
        self._run = run
        self._sla = sla
        self._profile = profile
        self._least_s = every_s
        self._every_s = every_s
        self._policy: Policy | None = None
        self._history = HistoryReader(run.history)
        self._broken: dict[Path, HistoryReader] = {}
        self._figures: Figures | None = None
        self._problem: str | None = None
        self._next_judgement = 0.0

    def follow(self, stop: threading.Event) -> None:
        """Look each second until ``stop`` is set or the folder is gone; then judge once more."""
        due = time.monotonic()
        while not stop.is_set() and self._run.path.is_dir():
            self.look()
            due = max(due + LOOK_S, time.monotonic())
            stop.wait(due - time.monotonic())
        if self._run.path.is_dir():
            self.look(ended=True)

    def look(self, *, ended: bool = False) -> Live | None:
        """Read what is new, judge if it is time to, write and return ``live.json``.

        None, and nothing is written: there is nothing to be read yet, or no room on the disk.
        """
        try:
            snapshot = self._snapshot(ended=ended)
        except (HistoryError, DocumentError, OSError) as error:
            self._say(str(error))
            return None
        if ended or time.monotonic() >= self._next_judgement:
            self._judge(snapshot)
        document = live_document(
            snapshot, self._figures, every_s=round(self._every_s, 1), problem=self._problem
        )
        try:
            write_live(self._run.path, document)
        except OSError as error:
            self._say(f"live.json: {error.strerror}")
            return None
        return document

    def _snapshot(self, *, ended: bool) -> Snapshot:
        about = self._run.read()
        at_ns = now_ns()
        self._find_broken()
        return Snapshot(
            run_id=self._run.id,
            at_ns=at_ns,
            about=about,
            history=self._history.look(),
            scenarios=read_scenarios(self._run),
            planned=_planned(self._run),
            broken={folder.name: reader.look() for folder, reader in self._broken.items()},
            ended=ended,
        )

    def _find_broken(self) -> None:
        """Follow the records into which failure scenarios write their faults, as long as these go on."""
        for about in self._run.path.glob("*/*/run.json"):
            folder = about.parent
            if RunFolder(folder).read().finished_at:
                self._broken.pop(folder, None)
            elif folder not in self._broken:
                self._broken[folder] = HistoryReader(folder / "history", "fault*.arrow")

    def _judge(self, snapshot: Snapshot) -> None:
        began_s = time.process_time()
        try:
            found = judge_so_far(snapshot, self._policy_of(snapshot.about))
            self._figures = with_trails(found, self._figures)
            self._problem = None
        except Exception as error:  # what it was shows in the view; the record and the report are not touched
            self._say(f"{type(error).__name__}: {error}")
        took_s = time.process_time() - began_s
        self._every_s = cadence_s(took_s, self._least_s)
        self._next_judgement = time.monotonic() + self._every_s - LOOK_S / 2

    def _policy_of(self, about: Run) -> Policy:
        if self._policy is None:
            policy = load_policy(self._sla)
            profile = self._profile or about.profile
            known = profile in policy.profiles
            self._policy = load_policy(self._sla, profile=profile) if known else policy
        return self._policy

    def _say(self, problem: str) -> None:
        if problem != self._problem:
            log.warning("%s", problem)
        self._problem = problem


def cadence_s(took_s: float, least_s: float = LOOK_S) -> float:
    """Return the time between two judgements that cost ``took_s`` of CPU each; all in seconds."""
    return max(least_s, took_s / (SHARE * cores()))


def _planned(run: RunFolder) -> int | None:
    try:
        return len(read_plan(run)) or None
    except DocumentError:  # the report says so
        return None
