"""The relay against the real Postgres and the emulator: order, outages, dead letters, deaths."""

from __future__ import annotations

from typing import Any

from service.tests.parts import StartService
from service.tests.support import API, PubNub, ServiceProcess, Urls, eventually, name

WAY = ("briefing", "drawing", "voting", "completed")
BEARER = {"Authorization": API["Authorization"]}
BROADCAST = {"type": "test", "gameId": "g", "userId": "u", "timestamp": 1, "version": "2.0.0", "data": {}}
#: The emulator's clock may be set back a little between two of its readings.
CLOCK_NS = 10_000_000


def play(service: ServiceProcess, game_id: str) -> None:
    service.create(id=game_id)
    for status in WAY:
        assert service.move(game_id, status).status_code == 200


def all_published(database: Urls, count: int) -> bool:
    return bool(database.value("SELECT count(*) FROM event_outbox WHERE state = 'published'") == count)


def new_phases(messages: list[dict[str, Any]]) -> list[str]:
    return [message["data"]["newPhase"] for message in messages]


def test_an_event_carries_who_when_and_what(
    start_service: StartService, own_database: Urls, pubnub: PubNub
) -> None:
    service = start_service()
    game_id = name()
    service.create(id=game_id, briefing_duration_s=5)
    answer = service.move(game_id, "briefing")
    (event,) = eventually(lambda: pubnub.accepted(f"game-{game_id}"), "the event was not published")
    (row,) = own_database.fetch("SELECT *, event_id::text AS event FROM game_transitions")
    assert event["type"] == "phase_changed"
    assert event["gameId"] == game_id
    assert event["userId"] == "system"
    assert event["version"] == "2.0.0"
    assert event["eventId"] == row["event"]
    assert event["seq"] == 1
    assert event["requestId"] == answer.headers["x-request-id"] == row["request_id"]
    assert event["timestamp"] == int(row["transitioned_at"].timestamp() * 1000)
    assert event["data"]["previousPhase"] == "waiting"
    assert event["data"]["newPhase"] == "briefing"
    assert event["data"]["transitionedAt"].endswith("Z")
    assert event["data"]["phaseExpiresAt"] > event["data"]["transitionedAt"]
    eventually(lambda: all_published(own_database, 1), "the event was not noted")
    (noted,) = own_database.fetch("SELECT * FROM event_outbox")
    assert noted["attempts"] == 1
    assert noted["timetoken"] > 17_000_000_000_000_000
    assert noted["created_at"] <= noted["first_attempt_at"] <= noted["published_at"]


def test_events_of_a_game_keep_their_order_through_failures(
    start_service: StartService, own_database: Urls, pubnub: PubNub
) -> None:
    service = start_service(RELAY_MAX_ATTEMPTS=1000)
    pubnub.break_("status", status=500, operations=["publish"], probability=0.4, seed=7)
    games = [name() for _ in range(12)]
    for game_id in games:
        play(service, game_id)
    pubnub.heal()
    eventually(lambda: all_published(own_database, 48), "not all events were published")
    for game_id in games:
        assert new_phases(pubnub.accepted(f"game-{game_id}")) == list(WAY)


def test_an_event_whose_answer_was_lost_is_sent_again_with_its_id(
    start_service: StartService, own_database: Urls, pubnub: PubNub
) -> None:
    service = start_service()
    game_id = name()
    pubnub.break_("cut", operations=["publish"], channels=[f"game-{game_id}"], stage="after", requests=1)
    play(service, game_id)
    eventually(lambda: all_published(own_database, 4), "not all events were published")
    messages = pubnub.accepted(f"game-{game_id}")
    assert new_phases(messages) == ["briefing", *WAY]
    assert messages[0] == messages[1]


def test_an_outage_opens_the_breaker_and_loses_nothing(
    start_service: StartService, own_database: Urls, pubnub: PubNub
) -> None:
    service = start_service(
        BREAKER_FAILURES=3, BREAKER_OPEN="100ms", BREAKER_OPEN_MAX="200ms", RELAY_MAX_ATTEMPTS=4
    )
    pubnub.break_("status", status=503)
    games = [name() for _ in range(5)]
    for game_id in games:
        play(service, game_id)
    eventually(lambda: service.metric("breaker_state") == 2, "the breaker did not open")
    health = service.health()
    assert health.status_code == 503
    assert health.json()["checks"]["pubnub"]["healthy"] is False
    assert health.json()["checks"]["database"]["healthy"] is True
    refused = service.http.post(
        "/functions/v1/broadcast-pubnub-event",
        headers=BEARER,
        json=BROADCAST,
    )
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert service.game(games[0])["status"] == "completed"
    # Probes in the half-open state fail too, and count against nobody.
    probes = "SELECT max(attempts) FROM event_outbox"
    eventually(lambda: (own_database.value(probes) or 0) >= 6, "the breaker sent no probes", within_s=60)
    assert own_database.value("SELECT count(*) FROM event_dead_letters") == 0
    pubnub.heal()
    eventually(lambda: all_published(own_database, 20), "not all events were published")
    for game_id in games:
        assert new_phases(pubnub.accepted(f"game-{game_id}")) == list(WAY)
    assert service.metric("breaker_state") == 0
    assert service.health().status_code == 200


def test_after_a_retry_after_nothing_is_published_before_its_time(
    start_service: StartService, own_database: Urls, pubnub: PubNub
) -> None:
    # One refusal, which alone would neither open the breaker nor concern other games.
    service = start_service(RELAY_CONCURRENCY=1)
    pubnub.forget()
    pubnub.break_("status", status=429, retry_after_s=2, operations=["publish"], requests=1)
    games = [name() for _ in range(5)]
    for game_id in games:
        play(service, game_id)
    eventually(lambda: all_published(own_database, 20), "not all events were published")
    refused, *others = pubnub.attempts()
    assert refused["status"] == 429
    assert len(others) == 20
    until = refused["answered_ns"] + 2_000_000_000
    assert min(attempt["received_ns"] for attempt in others) >= until - CLOCK_NS
    for game_id in games:
        assert new_phases(pubnub.accepted(f"game-{game_id}")) == list(WAY)


def test_a_retry_after_holds_everything_but_what_is_under_way_and_counts_against_no_event(
    start_service: StartService, own_database: Urls, pubnub: PubNub
) -> None:
    service = start_service(RELAY_CONCURRENCY=4, RELAY_MAX_ATTEMPTS=1, BREAKER_FAILURES=1000)
    pubnub.forget()
    pubnub.break_("status", status=503, retry_after_s=3, operations=["publish"])
    games = [name() for _ in range(8)]
    for game_id in games:
        play(service, game_id)
    eventually(lambda: service.metric("breaker_state") == 2, "the breaker did not open")
    assert service.health().json()["checks"]["pubnub"]["healthy"] is False
    refused = service.http.post("/functions/v1/broadcast-pubnub-event", headers=BEARER, json=BROADCAST)
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert service.tick()["errors"] == 0

    def probed() -> bool:
        attempts = pubnub.attempts()
        return bool(attempts[-1]["received_ns"] >= attempts[0]["answered_ns"] + 3_000_000_000)

    eventually(probed, "there was no attempt after the time")
    pubnub.heal()
    eventually(lambda: all_published(own_database, 32), "not all events were published")
    assert service.metric("breaker_state") == 0
    assert own_database.value("SELECT count(*) FROM event_dead_letters") == 0
    for game_id in games:
        assert new_phases(pubnub.accepted(f"game-{game_id}")) == list(WAY)
    attempts = pubnub.attempts()
    until = attempts[0]["answered_ns"] + 3_000_000_000 - CLOCK_NS
    early = [attempt for attempt in attempts if attempt["received_ns"] < until]
    assert 1 <= len(early) <= 4


def test_what_pubnub_refuses_becomes_a_dead_letter_and_can_be_replayed(
    start_service: StartService, own_database: Urls, pubnub: PubNub
) -> None:
    service = start_service()
    bad, good = name("bad"), name("good")
    pubnub.break_("status", status=400, operations=["publish"], channels=[f"game-{bad}"], requests=1)
    play(service, bad)
    play(service, good)
    eventually(lambda: all_published(own_database, 7), "the other events were not published")
    (letter,) = service.http.get("/functions/v1/dead-letters", headers=BEARER).json()["deadLetters"]
    assert (letter["gameId"], letter["seq"], letter["reason"]) == (bad, 1, "http 400")
    assert new_phases(pubnub.accepted(f"game-{bad}")) == list(WAY[1:])
    eventually(lambda: service.metric("dead_letters") == 1, "the metric does not show the dead letter")

    replay = service.http.post("/functions/v1/replay-dead-letters", headers=BEARER, json={"gameId": bad})
    assert replay.json() == {"replayed": 1, "eventIds": [letter["eventId"]]}
    eventually(lambda: all_published(own_database, 8), "the dead letter was not published")
    assert pubnub.accepted(f"game-{bad}")[-1]["eventId"] == letter["eventId"]
    again = service.http.post("/functions/v1/replay-dead-letters", headers=BEARER, json={})
    assert again.json()["replayed"] == 0


def test_denied_access_costs_few_events_one_attempt_each_and_opens_the_breaker(
    start_service: StartService, own_database: Urls, pubnub: PubNub
) -> None:
    service = start_service(BREAKER_FAILURES=3, BREAKER_OPEN="300ms", RELAY_CONCURRENCY=2)
    pubnub.break_("status", status=403, operations=["publish"])
    games = [name() for _ in range(20)]
    for game_id in games:
        service.create(id=game_id)
        service.move(game_id, "briefing")
    eventually(lambda: service.metric("breaker_state") == 2, "the breaker did not open")
    assert service.health().json()["checks"]["pubnub"]["healthy"] is False
    pubnub.heal()
    settled = "SELECT count(*) FROM event_outbox WHERE state = 'pending'"
    eventually(lambda: own_database.value(settled) == 0, "what waited was not sent")
    letters = service.http.get("/functions/v1/dead-letters", headers=BEARER).json()["deadLetters"]
    assert {(letter["reason"], letter["attempts"]) for letter in letters} == {("http 403", 1)}
    assert 3 <= len(letters) < len(games)
    replay = service.http.post("/functions/v1/replay-dead-letters", headers=BEARER, json={})
    assert replay.json()["replayed"] == len(letters)
    eventually(lambda: all_published(own_database, 20), "the dead letters were not published")


def test_an_event_that_fails_while_others_get_through_is_given_up(
    start_service: StartService, own_database: Urls, pubnub: PubNub
) -> None:
    service = start_service(RELAY_MAX_ATTEMPTS=3)
    bad = name("bad")
    pubnub.break_("status", status=500, operations=["publish"], channels=[f"game-{bad}"], requests=3)
    play(service, bad)
    eventually(lambda: all_published(own_database, 3), "the game's later events were not published")
    (row,) = own_database.fetch("SELECT reason, attempts, seq FROM event_dead_letters")
    assert row == {"reason": "http 500", "attempts": 3, "seq": 1}


def test_a_killed_relay_loses_nothing_and_another_replica_takes_over(
    start_service: StartService, own_database: Urls, pubnub: PubNub
) -> None:
    first = start_service()
    second = start_service()
    eventually(lambda: first.metric("relay_leader") == 1, "no replica became the relay")
    assert second.metric("relay_leader") == 0
    # Held back, so that it dies with messages under way.
    pubnub.break_("delay", delay_s=0.3, operations=["publish"])
    games = [name() for _ in range(100)]
    rows = [{"id": game_id, "prompt": "x"} for game_id in games]
    assert first.http.post("/rest/v1/games", headers=API, json=rows).status_code == 201
    for status in WAY:
        path = "/rest/v1/games?id=like.game-*"
        assert first.http.patch(path, headers=API, json={"status": status}).status_code == 204
    first.kill()
    pubnub.heal()
    eventually(lambda: all_published(own_database, 400), "events were lost")
    assert second.metric("relay_leader") == 1
    for game_id in games:
        messages = pubnub.accepted(f"game-{game_id}")
        firsts = list({message["eventId"]: message for message in messages}.values())
        assert new_phases(firsts) == list(WAY)


def test_a_dropped_trigger_leaves_games_running_and_put_back_resumes(
    start_service: StartService, own_database: Urls, pubnub: PubNub
) -> None:
    service = start_service()
    game_id = name()
    service.create(id=game_id)
    definition = own_database.value(
        "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = 'game_status_change_trigger'"
    )
    own_database.fetch("DROP TRIGGER IF EXISTS game_status_change_trigger ON games")
    assert service.move(game_id, "briefing").status_code == 200
    own_database.fetch(definition)
    assert service.move(game_id, "drawing").status_code == 200
    eventually(lambda: all_published(own_database, 1), "events did not resume")
    (event,) = pubnub.accepted(f"game-{game_id}")
    assert (event["seq"], event["data"]["newPhase"]) == (2, "drawing")
    log = own_database.fetch("SELECT seq, event_id, trigger_ms FROM game_transitions ORDER BY id")
    assert [row["seq"] for row in log] == [1, 2]
    assert log[0]["event_id"] is None
    assert log[0]["trigger_ms"] is None
    assert log[1]["trigger_ms"] > 0


def test_published_events_are_removed_after_their_retention(
    start_service: StartService, own_database: Urls
) -> None:
    service = start_service()
    play(service, name())
    eventually(lambda: all_published(own_database, 4), "not all events were published")
    service.stop()
    start_service(OUTBOX_RETENTION="1ms")
    eventually(lambda: own_database.value("SELECT count(*) FROM event_outbox") == 0, "nothing was removed")
    assert own_database.value("SELECT count(*) FROM game_transitions") == 4


def test_memory_is_bounded_while_events_wait(
    start_service: StartService, own_database: Urls, pubnub: PubNub
) -> None:
    service = start_service(RELAY_BUFFER=50, BREAKER_FAILURES=3)
    pubnub.break_("status", status=503)
    rows = [{"prompt": "x"} for _ in range(500)]
    assert service.http.post("/rest/v1/games", headers=API, json=rows).status_code == 201
    service.http.patch("/rest/v1/games?status=eq.waiting", headers=API, json={"status": "briefing"})
    eventually(lambda: service.metric("breaker_state") == 2, "the breaker did not open")
    eventually(lambda: service.metric("outbox_depth") == 500, "the metric does not show the backlog")
    assert service.metric("relay_buffered") <= 50
    pubnub.heal()
    eventually(lambda: all_published(own_database, 500), "not all events were published")
