"""The trigger that makes the events, dropped and put back: a rollback of the requirements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.faults import Exercised, FaultTarget, MissingPartError
from harness.faults.database_fault import DatabaseFault
from harness.faults.sessions import LOCK_LIMIT, Sessions
from harness.target.sql import named_statements

_SQL: Final = named_statements(Path(__file__).parent / "sql" / "trigger.sql")
TRIGGER: Final = "game_status_change_trigger"
#: What ALTER TABLE calls the values of tgenabled.
_ENABLED: Final = {"D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}


@dataclass(frozen=True)
class TriggerDropped(DatabaseFault):
    """Drop the trigger that makes the events, and put it back exactly as it was: games go on, unheard of.

    At its end, the trigger is back; what happened without it makes no events any more.
    """

    name = "trigger-dropped"
    silences = True

    @contextmanager
    def applied(self, on: FaultTarget) -> Iterator[Exercised]:
        with self.sessions(on) as sessions:
            with self.tried("look at the trigger"):
                undo = self._undo(sessions)
                silent_before = sessions.value(_SQL["silent"])

            def exercised() -> str | None:
                with self.tried("see what was moved"):
                    silent = sessions.value(_SQL["silent"])
                return "no game moved meanwhile" if silent == silent_before else None

            with self.remembered(sessions, undo):
                try:
                    with self.tried("drop the trigger"):
                        sessions.execute(f"SET lock_timeout = '{LOCK_LIMIT}'")
                        sessions.execute(_SQL["drop"])
                    yield exercised
                finally:
                    with self.tried("put the trigger back"):
                        sessions.insist(undo)

    def _undo(self, sessions: Sessions) -> str:
        """Return statements that make the trigger as it is now: one transaction, which may be run twice."""
        found = sessions.rows(_SQL["find"])
        if not found:
            raise MissingPartError(f"{self}: the database has no trigger {TRIGGER} on games")
        definition, enabled, comment = found[0]
        undo = [_SQL["drop"], definition]
        if enabled in _ENABLED:
            undo.append(_SQL["enable"].format(how=_ENABLED[enabled]))
        if comment is not None:
            undo.append(_SQL["comment"].format(comment=comment))
        return "; ".join(undo)
