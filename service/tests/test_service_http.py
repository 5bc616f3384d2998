"""Requests that can't be served: a clear 4xx that names the field, with the request's id."""

from __future__ import annotations

from typing import Any

import pytest

from service.tests.support import API, CRON, PubNub, ServiceProcess, Urls, name

BEARER = {"Authorization": API["Authorization"]}
EVENT: dict[str, Any] = {
    "type": "test",
    "gameId": "g",
    "userId": "u",
    "timestamp": 1,
    "version": "2.0.0",
    "data": {},
}
BROADCAST = "/functions/v1/broadcast-pubnub-event"
TIMER = "/functions/v1/get-game-timer"
STRANGE = [
    "",
    "it's",
    'say "x"',
    "a/b",
    "ä",
    "游戏",
    "a b",
    "a.b",
    "*",
    "x" * 81,
    "-x",
    "a\0b",
    "'; DROP TABLE games; --",
]


@pytest.mark.parametrize(
    ("method", "path", "headers", "field"),
    [
        ("POST", "/functions/v1/monitor-game-timers", {}, "x-cron-secret"),
        ("POST", "/functions/v1/monitor-game-timers", {"x-cron-secret": "wrong"}, "x-cron-secret"),
        ("POST", "/functions/v1/monitor-game-timers", BEARER, "x-cron-secret"),
        ("POST", BROADCAST, {}, "Authorization"),
        ("POST", BROADCAST, {"Authorization": "Bearer wrong"}, "Authorization"),
        ("POST", BROADCAST, {"Authorization": "Basic abc"}, "Authorization"),
        ("POST", TIMER, CRON, "Authorization"),
        ("POST", "/functions/v1/replay-dead-letters", {}, "Authorization"),
        ("GET", "/functions/v1/dead-letters", {}, "Authorization"),
        ("GET", "/functions/v1/feature-flags", {}, "Authorization"),
    ],
)
def test_functions_want_their_secret(
    service: ServiceProcess, method: str, path: str, headers: dict[str, str], field: str
) -> None:
    answer = service.http.request(method, path, headers=headers, json=EVENT if method == "POST" else None)
    assert answer.status_code == 401
    assert answer.json()["error"]["field"] == field
    assert answer.json()["requestId"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("without", ["apikey", "Authorization"])
def test_the_rest_api_wants_both_keys(service: ServiceProcess, without: str) -> None:
    headers = {key: value for key, value in API.items() if key != without}
    assert service.http.get("/rest/v1/games", headers=headers).status_code == 401
    assert service.http.get("/rest/v1/games", headers={**API, without: "wrong"}).status_code == 401


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"type": "nonsense"}, "type"),
        ({"type": None}, "type"),
        ({"gameId": 7}, "gameId"),
        ({"userId": ""}, "userId"),
        ({"timestamp": "1"}, "timestamp"),
        ({"timestamp": True}, "timestamp"),
        ({"timestamp": -1}, "timestamp"),
        ({"timestamp": 1.5}, "timestamp"),
        ({"version": "1.0.0"}, "version"),
        ({"data": []}, "data"),
        ({"data": None}, "data"),
        ({"extra": 1}, "extra"),
        *[({"gameId": strange}, "gameId") for strange in STRANGE],
    ],
)
def test_an_event_is_checked_field_by_field(
    service: ServiceProcess, change: dict[str, Any], field: str
) -> None:
    answer = service.http.post(BROADCAST, headers=BEARER, json={**EVENT, **change})
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == field


@pytest.mark.parametrize("field", sorted(EVENT))
def test_a_missing_field_of_an_event_is_named(service: ServiceProcess, field: str) -> None:
    body = {key: value for key, value in EVENT.items() if key != field}
    answer = service.http.post(BROADCAST, headers=BEARER, json=body)
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, field)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"{",
        b"[]",
        b"null",
        b"7",
        b'"x"',
        b"\xff\xfe",
        b'{"a": NaN}',
        b"[" * 3000,
        b'{"data": "\\ud800"}',
    ],
)
def test_a_body_that_is_no_json_object_is_refused(service: ServiceProcess, body: bytes) -> None:
    for path in (BROADCAST, TIMER, "/functions/v1/replay-dead-letters"):
        answer = service.http.post(path, headers=BEARER, content=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["message"]


def test_events_may_be_up_to_32_kib(service: ServiceProcess, pubnub: PubNub) -> None:
    def status(text: str) -> int:
        event = {**EVENT, "data": {"text": text}}
        return service.http.post(BROADCAST, headers=BEARER, json=event).status_code

    assert status("x" * 32_000) == 200
    assert status("x" * 33_000) == 413
    # What PubNub would refuse for its escapes.
    assert status("?" * 10_000) == 200
    assert status("?" * 11_000) == 413
    # Those of the client's URL are more than PubNub counts.
    assert status("(" * 31_000) == 200

    def parts() -> Any:
        for _ in range(40):
            yield b"x" * 1024

    assert service.http.post(BROADCAST, headers=BEARER, content=parts()).status_code == 413


@pytest.mark.parametrize("game_id", STRANGE)
def test_strange_ids_are_no_games(service: ServiceProcess, game_id: str) -> None:
    answer = service.http.post(TIMER, headers=BEARER, json={"gameId": game_id})
    assert (answer.status_code, answer.json()["error"]["field"]) == (400, "gameId")
    created = service.http.post("/rest/v1/games", headers=API, json={"id": game_id, "prompt": "x"})
    assert created.status_code == 400
    found = service.http.get("/rest/v1/games", headers=API, params={"id": f"eq.{game_id}"})
    assert (found.status_code, found.json()) == (200, []) or found.status_code == 400


def test_an_unknown_game_has_no_timer(service: ServiceProcess) -> None:
    answer = service.http.post(TIMER, headers=BEARER, json={"gameId": name()})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_game")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/functions/v1/monitor-game-timers", 405),
        ("PUT", BROADCAST, 405),
        ("DELETE", "/health", 405),
        ("PUT", "/rest/v1/games", 405),
        ("GET", "/functions/v1/unknown", 404),
        ("GET", "/rest/v1/unknown", 404),
        ("POST", "/rest/v1/rpc/unknown", 404),
        ("GET", "/", 404),
    ],
)
def test_wrong_methods_and_paths(service: ServiceProcess, method: str, path: str, status: int) -> None:
    answer = service.http.request(method, path, headers={**API, **CRON})
    assert answer.status_code == status
    assert answer.json()["requestId"] == answer.headers["x-request-id"]
    if status == 405:
        assert answer.headers["allow"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("games", {"prompt": ""}, 400),
        ("games", {}, 400),
        ("games", {"prompt": None}, 400),
        ("games", {"prompt": "x", "max_players": "many"}, 400),
        ("games", {"prompt": "x", "max_players": 0}, 400),
        ("games", {"prompt": "x", "max_players": 10**30}, 400),
        ("games", {"prompt": "x", "briefing_duration_s": "NaN"}, 400),
        ("games", {"prompt": "x", "briefing_duration_s": -1}, 400),
        ("games", {"prompt": "x", "status": "paused"}, 400),
        ("games", {"prompt": "x", "status": "drawing"}, 400),
        ("games", {"prompt": "x", "status": "drawing", "phase_expires_at": "infinity"}, 400),
        ("games", {"prompt": "x", "event_seq": 9}, 400),
        ("games", {"prompt": "x", "colour": "red"}, 400),
        ("games", {"prompt": "a\0b"}, 400),
        ("games", [{"prompt": "x"}, {"prompt": "x", "id": "y"}], 400),
        ("games", [1], 400),
        ("games", 1, 400),
        ("game_participants", {"game_id": "nobody-knows-it", "user_id": "u"}, 409),
        ("game_participants", {"user_id": "u"}, 400),
        ("submissions", {"game_id": "nobody-knows-it", "user_id": "u", "content": {}}, 409),
        ("rpc/transition_game_status", {"p_game_id": "nobody-knows-it", "p_new_status": "briefing"}, 404),
        ("rpc/transition_game_status", {"p_game_id": "x"}, 404),
        ("rpc/transition_game_status", {"p_game_id": 1, "p_new_status": "briefing"}, 400),
        ("rpc/transition_game_status", [], 400),
        ("rpc/find_expired_games", {"p_limit": -1}, 400),
        ("rpc/find_expired_games", {"p_limit": 10**12}, 400),
    ],
)
def test_rows_that_can_not_be_are_refused_whole(
    service: ServiceProcess, database: Urls, path: str, body: Any, status: int
) -> None:
    before = database.value("SELECT count(*) FROM games")
    answer = service.http.post(f"/rest/v1/{path}", headers=API, json=body)
    assert answer.status_code == status, answer.text
    assert {"code", "message", "details", "hint"} <= set(answer.json())
    assert database.value("SELECT count(*) FROM games") == before


def test_a_bulk_insert_is_all_or_nothing(service: ServiceProcess, database: Urls) -> None:
    good, bad = name(), "a/b"
    rows = [{"id": good, "prompt": "x"}, {"id": bad, "prompt": "x"}]
    assert service.http.post("/rest/v1/games", headers=API, json=rows).status_code == 400
    assert database.value("SELECT count(*) FROM games WHERE id = $1", good) == 0


@pytest.mark.parametrize(
    "query",
    [
        "id=x",
        "id=equals.x",
        "colour=eq.red",
        "select=colour",
        "select=id,games(*)",
        "order=colour",
        "order=id.sideways",
        "limit=-1",
        "limit=x",
        "limit=1&limit=2",
        "offset=99999999999999999999",
        "max_players=eq.many",
        "created_at=gt.yesterday-or-so",
        "max_players=like.1*",
        "status=in.(a",
        "id=eq.a%00b",
        "id=is.maybe",
    ],
)
def test_queries_that_make_no_sense_are_refused(service: ServiceProcess, query: str) -> None:
    answer = service.http.get(f"/rest/v1/games?{query}", headers=API)
    assert answer.status_code == 400, answer.text
    assert answer.json()["message"]


def test_changes_of_everything_at_once_are_refused(service: ServiceProcess) -> None:
    assert service.http.delete("/rest/v1/games", headers=API).status_code == 400
    assert service.http.patch("/rest/v1/games", headers=API, json={"prompt": "x"}).status_code == 400


def test_filters_order_and_pages(service: ServiceProcess) -> None:
    prefix = name()
    ids = [f"{prefix}-{n}" for n in range(5)]
    for n, game_id in enumerate(ids):
        service.create(id=game_id, max_players=n + 1)

    def found(query: str) -> list[str]:
        answer = service.http.get(f"/rest/v1/games?id=like.{prefix}*&select=id&{query}", headers=API)
        assert answer.status_code == 200, answer.text
        return [row["id"] for row in answer.json()]

    assert found("order=id.desc&limit=2&offset=1") == [ids[3], ids[2]]
    assert sorted(found("max_players=gte.2&max_players=lt.4")) == ids[1:3]
    assert sorted(found("max_players=in.(1,5)")) == [ids[0], ids[4]]
    assert sorted(found("max_players=not.in.(1,5)")) == ids[1:4]
    assert found("phase_expires_at=not.is.null") == []
    assert found(f'id=in.("{ids[2]}")') == [ids[2]]
    assert found("grace_used=is.false&order=max_players.asc.nullslast&limit=1") == [ids[0]]


def test_a_callers_request_id_is_kept_if_it_is_one(service: ServiceProcess) -> None:
    kept = service.http.post(TIMER, headers={**BEARER, "X-Request-Id": "abc-123"}, json={"gameId": name()})
    assert kept.headers["x-request-id"] == kept.json()["requestId"] == "abc-123"
    made_up = service.http.get("/health", headers={"X-Request-Id": "a b"})
    assert made_up.headers["x-request-id"] != "a b"


def test_no_secret_is_in_the_log(service: ServiceProcess) -> None:
    service.http.post(BROADCAST, headers=BEARER, json=EVENT)
    service.http.post(TIMER, headers={"Authorization": "Bearer wrong"}, json={})
    text = service.log_path.read_text(encoding="utf-8")
    for secret in ("service-role-key-of-tests", "cron-secret-of-tests", "pub-c-tests"):
        assert secret not in text
    password = service.environment["DATABASE_URL"].split(":")[2].split("@")[0]
    assert password not in text
