"""Disaster recovery: the database is lost in the middle of play, and comes back from a backup."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import ClassVar, Final

import pandas as pd

from harness.documents.rows import Finding
from harness.experiment import ExpectationsFailed, Experiment
from harness.faults import Exercised, Fault, FaultTarget, MissingPartError
from harness.faults.steps import timed
from harness.history import HistoryWriter, Row, now_ns
from harness.history.names import Actor, Reading
from harness.history.row import unix_ns
from harness.judge import Evidence, Window
from harness.judge.evidence import NS
from harness.judge.findings import compare, examples_of, none_of, unseen
from harness.stack import Stack, StackError
from harness.stack.backup import Backup, archiving
from harness.system import SqlWitness
from harness.system.processes import Part
from harness.target.sessions import TROUBLE, Who, open_session

_ANSWER_LIMIT_S: Final = 10.0
_HEARD: Final = ["game", "actor", "event", "end_ns", "target"]


def recover(experiment: Experiment, *, games: int, players: int, archive_s: int) -> None:
    """Lose the database while games are played, and bring it back from a base backup and a WAL archive.

    Parameters
    ----------
    games, players : how many are played at once, with how many players each.
    archive_s : what is new in the WAL is archived so often, in seconds.

    Raises
    ------
    ExpectationsFailed, Inconclusive
        What was expected did not hold, or nothing can be told.
    """
    fault = DatabaseLost()
    with experiment.games(
        games, players=players, extensions=False, postgres=archiving(archive_s), needs=[fault], alone=True
    ) as stack:
        backup_of(stack).take()
        experiment.steady()
        experiment.inject(fault, None, *SHOWN)
        experiment.recovered()


class RestoreError(ExpectationsFailed):
    """The backup can't be restored: what a drill is there to find out."""


def backup_of(on: FaultTarget) -> Backup:
    """Return the backup of a stack's database.

    Raises
    ------
    MissingPartError
        It is no stack of ours.
    """
    if not isinstance(on, Stack) or on.postgres is None:
        raise MissingPartError("the database is not within reach: only one of our own stack is lost")
    return Backup(on.postgres)


@dataclass(frozen=True)
class DatabaseLost(Fault):
    """Kill the database, remove its data, and bring it back from its backup.

    It is brought back where all goes well meanwhile only: else its stack is given up.
    """

    target: str = "postgres"

    place: ClassVar[str] = "database"
    name: ClassVar[str] = "lost"

    STEPS: ClassVar[tuple[str, ...]] = ("1 copy the base backup back", "2 replay the archive")

    @property
    def parts(self) -> frozenset[Part]:
        return frozenset({"postgres"})

    def applied(self, on: FaultTarget) -> AbstractContextManager[Exercised]:
        return self.observed(on, None)

    @contextmanager
    def observed(self, on: FaultTarget, history: HistoryWriter | None) -> Iterator[Exercised]:
        backup, witness = backup_of(on), on.system.witness
        if not isinstance(witness, SqlWitness):
            raise MissingPartError(
                f"{self}: {on.system.name} has no log of its moves (SqlWitness): nobody can tell what is lost"
            )
        with self.named():
            lost_ns = backup.lose()
        yield lambda: None
        copy, replay = self.STEPS
        try:
            with timed(history, copy):
                backup.bring_back()
            with timed(history, replay):
                backup.replay()
        except StackError as error:
            # The end of its log says why.
            why = " ".join(line.strip() for line in str(error).splitlines()[-3:])
            raise RestoreError(
                f"the backup can't be restored: {why}; what remains: the service runs without a database, "
                "and its data are gone; all of that was the drill's and is removed",
                ["the backup is restored"],
            ) from error
        back_ns = now_ns()
        if history is not None:
            for row in asyncio.run(_survivors(on, witness)):
                history.append(row)
            told = Row("resource", Reading.DATABASE_LOST, Actor.DATABASE, start_ns=lost_ns, end_ns=back_ns)
            history.append(told)


async def _survivors(on: FaultTarget, witness: SqlWitness) -> list[Row]:
    """Return a row for each move and event that the database still has, whoever's.

    Raises
    ------
    RestoreError
        It can't be read: what came back is not what was lost.
    """
    url = on.target.database_url
    assert url is not None
    try:
        connection = await open_session(url, Who.OBSERVER, limit_s=_ANSWER_LIMIT_S)
        try:
            moves = await connection.fetch(witness.moves, 0, "")
            queued = await connection.fetch(witness.published, 0, "", False) if witness.published else []
        finally:
            await connection.close(timeout=1.0)
    except TROUBLE as error:
        raise RestoreError(
            f"the database is back, and can't be read: {error}", ["the backup is restored"]
        ) from error
    kept = Row("resource", Reading.SURVIVED, Actor.DATABASE)
    return [
        kept._replace(
            game=str(row["item"]),
            event=None if row.get("event_id") is None else str(row["event_id"]),
            start_ns=unix_ns(row["moved_at"]),
            end_ns=unix_ns(row.get("committed_at")),
        )
        for row in moves
    ] + [kept._replace(event=str(row["event_id"]), start_ns=unix_ns(row["created_at"])) for row in queued]


@dataclass(frozen=True)
class RecoveryTime:
    """From the loss of the database to the first move after it (RTO): at most what the policy allows."""

    @property
    def name(self) -> str:
        return "recovery time: games move again"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        limit_s, loss = evidence.policy.recovery.recovery_time, evidence.loss
        if loss is None:
            return unseen(self.name, limit_s, "s", "the database was not lost and back")
        moved_ns = evidence.transitions["committed_ns"]
        first_ns = moved_ns[(moved_ns > loss.lost_ns).fillna(value=False)].min()
        measured = math.inf if pd.isna(first_ns) else (first_ns - loss.lost_ns) / NS
        steps = evidence.readings(Reading.STEP).sort_values("start_ns")
        taken = zip(steps["actor"], steps["value"], strict=True)
        told = [f"{actor[2:]} {taken_s:.1f} s" for actor, taken_s in taken]
        told.append(f"it served after {(loss.back_ns - loss.lost_ns) / NS:.1f} s")
        return compare(self.name, measured, limit_s, "s", ", ".join(told), [])


@dataclass(frozen=True)
class DataLoss:
    """Age of the newest commit that survived, when the database was lost (RPO): at most what is allowed.

    What is younger is lost: it is named, and held against nobody.
    """

    @property
    def name(self) -> str:
        return "recovery point: what the backup lacks"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        limit_s, loss, lost = evidence.policy.recovery.data_loss, evidence.loss, evidence.lost
        if loss is None or lost is None:
            return unseen(self.name, limit_s, "s", "the database was not lost and back")
        # What the witness had no time to read, players had heard of.
        heard = lost.receipts[~lost.receipts["event"].duplicated().to_numpy()]
        moves = lost.transitions
        unread = heard[~heard["event"].isin(moves["event"]).to_numpy()]
        told = (
            f"lost in the backup's gap: {len(moves) + len(unread)} moves, of which players had heard of "
            f"{len(heard)}"
        )
        measured = math.inf if loss.data_s is None else loss.data_s
        found = compare(self.name, measured, limit_s, "s", told, [])
        return found.model_copy(update={"examples": examples_of(lost, pd.concat([moves, unread]))})


@dataclass(frozen=True)
class PlayersAgree:
    """What each player heard last of a game is the state that it is in: nobody is left with what was lost.

    A player who heard of the end has left: it holds where the game comes to the same end again. Games that
    the backup lacks as a whole are no more, and not looked at.
    """

    @property
    def name(self) -> str:
        return "what each player heard last is where the game is"

    def judge(self, evidence: Evidence, fault: Window) -> Finding:
        moves = evidence.announced.sort_values("committed_ns", kind="stable")
        moves = moves[~moves["game"].duplicated(keep="last")]
        # Of a move of just now, players may not have heard yet.
        pending = evidence.pairs
        pending = pending[pending["received_ns"].isna() & ~pending["settled"]]
        moves = moves[~moves["event"].isin(pending["event"]).to_numpy()]
        heard = evidence.receipts
        heard = heard.loc[evidence.among(heard["event"], evidence.events["event"]), _HEARD]
        if evidence.lost is not None:
            heard = pd.concat([heard, evidence.lost.receipts[_HEARD]])
        heard = heard[heard["target"].notna()].astype({"actor": "string", "target": "string"})
        heard = heard.sort_values("end_ns", kind="stable").drop_duplicates(["game", "actor"], keep="last")
        ends = heard.merge(moves[["game", "to"]], on="game")
        if ends.empty:
            return unseen(self.name, 0.0, "players", "there was nothing to hear")
        wrong = ends[(ends["target"] != ends["to"]).to_numpy(dtype=bool)]
        return none_of(evidence, self.name, wrong, "players", f"{len(ends)} players of games")


#: What a drill is about; the rest is expected of every fault.
SHOWN: Final = (RecoveryTime(), DataLoss(), PlayersAgree())
