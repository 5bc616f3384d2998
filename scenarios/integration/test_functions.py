"""The functions as clients see them: channels of each event, the timer, the monitor's answer."""

# ruff: noqa: D103 - the tests' names are sentences
from __future__ import annotations

import re
from datetime import datetime

import pytest

from service.tests.support import API, PubNub, ServiceProcess, name

BEARER = {"Authorization": API["Authorization"]}


@pytest.mark.parametrize(
    ("kind", "parts"),
    [
        ("test", {"gameChannel"}),
        ("vote_cast", {"gameChannel"}),
        ("MATCH_FOUND", {"gameChannel", "userChannel"}),
        ("player_joined", {"gameChannel", "presenceChannel"}),
        ("player_left", {"gameChannel", "presenceChannel"}),
        ("connection_status", {"gameChannel", "presenceChannel"}),
    ],
)
def test_an_event_goes_to_its_channels(
    service: ServiceProcess, pubnub: PubNub, kind: str, parts: set[str]
) -> None:
    game, user = name(), name("user")
    body = {
        "type": kind,
        "gameId": game,
        "userId": user,
        "timestamp": 5,
        "version": "2.0.0",
        "data": {"a": "ä"},
    }
    answer = service.http.post("/functions/v1/broadcast-pubnub-event", headers=BEARER, json=body)
    assert answer.status_code == 200
    found = {key: value for key, value in answer.json().items() if key.endswith("Channel")}
    assert set(found) == parts
    expected = {
        "gameChannel": f"game-{game}",
        "userChannel": f"user-{user}",
        "presenceChannel": f"presence-{game}",
    }
    for part, sent in found.items():
        assert re.fullmatch(r"\d{17}", sent["timetoken"])
        (message,) = pubnub.accepted(expected[part])
        assert body.items() <= message.items()
        assert message["eventId"] == answer.json()["eventId"]
        assert message["requestId"] == answer.headers["x-request-id"]


def test_the_timer_follows_the_game(service: ServiceProcess) -> None:
    game_id = name()
    service.create(id=game_id, briefing_duration_s=100)

    def timer() -> dict[str, object]:
        answer = service.http.post("/functions/v1/get-game-timer", headers=BEARER, json={"gameId": game_id})
        assert answer.status_code == 200
        return dict(answer.json())

    waiting = timer()
    assert (waiting["phase"], waiting["phaseExpiresAt"], waiting["phaseDuration"]) == ("waiting", None, None)
    service.move(game_id, "briefing")
    briefing = timer()
    assert (briefing["phase"], briefing["phaseDuration"]) == ("briefing", 100)
    left_s = (
        datetime.fromisoformat(str(briefing["phaseExpiresAt"]))
        - datetime.fromisoformat(str(briefing["serverTime"]))
    ).total_seconds()
    assert briefing["timeRemaining"] == pytest.approx(left_s, abs=0.01)
    assert 0 < left_s <= 100


def test_the_health_of_all_parts(service: ServiceProcess) -> None:
    answer = service.health()
    assert answer.status_code == 200
    assert answer.json()["status"] == "healthy"
    assert set(answer.json()["checks"]) == {"database", "pubnub", "edgeFunctions"}
    for check in answer.json()["checks"].values():
        assert check["healthy"] is True
        assert check["latencyMs"] >= 0
        assert check["error"] is None


@pytest.mark.parametrize(
    "metric",
    [
        "timer_monitoring_executions_total",
        "event_broadcasting_success_total",
        "average_execution_time_ms",
        "error_rate",
        "db_pool_in_use",
        "db_pool_size",
        "http_connections",
        "outbox_depth",
        "outbox_age_seconds",
        "breaker_state",
        "dead_letters",
    ],
)
def test_a_metric_is_there(service: ServiceProcess, metric: str) -> None:
    assert service.metric(metric) >= 0
