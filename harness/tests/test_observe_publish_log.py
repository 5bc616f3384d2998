"""Attempts to publish, as PubNub's emulator saw them, and searches for secrets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
import requests

from fixtures.pubnub_emulator.process import EmulatorProcess
from harness.history import HistoryWriter, read_history
from harness.history.names import Publish
from harness.observe.publish_log import record_attempts
from harness.observe.secrets import count_secrets, search, secrets_of
from harness.stack.pubnub_control import PubNubControl
from harness.target import Target
from scenarios.systems.drawing_game import DrawingGame


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorProcess]:
    with EmulatorProcess() as process:
        yield process


def target_of(emulator: EmulatorProcess) -> Target:
    return Target(
        service_url="http://127.0.0.1:1",
        service_role_key="key",
        cron_secret="secret",
        pubnub_subscribe_key="sub",
        pubnub_control_url=emulator.url,
        pubnub_control_token=emulator.control_token,
    )


def publish(emulator: EmulatorProcess, game: str, event: str) -> int:
    message = quote(json.dumps({"type": "phase_changed", "gameId": game, "eventId": event}), safe="")
    url = f"{emulator.url}/publish/pub-c-1/sub-c-1/0/game-{game}/0/{message}"
    return requests.get(url, timeout=5).status_code


def test_attempts_are_recorded_with_their_events_also_those_refused(
    emulator: EmulatorProcess, tmp_path: Path
) -> None:
    control = PubNubControl(emulator.url, emulator.control_token)
    control.reset()
    assert publish(emulator, "one", "event-1") == 200
    with control.break_requests("status", operations=["publish"], status=403, requests=1):
        assert publish(emulator, "two", "event-2") == 403
    with HistoryWriter(tmp_path, "attempts", "run") as history:
        assert record_attempts(DrawingGame(target_of(emulator)), history) == 2
    first, second = read_history(tmp_path).table.to_pylist()
    assert {first["name"], second["name"]} == {Publish.ATTEMPT}
    assert (first["game"], first["event"], first["ok"], first["error"]) == ("one", "event-1", True, None)
    assert (second["game"], second["event"], second["ok"]) == ("two", "event-2", False)
    assert (second["error"], second["value"]) == ("http 403", 403)
    assert first["start_ns"] <= first["end_ns"] <= second["end_ns"]


def test_a_target_without_an_emulator_is_refused(tmp_path: Path) -> None:
    with (
        HistoryWriter(tmp_path, "attempts", "run") as history,
        pytest.raises(ValueError, match="STORMWATCH_PUBNUB_CONTROL_URL is not set"),
    ):
        record_attempts(DrawingGame(Target("http://127.0.0.1:1", "key", "secret", "sub")), history)


# --- secrets -----------------------------------------------------------------------------------------

TARGET = Target(
    service_url="http://127.0.0.1:1",
    service_role_key="role/key+1",
    cron_secret="cron-secret-1",
    pubnub_subscribe_key="sub-c-public",
    database_url="postgresql://app:db-secret-1@127.0.0.1:5/app",
)


@pytest.mark.parametrize(
    "text", ["role/key+1", "role%2Fkey%2B1", "x-cron-secret: cron-secret-1", "password=db-secret-1"]
)
def test_a_secret_is_found_however_it_stands_there(tmp_path: Path, text: str) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "service.log").write_text(f"one line\nand {text} in another\n", encoding="utf-8")
    (tmp_path / "empty.txt").touch()
    assert dict(search(tmp_path, secrets_of(TARGET))) == {"empty.txt": 0, "logs/service.log": 1}


def test_a_secret_in_a_history_is_found(tmp_path: Path) -> None:
    from harness.history import Row

    with HistoryWriter(tmp_path, "load", "run") as history:
        history.append(Row("http", "GET /", "player-1", error="refused cron-secret-1"))
    ((_, count),) = search(tmp_path, secrets_of(TARGET))
    assert count >= 1


def test_what_is_no_secret_is_not_found() -> None:
    assert count_secrets(b"sub-c-public at http://127.0.0.1:1 for app", secrets_of(TARGET)) == 0
    assert b"" not in secrets_of(TARGET)
