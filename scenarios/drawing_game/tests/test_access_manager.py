"""A service's token against a real emulator: it may publish, but not while its token is revoked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fixtures.pubnub_emulator.process import EmulatorProcess
from harness.faults import Deployment, NotExercisedError
from harness.target import Target
from harness.tests.permitted import deployment
from scenarios.drawing_game.access_manager import AccessManager, TokenRevoked


@pytest.fixture(scope="module")
def system() -> Iterator[Deployment]:
    with EmulatorProcess() as emulator:
        yield deployment(
            Target(
                service_url="http://127.0.0.1:1",
                service_role_key="key",
                cron_secret="secret",
                pubnub_publish_key="pub",
                pubnub_subscribe_key="sub",
                pubnub_origin=emulator.url,
                pubnub_control_url=emulator.url,
                pubnub_control_token=emulator.control_token,
            )
        )


def test_a_revoked_token_is_refused_and_the_next_one_is_not(system: Deployment, tmp_path: Path) -> None:
    file = tmp_path / "token"
    access = AccessManager(file)
    url = f"{system.target.pubnub_origin}/publish/pub/sub/0/game-1/0/1"

    def publish(token: str | None = None) -> httpx.Response:
        return httpx.get(url, params={"auth": token or file.read_text(encoding="ascii").strip()})

    assert publish("none").status_code == 200
    access.turn_on(system.target)
    assert publish("none").status_code == 403
    assert publish().status_code == 200
    assert httpx.get(f"{system.target.pubnub_origin}/v2/subscribe/sub/game-1/0").status_code == 200
    with TokenRevoked("service", access=access).inject(system):
        assert publish().json()["message"] == "Token is revoked"
    assert publish().status_code == 200
    with pytest.raises(NotExercisedError), TokenRevoked("service", access=access).inject(system):
        pass
