"""Publishes the outbox: in order within a game, many games at once, by one replica at a time.

The replica that holds a session-level advisory lock is the relay; all it reads and notes goes over the
connection that holds the lock, so that a relay that lost its connection can't note anything any more, and
the lock of a dead one is free at once. Other replicas keep asking for the lock.

Delivery is at least once: what PubNub accepted but could not be noted (the relay or its connection died)
is published again, with the same event id.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import asyncpg

from service.breaker import State, backoff_s
from service.database import GONE, connect
from service.flags import Flags
from service.logs import get_logger
from service.metrics import Metrics
from service.publisher import MessageRefused, Publisher, PublishError
from service.settings import Settings
from service.statements import statement

log = get_logger(__name__)

#: Session-level advisory lock of the replica that publishes.
LOCK: Final = 8_462_002
#: Channel on which Postgres tells of new events.
CHANNEL: Final = "event_outbox"
#: New events are looked for this often, also if nothing was told.
_POLL_S: Final = 0.5
#: Between attempts to become the relay, and to connect.
_RETRY_S: Final = 0.5
#: Outcomes are noted together, this long after the first of them.
_NOTE_AFTER_S: Final = 0.05
_PURGE_EVERY_S: Final = 60.0
_PURGE_BATCH: Final = 5000
_STATEMENT_S: Final = 5.0
_GONE: Final = (*GONE, asyncpg.PostgresError)


@dataclass
class _Event:
    id: int
    event_id: str
    game_id: str
    seq: int
    payload: str
    attempts: int
    first_attempt_at: datetime | None
    #: Failures while others got through: those that are the event's own fault.
    strikes: int = 0


@dataclass
class _Notes:
    """Outcomes that are not in the database yet."""

    published: list[tuple[int, datetime, datetime | None, int, int]] = field(default_factory=list)
    failed: list[tuple[int, datetime | None, int, str]] = field(default_factory=list)
    dead: list[tuple[int, datetime | None, int, str]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.published or self.failed or self.dead)

    def __add__(self, newer: _Notes) -> _Notes:
        return _Notes(self.published + newer.published, self.failed + newer.failed, self.dead + newer.dead)

    def settled(self) -> Iterator[int]:
        """Yield the ids of events that need no more attempts."""
        for note in self.published:
            yield note[0]
        for dead in self.dead:
            yield dead[0]


class Relay:
    """Publishes the outbox for as long as :meth:`run` runs and this replica has the lock.

    Memory is bounded: at most ``relay_buffer`` events are at hand, the others wait in the database.
    """

    def __init__(self, settings: Settings, publisher: Publisher, flags: Flags, metrics: Metrics) -> None:
        self._url = settings.database_url.get_secret_value()
        self._publisher = publisher
        self._breaker = publisher.breaker
        self._flags = flags
        self._metrics = metrics
        self._concurrency = settings.relay_concurrency
        self._buffer = settings.relay_buffer
        self._max_attempts = settings.relay_max_attempts
        self._retention_s = settings.outbox_retention
        #: Events at hand by id, until their outcome is noted; and of each game, those not yet published.
        self._at_hand: dict[int, _Event] = {}
        self._games: dict[str, deque[_Event]] = {}
        self._ready: asyncio.Queue[str] = asyncio.Queue()
        self._notes = _Notes()
        self._noted = asyncio.Event()
        self._wake = asyncio.Event()
        self._noting = asyncio.Event()
        self._stopping = asyncio.Event()
        self._pauses: set[asyncio.TimerHandle] = set()
        #: Workers with a message under way.
        self._publishing: set[asyncio.Task[None]] = set()
        self._dropping = False

    async def run(self) -> None:
        """Publish whenever this replica is the relay, until :meth:`stop`."""
        while not self._stopping.is_set():
            try:
                connection = await connect(self._url, "relay", timeout_s=_STATEMENT_S)
            except _GONE as error:
                log.warning("the relay can't connect to the database", error=type(error).__name__)
                await self._pause(_RETRY_S)
                continue
            try:
                await self._lead_when_free(connection)
            except _GONE as error:
                log.warning("the relay lost the database", error=type(error).__name__)
                await self._pause(_RETRY_S)
            except Exception:
                # A fault of ours; what is in the outbox waits, so begin again rather than end.
                log.exception("the relay failed")
                await self._pause(_RETRY_S)
            finally:
                connection.terminate()

    async def stop(self) -> None:
        """Begin to end: no new events are taken, those being published are finished and noted."""
        self._stopping.set()
        self._wake.set()
        self._noting.set()

    async def _lead_when_free(self, connection: asyncpg.Connection[Any]) -> None:
        while not self._stopping.is_set():
            if await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
                break
            await self._pause(_RETRY_S)
        else:
            return
        log.info("this replica is the relay now")
        self._metrics.relay_leader.set(1)
        try:
            await self._lead(connection)
        finally:
            self._metrics.relay_leader.set(0)

    async def _lead(self, connection: asyncpg.Connection[Any]) -> None:
        """Load, publish and note until the connection breaks or the relay is stopped."""
        turn = asyncio.Lock()
        self._dropping = False
        await connection.add_listener(CHANNEL, lambda *_: self._wake.set())
        # Outcomes that an earlier connection could not note.
        await self._note_all(connection, turn)
        workers = [asyncio.create_task(self._work()) for _ in range(self._concurrency)]
        chores = [
            asyncio.create_task(self._load(connection, turn)),
            asyncio.create_task(self._note(connection, turn)),
            asyncio.create_task(self._purge(connection, turn)),
        ]
        try:
            ending = asyncio.create_task(self._stopping.wait())
            done, _ = await asyncio.wait([*chores, ending], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {ending}:
                task.result()
        finally:
            ending.cancel()
            for task in chores:
                task.cancel()
            await self._drop_waiting(workers)
            await asyncio.gather(*chores, return_exceptions=True)
        with contextlib.suppress(*_GONE):
            await self._note_all(connection, turn)

    async def _drop_waiting(self, workers: Sequence[asyncio.Task[None]]) -> None:
        """Let go of what is not being published; wait for what is, so that its outcome is known."""
        self._dropping = True
        for worker in workers:
            if worker not in self._publishing:
                worker.cancel()
        if self._publishing:
            await asyncio.wait(self._publishing, timeout=self._publisher.limit_s + 1)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        for handle in self._pauses:
            handle.cancel()
        self._pauses.clear()
        self._at_hand.clear()
        self._games.clear()
        self._ready = asyncio.Queue()

    async def _load(self, connection: asyncpg.Connection[Any], turn: asyncio.Lock) -> None:
        """Keep events at hand, read in pages when half of the buffer is free."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            room = self._buffer - len(self._at_hand)
            if room >= max(1, self._buffer // 2) and self._flags.now.pubnub_broadcasting:
                async with turn:
                    rows = await connection.fetch(statement("outbox_pending"), room, list(self._at_hand))
                for row in rows:
                    self._take(_Event(**row))
                self._metrics.relay_buffered.set(len(self._at_hand))
                if len(rows) == room:
                    # There may be more: look again as soon as there is room.
                    self._noted.clear()
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_POLL_S):
                            await self._noted.wait()
                    continue
            started = loop.time()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await self._wake.wait()
            # Notifications come in bursts.
            await asyncio.sleep(max(0.0, started + 0.002 - loop.time()))

    def _take(self, event: _Event) -> None:
        self._at_hand[event.id] = event
        waiting = self._games.get(event.game_id)
        if waiting is None:
            self._games[event.game_id] = deque([event])
            self._ready.put_nowait(event.game_id)
        else:
            waiting.append(event)

    async def _work(self) -> None:
        """Publish the first event of one ready game after the other."""
        this = asyncio.current_task()
        assert this is not None
        while not self._dropping:
            game_id = await self._ready.get()
            await self._breaker.enter()
            while not self._flags.now.pubnub_broadcasting:
                self._breaker.leave()
                await asyncio.sleep(_POLL_S)
                await self._breaker.enter()
            self._publishing.add(this)
            try:
                await self._publish(self._games[game_id])
            finally:
                self._publishing.discard(this)

    async def _publish(self, waiting: deque[_Event]) -> None:
        """Publish a game's first event, and see to it that its turn comes again."""
        event = waiting[0]
        event.attempts += 1
        event.first_attempt_at = event.first_attempt_at or datetime.now(UTC)
        others_get_through = self._breaker.state is State.CLOSED
        try:
            timetoken = await self._publisher.publish(f"game-{event.game_id}", json.loads(event.payload))
        except MessageRefused as error:
            self._give_up(event, str(error))
        except PublishError as error:
            # Who is told when to come back was not refused on account of the event.
            event.strikes += others_get_through and not error.retry_after_s
            if event.strikes < self._max_attempts:
                self._notes.failed.append((event.id, event.first_attempt_at, event.attempts, str(error)))
                self._noting.set()
                self._later(event.game_id, backoff_s(event.attempts))
                return
            self._give_up(event, str(error))
        else:
            self._notes.published.append(
                (event.id, datetime.now(UTC), event.first_attempt_at, event.attempts, timetoken)
            )
            self._noting.set()
        waiting.popleft()
        if waiting:
            self._ready.put_nowait(event.game_id)
        else:
            del self._games[event.game_id]

    def _give_up(self, event: _Event, reason: str) -> None:
        log.error(
            "an event can't be published and is a dead letter now",
            eventId=event.event_id,
            gameId=event.game_id,
            seq=event.seq,
            reason=reason,
            attempts=event.attempts,
        )
        self._metrics.dead.inc()
        self._notes.dead.append((event.id, event.first_attempt_at, event.attempts, reason))
        self._noting.set()

    def _later(self, game_id: str, pause_s: float) -> None:
        """Make a game ready again after a pause."""

        def ready() -> None:
            self._pauses.discard(handle)
            self._ready.put_nowait(game_id)

        handle = asyncio.get_running_loop().call_later(pause_s, ready)
        self._pauses.add(handle)

    async def _note(self, connection: asyncpg.Connection[Any], turn: asyncio.Lock) -> None:
        """Write outcomes to the database, many at a time."""
        while True:
            await self._noting.wait()
            await asyncio.sleep(_NOTE_AFTER_S)
            await self._note_all(connection, turn)

    async def _note_all(self, connection: asyncpg.Connection[Any], turn: asyncio.Lock) -> None:
        notes, self._notes = self._notes, _Notes()
        self._noting.clear()
        if not notes:
            return
        try:
            async with turn, connection.transaction():
                for name, rows in (
                    ("outbox_failed", notes.failed),
                    ("outbox_published", notes.published),
                    ("outbox_dead", notes.dead),
                ):
                    if rows:
                        await connection.execute(statement(name), *map(list, zip(*rows, strict=True)))
        except BaseException:
            # Whether they were noted is not known; noting twice does no harm.
            self._notes = notes + self._notes
            self._noting.set()
            raise
        for id in notes.settled():
            self._at_hand.pop(id, None)
        self._noted.set()
        if self._buffer - len(self._at_hand) >= self._buffer // 2:
            self._wake.set()

    async def _purge(self, connection: asyncpg.Connection[Any], turn: asyncio.Lock) -> None:
        """Remove published events that are older than the retention."""
        while True:
            async with turn:
                done = await connection.execute(statement("outbox_purge"), self._retention_s, _PURGE_BATCH)
            if int(done.rsplit(" ", 1)[-1]) < _PURGE_BATCH:
                await asyncio.sleep(_PURGE_EVERY_S)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
