"""The trigger that makes the events, dropped and put back: a rollback of the requirements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from harness.faults.base import Exercised, MissingPartError, System, register
from harness.faults.database import LOCK_LIMIT, DatabaseFault, insist

TABLE: Final = "games"
TRIGGER: Final = "game_status_change_trigger"

#: Its definition, when it fires (O: as a rule), its comment.
_FIND: Final = f"""
    SELECT pg_get_triggerdef(t.oid) AS definition,
           t.tgenabled::text AS enabled,
           quote_literal(obj_description(t.oid, 'pg_trigger')) AS comment
    FROM pg_trigger t
    WHERE t.tgrelid = to_regclass('{TABLE}') AND t.tgname = '{TRIGGER}' AND NOT t.tgisinternal
"""  # noqa: S608  # names of ours
#: What ALTER TABLE calls the values of tgenabled.
_ENABLED: Final = {"D": "DISABLE", "R": "ENABLE REPLICA", "A": "ENABLE ALWAYS"}
_DROP: Final = f"DROP TRIGGER IF EXISTS {TRIGGER} ON {TABLE}"
_SILENT: Final = "SELECT count(*) FROM game_transitions WHERE event_id IS NULL"


@register
@dataclass(frozen=True)
class TriggerDropped(DatabaseFault):
    """Drop the trigger that makes the events, and put it back exactly as it was: games go on, unheard of.

    At its end, the trigger is back; what happened without it makes no events any more.
    """

    name = "trigger-dropped"

    @contextmanager
    def applied(self, system: System) -> Iterator[Exercised]:
        with self.sessions(system) as sessions:
            with self.tried("look at the trigger"):
                admin = sessions.connect()
                found = sessions.run(admin.fetchrow(_FIND))
                if found is None:
                    raise MissingPartError(f"{self}: the database has no trigger {TRIGGER} on {TABLE}")
                silent_before = sessions.value(admin, _SILENT)
            # Sent together, they are one transaction; done twice, they do no harm.
            restore = [_DROP, found["definition"]]
            if found["enabled"] in _ENABLED:
                restore.append(f"ALTER TABLE {TABLE} {_ENABLED[found['enabled']]} TRIGGER {TRIGGER}")
            if found["comment"] is not None:
                restore.append(f"COMMENT ON TRIGGER {TRIGGER} ON {TABLE} IS {found['comment']}")
            undo = "; ".join(restore)
            with self.remembered(sessions, undo):
                try:
                    with self.tried("drop the trigger"):
                        sessions.execute(admin, f"SET lock_timeout = '{LOCK_LIMIT}'")
                        sessions.execute(admin, _DROP)

                    def exercised() -> str | None:
                        with self.tried("see what was moved"):
                            silent = sessions.value(admin, _SILENT)
                        return "no game moved meanwhile" if silent == silent_before else None

                    yield exercised
                finally:
                    with self.tried("put the trigger back"):
                        sessions.run(insist(sessions, undo))
