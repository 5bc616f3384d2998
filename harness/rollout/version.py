"""A version under load: its testbed, its share of the items, and what its record tells so far."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from harness.documents.rollout import Checkpoint
from harness.experiment.setup import Setup
from harness.experiment.testbed import Testbed
from harness.faults import Deployment
from harness.history import HistoryReader, Row, create_run, now_ns
from harness.history.run import moment
from harness.judge.evidence import NS, Evidence
from harness.judge.judgement import Judgement
from harness.live.document import SETTLED_S
from harness.rollout.checkpoints import NONE_RAISED, checkpoints, judged_so_far
from harness.sla.policy import Policy
from harness.system import HasAlerts, System, Unreadable
from harness.target import Action, Permission
from harness.target.client import look
from harness.target.sessions import TROUBLE

#: Who tells of alerts, in the history.
_ALERTS: Final = "alerts"
_ANSWER_S: Final = 5.0


@dataclass(frozen=True)
class Place:
    """What a version is, and where.

    Parameters
    ----------
    called : the version in words.
    system : how it is driven.
    folder : another checkout, where its processes are started; None: where the system's file says.
    environment : further settings of its processes.
    permission : to load a deployment; None: it is started on a stack of our own.
    """

    called: str
    system: type[System]
    folder: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    permission: Permission | None = None


class _Loaded(Deployment):
    """A deployment that is loaded and not broken."""

    def __post_init__(self) -> None:
        self.permission.require(Action.LOAD)


class Version:
    """A version that runs, and players that go to it.

    Parameters
    ----------
    name : ``old`` or ``new``, the name of its run's folder.
    place : what it is.
    setup : the load, with as many items as all of the traffic has.
    items : how many may be under way at first.
    folder : of the rollout.

    Raises
    ------
    ProcessError
        It does not come up, or can't be played on.
    """

    def __init__(
        self, name: str, place: Place, setup: Setup, items: int, folder: Path, policy: Policy
    ) -> None:
        self.name = name
        self.place = place
        self._policy = policy
        self.run = create_run(folder, name, run_id=name)
        self.run.allow(items)
        on = None if place.permission is None else _Loaded(place.permission, place.system)
        self.testbed = Testbed(setup, self.run, policy, place.system, on=on)
        self._reader = HistoryReader(self.run.history)
        #: Since when it has traffic that counts, Unix ns; None: it has none.
        self.since_ns: int | None = None
        self._judged_ns = 0
        #: What was found at the last look, and has no time of its own, happened after this.
        self._no_sooner_ns = 0

    @property
    def url(self) -> str:
        return self.testbed.stack.target.service_url

    def allow(self, items: int) -> None:
        """Let so many items be under way; those that are go on to their end."""
        if items and self.since_ns is None:
            self.since_ns = now_ns()
        self.run.allow(items)

    def judge(self) -> Judgement | None:
        """Return what its record amounts to, as of a few seconds ago; None: it has had no traffic.

        Raises
        ------
        HistoryError, DocumentError, OSError
            The record can't be read.
        """
        to_ns = now_ns() - int(SETTLED_S * NS)
        if self.since_ns is None or to_ns <= self.since_ns:
            return None
        self._look_at_alerts()
        with suppress(*TROUBLE):  # a database that is away is told by the errors
            self.testbed.look_for_overdue()
        self.testbed.history.flush()
        found = judged_so_far(self._reader.look(), self.run.read(), self._policy, self.since_ns, to_ns)
        settled_ns = int(self._policy.tolerances.settle * NS)
        self._no_sooner_ns = max((self._judged_ns or self.since_ns) - settled_ns, self.since_ns)
        self._judged_ns = to_ns
        return found

    def checkpoints(self, found: Judgement | None, beside: Judgement | None = None) -> list[Checkpoint]:
        """Return what is known of each checkpoint; without traffic, nothing.

        Parameters
        ----------
        found : what :meth:`judge` returned last.
        beside : the same of the version beside it.
        """
        alerts = isinstance(self.testbed.system, HasAlerts)
        points = [] if found is None else checkpoints(found, beside, alerts=alerts)
        return [_dated(point, self._no_sooner_ns) for point in points]

    def served(self) -> tuple[int, int | None]:
        """Return how many items are under way, and when its players were served last, Unix ns."""
        evidence = self.testbed.evidence()
        moved, ends = evidence.transitions, self.testbed.system.lifecycle.ends
        over = moved.loc[moved["to"].isin(ends).to_numpy(bool), "game"]
        under_way = set(moved["game"]) - set(over) - {-1}
        return len(under_way), _last_ns(evidence)

    def _look_at_alerts(self) -> None:
        system, history = self.testbed.system, self.testbed.history
        if not isinstance(system, HasAlerts):
            return
        call, start_ns = system.alerts(), now_ns()
        try:
            status, body = look(
                call.method, f"{self.url}{call.path}", headers=call.headers, limit_s=_ANSWER_S
            )
            if status != 200:
                return  # whoever does not tell has not told that there is none
            raised = list(system.raised(body))
        except (ConnectionError, Unreadable):
            return  # that it does not answer is told by the errors
        for name in raised or [NONE_RAISED]:
            row = Row("alert", name, _ALERTS, start_ns=start_ns, end_ns=now_ns(), ok=not raised)
            history.append(row)


def _last_ns(evidence: Evidence) -> int | None:
    """When a player got the last answer, or an item moved for the last time."""
    ends = [evidence.rows("http")["end_ns"].max(), evidence.transitions["committed_ns"].max()]
    known = [int(end) for end in ends if end == end and end is not None]  # noqa: PLR0124 - NaN is not itself
    return max(known, default=None)


def _dated(point: Checkpoint, before_ns: int) -> Checkpoint:
    """Say of what broke without a time of its own that it did so after the look before."""
    if point.verdict != "fail" or point.bad_since is not None:
        return point
    return point.model_copy(update={"bad_since": moment(before_ns)})
