"""Ticks: what they move, what they leave, and what happens when they may not."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import asyncpg
import httpx

from service.monitor import LOCK
from service.tests.parts import StartService
from service.tests.support import API, CRON, ServiceProcess, Urls, eventually, name


def expire(database: Urls, game_id: str, seconds: float = 1.0) -> None:
    database.fetch(
        "UPDATE games SET phase_expires_at = clock_timestamp() - make_interval(secs => $2) WHERE id = $1",
        game_id,
        seconds,
    )


def drawing_game(service: ServiceProcess, players: int, submissions: int) -> str:
    game_id = name()
    service.create(id=game_id, max_players=max(players, 1))
    for n in range(players):
        body = {"game_id": game_id, "user_id": f"{game_id}-{n}"}
        assert service.http.post("/rest/v1/game_participants", headers=API, json=body).status_code == 201
    for n in range(submissions):
        body = {"game_id": game_id, "user_id": f"{game_id}-{n}", "content": {}}
        assert service.http.post("/rest/v1/submissions", headers=API, json=body).status_code == 201
    service.move(game_id, "briefing")
    service.move(game_id, "drawing")
    return game_id


def test_a_tick_moves_what_is_over_and_nothing_else(service: ServiceProcess, database: Urls) -> None:
    over, running, cancelled = name("over"), name("running"), name("cancelled")
    for game_id in (over, running, cancelled):
        service.create(id=game_id)
        service.move(game_id, "briefing")
    expire(database, over)
    service.move(cancelled, "cancelled")
    answer = service.tick()
    assert answer["processed"] == 1
    assert answer["errors"] == answer["skipped"] == 0
    assert [service.game(game_id)["status"] for game_id in (over, running, cancelled)] == [
        "drawing",
        "briefing",
        "cancelled",
    ]
    (row,) = database.fetch("SELECT * FROM game_transitions WHERE game_id = $1 AND source = 'timer'", over)
    assert row["due_at"] <= row["transitioned_at"] <= row["due_at"] + timedelta(seconds=30)
    assert row["request_id"] == answer["requestId"]
    assert row["trigger_ms"] > 0


def test_the_answer_says_how_long_it_took(service: ServiceProcess) -> None:
    answer = service.tick()
    assert {"timestamp", "requestId", "environment", "version"} <= set(answer)
    assert 0 <= answer["metrics"]["lockAcquisitionTime"] <= answer["executionTime"]


def test_players_who_have_not_handed_in_get_one_grace_period(service: ServiceProcess, database: Urls) -> None:
    game_id = drawing_game(service, players=2, submissions=1)
    expire(database, game_id)
    assert service.tick()["metrics"]["gracePeriodsGranted"] == 1
    row = service.game(game_id)
    assert (row["status"], row["grace_used"]) == ("drawing", True)
    due, expiry = database.fetch("SELECT due_at, phase_expires_at FROM games WHERE id = $1", game_id)[
        0
    ].values()
    assert due == expiry + timedelta(seconds=15)
    timer = service.http.post("/functions/v1/get-game-timer", headers=API, json={"gameId": game_id}).json()
    assert timer["gracePeriod"] is True
    assert 0 < timer["timeRemaining"] <= 15
    assert service.tick()["processed"] == 0
    expire(database, game_id, 20)
    database.fetch("UPDATE games SET grace_until = phase_expires_at + interval '15 s' WHERE id = $1", game_id)
    assert service.tick()["processed"] == 1
    (log,) = database.fetch(
        "SELECT * FROM game_transitions WHERE game_id = $1 AND to_status = 'voting'", game_id
    )
    assert log["due_at"] == database.value("SELECT $1::timestamptz", log["due_at"])
    assert log["due_at"] <= log["transitioned_at"]


def test_nobody_waits_for_players_who_have_all_handed_in(service: ServiceProcess, database: Urls) -> None:
    game_id = drawing_game(service, players=2, submissions=2)
    expire(database, game_id)
    assert service.tick()["metrics"]["gracePeriodsGranted"] == 0
    assert service.game(game_id)["status"] == "voting"


def test_a_phase_that_runs_out_in_mid_tick_is_left_to_the_next(
    start_service: StartService, own_database: Urls
) -> None:
    service = start_service(DATABASE_TIMEOUT="20s")
    game_id = drawing_game(service, players=1, submissions=0)
    # Over once grace periods were looked for, and before games are moved.
    own_database.fetch(
        "CREATE FUNCTION doze() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(1.5); RETURN NULL; END $$"
    )
    expire(own_database, game_id, -1.0)
    own_database.fetch("CREATE TRIGGER a_doze BEFORE UPDATE ON games EXECUTE FUNCTION doze()")
    service.tick()
    own_database.fetch("DROP TRIGGER a_doze ON games")
    service.tick()
    row = service.game(game_id)
    assert (row["status"], row["grace_used"]) == ("drawing", True)


def test_no_grace_with_its_flag_off(start_service: StartService, own_database: Urls) -> None:
    service = start_service(ENABLE_GRACE_PERIOD="false")
    game_id = drawing_game(service, players=1, submissions=0)
    expire(own_database, game_id)
    assert service.tick()["processed"] == 1


def test_a_tick_that_finds_another_running_skips_quickly(service: ServiceProcess, database: Urls) -> None:
    async def tick_while_held() -> tuple[dict[str, object], float]:
        holder = await asyncpg.connect(database.admin)
        await holder.execute("SELECT pg_advisory_lock($1)", LOCK)
        try:
            started = time.monotonic()
            answer = await asyncio.to_thread(service.tick)
            return answer, time.monotonic() - started
        finally:
            await holder.close()

    answer, took_s = asyncio.run(tick_while_held())
    assert (answer["processed"], answer["skipped"]) == (0, 1)
    assert took_s < 5
    assert service.tick()["skipped"] == 0


def test_a_game_that_is_being_changed_does_not_hold_up_the_others(
    service: ServiceProcess, database: Urls
) -> None:
    held, free = name("held"), name("free")
    for game_id in (held, free):
        service.create(id=game_id)
        service.move(game_id, "briefing")
        expire(database, game_id)

    async def tick_while_held() -> int:
        holder = await asyncpg.connect(database.admin)
        async with holder.transaction():
            await holder.execute("SELECT FROM games WHERE id = $1 FOR UPDATE", held)
            answer = await asyncio.to_thread(service.tick)
        await holder.close()
        return int(answer["processed"])

    assert asyncio.run(tick_while_held()) == 1
    assert service.game(held)["status"] == "briefing"
    service.tick()
    assert service.game(held)["status"] == "drawing"


async def waiting_for_a_lock(connection: asyncpg.Connection) -> None:
    async with asyncio.timeout(30):
        # Within a transaction the first look at the sessions is kept: forget it each time.
        while not await connection.fetchval(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            "AND query LIKE '%UPDATE games%' AND datname = current_database())"
        ):
            await asyncio.sleep(0.02)
            await connection.execute("SELECT pg_stat_clear_snapshot()")


def test_only_the_monitors_own_lock_is_waited_for_so_shortly(
    start_service: StartService, own_database: Urls
) -> None:
    service = start_service(MONITOR_LOCK_WAIT="50ms")
    game_id = name()
    service.create(id=game_id)
    service.move(game_id, "briefing")
    expire(own_database, game_id)

    async def tick_while_held() -> dict[str, object]:
        holder = await asyncpg.connect(own_database.admin)
        async with holder.transaction():
            await holder.execute("LOCK TABLE games IN SHARE MODE")
            tick = asyncio.create_task(asyncio.to_thread(service.tick))
            await waiting_for_a_lock(holder)
            await asyncio.sleep(0.5)  # ten times as long as it waits for the monitor's lock
        await holder.close()
        return await tick

    answer = asyncio.run(tick_while_held())
    assert (answer["processed"], answer["skipped"], answer["errors"]) == (1, 0, 0)


def test_a_tick_that_gets_no_lock_in_time_says_when_to_come_again(
    start_service: StartService, own_database: Urls
) -> None:
    service = start_service(DATABASE_TIMEOUT="2s")
    game_id = name()
    service.create(id=game_id)
    service.move(game_id, "briefing")
    expire(own_database, game_id)

    async def tick_while_held() -> httpx.Response:
        holder = await asyncpg.connect(own_database.admin)
        async with holder.transaction():
            await holder.execute("LOCK TABLE games IN SHARE MODE")
            answer = await asyncio.to_thread(
                service.http.post, "/functions/v1/monitor-game-timers", headers=CRON
            )
        await holder.close()
        return answer

    answer = asyncio.run(tick_while_held())
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1
    assert (answer.json()["processed"], answer.json()["errors"]) == (0, 1)
    assert "LockNotAvailable" in answer.json()["message"]
    assert service.game(game_id)["status"] == "briefing"
    assert service.tick()["processed"] == 1


def test_a_tick_that_waited_for_its_connection_waits_the_less_for_locks(
    start_service: StartService, own_database: Urls
) -> None:
    service = start_service(DATABASE_TIMEOUT="4s", POOL_SIZE="1")
    game_id = name()
    service.create(id=game_id)
    service.move(game_id, "briefing")
    expire(own_database, game_id)

    async def tick_while_held() -> tuple[httpx.Response, httpx.Response]:
        holder = await asyncpg.connect(own_database.admin)
        async with holder.transaction():
            await holder.execute("LOCK TABLE games IN ACCESS EXCLUSIVE MODE")
            # It has the only connection, until its statement is given up after 4 s.
            reading = asyncio.to_thread(service.http.get, "/rest/v1/games?select=id", headers=API)
            reader = asyncio.create_task(reading)
            await asyncio.sleep(1.5)
            tick = await asyncio.to_thread(
                service.http.post, "/functions/v1/monitor-game-timers", headers=CRON
            )
            read = await reader
        await holder.close()
        return tick, read

    tick, read = asyncio.run(tick_while_held())
    assert (tick.status_code, read.status_code) == (503, 503)
    waited_ms = tick.json()["metrics"]["connectionAcquisitionTime"]
    assert 1000 < waited_ms < 4000
    # Not 4 s for each.
    assert tick.json()["executionTime"] < 5200
    assert service.tick()["processed"] == 1


def test_a_tick_over_its_limit_is_rolled_back(start_service: StartService, own_database: Urls) -> None:
    service = start_service(MONITOR_LIMIT="1s", DATABASE_TIMEOUT="20s")
    game_id = name()
    service.create(id=game_id)
    service.move(game_id, "briefing")
    expire(own_database, game_id)
    own_database.fetch(
        "CREATE FUNCTION doze() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$"
    )
    own_database.fetch("CREATE TRIGGER z_doze AFTER UPDATE ON games EXECUTE FUNCTION doze()")
    # Some skip: the server takes a moment to see that the one before is gone.
    answers = [service.http.post("/functions/v1/monitor-game-timers", headers=CRON) for _ in range(15)]
    stopped = [answer for answer in answers if answer.status_code != 200]
    assert [answer.status_code for answer in stopped] == [504] * len(stopped)
    # Each one took longer than its limit, and not a trifle less.
    assert len(stopped) >= 3
    assert min(answer.json()["executionTime"] for answer in stopped) > 1000
    answer = stopped[-1]
    assert answer.json()["errors"] == 1
    assert answer.json()["processed"] == 0
    assert "1 s" in answer.json()["message"]
    own_database.fetch("DROP TRIGGER z_doze ON games")
    assert service.game(game_id)["status"] == "briefing"
    # Its lock is free as soon as the server sees that the tick is gone.
    eventually(lambda: service.tick()["processed"] == 1, "the lock of a dead tick was kept")
    assert own_database.value("SELECT count(*) FROM game_transitions WHERE source = 'timer'") == 1


def test_the_built_in_schedule_ticks_by_itself(start_service: StartService, own_database: Urls) -> None:
    service = start_service(ENABLE_SCHEDULE="true", SCHEDULE="*/1 * * * * *")
    game_id = name()
    service.create(id=game_id, briefing_duration_s=0.1)
    service.move(game_id, "briefing")
    eventually(lambda: service.game(game_id)["status"] == "drawing", "nothing ticked")


def test_flags_are_turned_while_it_runs(start_service: StartService, own_database: Urls, tmp_path) -> None:
    flags = tmp_path / "flags.env"
    service = start_service(FLAGS_FILE=flags)

    def shown() -> dict[str, bool]:
        return service.http.get("/functions/v1/feature-flags", headers=API).json()["flags"]

    assert all(shown().values())
    flags.write_text("ENABLE_TIMER_MONITORING=false\nENABLE_PUBNUB_BROADCASTING=false\n", encoding="utf-8")
    eventually(lambda: not shown()["ENABLE_TIMER_MONITORING"], "the file was not read again")
    answer = service.tick()
    assert (answer["skipped"], answer["processed"]) == (1, 0)
    assert "ENABLE_TIMER_MONITORING" in answer["message"]
    event = {"type": "test", "gameId": "g", "userId": "u", "timestamp": 1, "version": "2.0.0", "data": {}}
    sent = service.http.post("/functions/v1/broadcast-pubnub-event", headers=API, json=event).json()
    assert (sent["success"], sent["skipped"]) == (False, True)
    game_id = name()
    service.create(id=game_id)
    assert service.move(game_id, "briefing").status_code == 200
    eventually(lambda: service.metric("outbox_depth") == 1, "the event is not in the outbox")

    flags.write_text("ENABLE_TIMER_MONITORING=perhaps\nENABLE_PUBNUB_BROADCASTING=true\n", encoding="utf-8")
    eventually(lambda: shown()["ENABLE_PUBNUB_BROADCASTING"], "the file was not read again")
    assert shown()["ENABLE_TIMER_MONITORING"] is False
    published = "SELECT count(*) FROM event_outbox WHERE state = 'published'"
    eventually(lambda: own_database.value(published) == 1, "broadcasting did not resume")
    flags.unlink()
    eventually(lambda: shown()["ENABLE_TIMER_MONITORING"], "the environment's flags did not come back")
