"""The reference service: a drawing game, Supabase-shaped, with Postgres and PubNub behind it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Final

from harness.history.names import TICK_ERRORS, Reading
from harness.system import (
    Call,
    Check,
    Heard,
    Item,
    Levers,
    Lifecycle,
    Local,
    Program,
    Refused,
    Session,
    SqlCleaning,
    SqlWitness,
    System,
    Ticked,
    Timed,
    TimeLeft,
    Unreadable,
    Words,
)
from harness.system.reading import integer, mapping, text
from harness.target.client import has
from harness.target.errors import BAD_ANSWER
from scenarios.drawing_game.faults.flags import FLAGS, FlagOff
from scenarios.drawing_game.faults.rollback import EmergencyRollback
from scenarios.drawing_game.faults.trigger import TriggerDropped
from scenarios.drawing_game.guarded import broadcast_of, guarded_calls

#: Where in the drawing phase a player hands in its drawing, as shares of the phase.
_SUBMIT_BETWEEN: Final = (0.1, 0.6)
_SQL: Final = Path(__file__).with_name("drawing_game_sql")
#: What a message tells of a move, in its envelope and in its data.
_TOLD: Final = ("type", "seq", "timestamp", "requestId")
_TOLD_OF_MOVE: Final = ("previousPhase", "newPhase", "transitionedAt", "phaseExpiresAt")
_RETURN: Final = {"Prefer": "return=representation"}
#: Tables of the API, those that refer to others first, and their columns with a game's id.
_TABLES: Final = {"submissions": "game_id", "game_participants": "game_id", "games": "id"}


class DrawingGame(System):
    """Host and players of a game: it is made, joined, started, drawn in, voted on."""

    name = "drawing game"
    words = Words("game", "games")
    lifecycle = Lifecycle(
        begins="waiting",
        moves=(
            "waiting->briefing",
            "briefing->drawing",
            "drawing->voting",
            "voting->completed",
            "waiting->cancelled",
            "briefing->cancelled",
            "drawing->cancelled",
            "voting->cancelled",
        ),
        timed={
            "briefing": Timed("3s", short="1s"),
            "drawing": Timed("4s", short="2s"),
            "voting": Timed("3s", short="1s"),
        },
        ends=frozenset({"completed", "cancelled"}),
    )
    witness = SqlWitness.from_folder(_SQL)
    cleaning = SqlCleaning.from_folder(_SQL)
    readings: ClassVar = {
        "db_pool_in_use": Reading.POOL_IN_USE,
        "db_pool_size": Reading.POOL_SIZE,
        "http_connections": Reading.HTTP_CONNECTIONS,
        "outbox_depth": Reading.OUTBOX_DEPTH,
        "outbox_age_seconds": Reading.OUTBOX_AGE,
        "breaker_state": Reading.BREAKER,
        "timer_monitoring_executions": Reading.EXECUTIONS,
        "event_broadcasting_success": Reading.PUBLISHED,
        "event_broadcasting_failures": Reading.PUBLISH_FAILURES,
    }
    levers = Levers.from_folder(
        _SQL,
        tables=("games", "game_participants", "submissions"),
        items="games",
        state="status",
        tick_lock="8462001",
        sessions_name_pid=True,
        faults=(EmergencyRollback, FlagOff, TriggerDropped),
        rollbacks=(
            FlagOff("ENABLE_TIMER_MONITORING"),
            FlagOff("ENABLE_PUBNUB_BROADCASTING"),
            TriggerDropped("postgres"),
            EmergencyRollback(),
        ),
    )
    without_extensions: ClassVar = {"ENABLE_GRACE_PERIOD": "false"}
    own_ticks: ClassVar = {"ENABLE_SCHEDULE": "true", "SCHEDULE": "*/1 * * * * *"}
    health_tells = frozenset({"database", "pubnub", "edgeFunctions"})
    #: Its pool's and its relay's.
    sessions = 21
    pool_table: ClassVar = "submissions"
    needs = frozenset({"postgres", "pubnub"})
    defects: ClassVar = "fixtures.defects"
    migrations = Path(__file__).parents[2] / "service" / "migrations"
    broadcast_name: ClassVar = "test"

    def start(self, session: Session, item: Item) -> None:
        """The host makes the game, the players listen and join, the host starts it."""
        row = {
            "id": item.id,
            "prompt": "A lighthouse in a storm",
            "max_players": max(len(item.players), 2),
            **{f"{phase}_duration_s": seconds for phase, seconds in item.lengths.items()},
        }
        made = _row(item, "waiting", one_of_a_list=True)
        session.insist(
            "POST", "/rest/v1/games", row, actor=item.host, headers=_RETURN, expect=(201,), check=made
        )
        item.listen()
        for player in item.players:
            seat = {"game_id": item.id, "user_id": f"{item.id}-{player}"}
            session.insist("POST", "/rest/v1/game_participants", seat, actor=player, expect=(201,))
        session.insist(
            "POST",
            "/rest/v1/rpc/transition_game_status",
            {"p_game_id": item.id, "p_new_status": "briefing", "p_expected_status": "waiting"},
            actor=item.host,
            check=_row(item, "briefing"),
            done=lambda: self._status(session, item) in self.lifecycle.later["waiting"],
        )

    def channel(self, item: str, player: str) -> str:
        """All players of a game hear of it on one channel."""
        return f"game-{item}"

    def read(self, message: Any) -> Heard:
        """Read an event's envelope; every message on a game's channel is one."""
        envelope = mapping(message, "message")
        kind, event, game = (text(envelope, name) for name in ("type", "eventId", "gameId"))
        seq = integer(envelope, "seq")
        data = envelope.get("data")
        fields = {} if data is None else mapping(data, "data")
        new = fields.get("newPhase")
        if kind != "phase_changed" or not isinstance(new, str):
            return Heard(game, kind, event, seq)
        told = {name: envelope.get(name) for name in _TOLD} | {
            name: fields.get(name) for name in _TOLD_OF_MOVE
        }
        return Heard(game, kind, event, seq, new, told)

    def act(self, session: Session, item: Item, player: str) -> None:
        """Hand in a drawing some time into the drawing phase."""
        think_s = item.chance.uniform(*_SUBMIT_BETWEEN) * item.lengths["drawing"]
        if not item.wait_for("drawing") or item.wait(think_s):
            return
        strokes = [[item.chance.randint(0, 800), item.chance.randint(0, 600)] for _ in range(8)]
        row = {"game_id": item.id, "user_id": f"{item.id}-{player}", "content": {"strokes": strokes}}
        # Refused, the game goes on without this drawing, when its grace period is over.
        session.insist("POST", "/rest/v1/submissions", row, actor=player, expect=(201,))

    def ask_timer(self, session: Session, item: Item, player: str) -> TimeLeft | None:
        """Ask how much time is left."""
        answer = session.call(
            "POST", "/functions/v1/get-game-timer", {"gameId": item.id}, actor=player, check=_timer
        )
        return _time_left(answer.body) if answer.ok else None

    def tick(self) -> Call:
        """The call that cron makes."""
        path = "/functions/v1/monitor-game-timers"
        return Call("POST", path, {"x-cron-secret": self.target.cron_secret}, {})

    def ticked(self, body: Any) -> Ticked:
        """Read the answer of a tick: its shape, and errors that it tells of."""
        if wrong := _has_tick_fields(body):
            return Ticked(error=wrong)
        took_ms = body["executionTime"]
        if not isinstance(took_ms, (int, float)):
            return Ticked(error=BAD_ANSWER)
        error = TICK_ERRORS if body["errors"] else None
        return Ticked(body["processed"], bool(body["skipped"]), float(took_ms), error)

    def processes(self, local: Local) -> list[Program]:
        """The service, from this checkout."""
        told = local.target.environment() | {
            "LOG_LEVEL": "INFO",
            "ENVIRONMENT": "local",
            **dict.fromkeys(FLAGS, "true"),
            "FLAGS_FILE": local.target.flags_file or "",
        }
        return [
            Program(
                [sys.executable, "-m", "service", "--host", "127.0.0.1", "--port", str(local.port)],
                told,
                ready="/health",
                folder=Path(__file__).parents[2],
                way_out="see its log; `python -m service --check` tests its settings and connections",
            )
        ]

    def health(self) -> Call:
        """The service tells the health of its parts."""
        return Call("GET", "/health")

    def ill(self, status: int, body: Any) -> str | None:
        """Read the parts that are unhealthy, whatever the headline says."""
        if not isinstance(body, dict) or body.get("status") not in {"healthy", "unhealthy"}:
            raise Unreadable(BAD_ANSWER if status in {200, 503} else f"http {status}")
        checks = body.get("checks")
        if not isinstance(checks, dict):
            raise Unreadable(BAD_ANSWER)
        ill = sorted(name for name, check in checks.items() if not _is_healthy(check))
        if body["status"] == "healthy" and status == 200 and not ill:
            return None
        return ",".join(ill) or "unhealthy"

    def metrics(self) -> Call:
        """Each process shows Prometheus's text to whoever has the key."""
        return Call("GET", "/metrics", self.target.authorization)

    def alerts(self) -> Call:
        """Its own rules, for whoever has the key."""
        return Call("GET", "/alerts", self.target.authorization)

    def raised(self, body: Any) -> list[str]:
        """Read the names of those that are raised."""
        told = body.get("alerts") if isinstance(body, dict) else None
        if not isinstance(told, list):
            raise Unreadable(BAD_ANSWER)
        return [text(one, "name") for one in told if mapping(one, "alert").get("state") != "ok"]

    def use_pool(self) -> Call:
        """Read drawings of a game that is none."""
        return Call("GET", "/rest/v1/submissions?game_id=eq.none&select=game_id", self.target.keys)

    def clean_up(self, session: Session, prefix: str) -> Mapping[str, int]:
        """Delete the rows of the games; their events and transitions are out of the API's reach."""
        return {
            table: len(_rows(session, "DELETE", f"{table}?{column}=like.{prefix}*&select={column}"))
            for table, column in _TABLES.items()
        }

    def leftovers(self, session: Session) -> Iterator[tuple[str, datetime]]:
        """List the games that a run may have made."""
        for game in _rows(session, "GET", "games?id=like.sw*&select=id,created_at&order=created_at"):
            yield game["id"], datetime.fromisoformat(game["created_at"])

    def broadcast(self, item: str) -> Call:
        """Any event may be sent to a game's channel; this one means nothing."""
        return broadcast_of(self.target, item)

    def guarded(self, mark: str) -> list[Call]:
        """Every function and table, with what they need."""
        return [self.tick(), *guarded_calls(self.target, mark)]

    def made(self, mark: str) -> Call:
        """Return the call that lists the games that bear a mark."""
        return Call("GET", f"/rest/v1/games?id=like.{mark}*&select=id", self.target.keys)

    def _status(self, session: Session, item: Item) -> str | None:
        answer = session.call(
            "GET",
            f"/rest/v1/games?id=eq.{item.id}&select=id,status",
            actor=item.host,
            route="/rest/v1/games?id=eq.<id>",
            check=_row(item, one_of_a_list=True),
        )
        return str(answer.body[0]["status"]) if answer.ok else None


def _row(item: Item, status: str | None = None, *, one_of_a_list: bool = False) -> Check:
    """Return a check that the body is the item's row, in this status."""

    def check(body: Any) -> str | None:
        listed = isinstance(body, list)
        row = body[0] if listed and len(body) == 1 else body
        right = isinstance(row, dict) and row.get("id") == item.id
        if right and status is not None:
            right = row.get("status") == status
        return None if right and (listed or not one_of_a_list) else BAD_ANSWER

    return check


def _rows(session: Session, method: str, path: str) -> list[dict[str, Any]]:
    """Return the rows that are read or deleted."""
    path = f"/rest/v1/{path}"
    answer = session.call(method, path, actor="host", headers=_RETURN, check=_is_list)
    if not answer.ok:
        raise Refused(answer.told(f"{method} {path}"))
    rows: list[dict[str, Any]] = answer.body
    return rows


def _is_list(body: Any) -> str | None:
    return None if isinstance(body, list) else BAD_ANSWER


def _is_healthy(check: Any) -> bool:
    return isinstance(check, dict) and check.get("healthy") is True


_has_timer_fields: Final = has("timeRemaining", "phaseDuration", "phaseExpiresAt", "serverTime", "phase")
_has_tick_fields: Final = has("processed", "errors", "skipped", "executionTime", "timestamp", "requestId")


def _timer(body: Any) -> str | None:
    """Say what is wrong with an answer of get-game-timer."""
    if wrong := _has_timer_fields(body):
        return wrong
    phase, remaining, length = body["phase"], body["timeRemaining"], body["phaseDuration"]
    if phase in DrawingGame.lifecycle.timed:
        numbers = all(isinstance(number, (int, float)) for number in (remaining, length))
        return None if numbers and remaining >= 0 and _moment(body["phaseExpiresAt"]) else BAD_ANSWER
    return None if phase in DrawingGame.lifecycle.states else BAD_ANSWER


def _time_left(body: Any) -> TimeLeft:
    """Read an answer of get-game-timer that is as it should be."""
    phase = body["phase"]
    if phase not in DrawingGame.lifecycle.timed:
        return TimeLeft(phase)
    return TimeLeft(phase, float(body["timeRemaining"]), _moment(body["phaseExpiresAt"]))


def _moment(text: Any) -> datetime | None:
    """Return a time with its zone; None: it is none."""
    try:
        found = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return found if found.tzinfo is not None else None
