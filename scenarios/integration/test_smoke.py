"""The requirements' smoke tests, word for word, with the real curl."""

# ruff: noqa: D103 - the tests' names are sentences
from __future__ import annotations

import json
import shutil
import subprocess

import pytest

from service.tests.support import CRON_SECRET, ROLE_KEY, PubNub, ServiceProcess

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

BROADCAST = """
curl -X POST https://production-project.supabase.co/functions/v1/broadcast-pubnub-event \\
  -H "Authorization: Bearer $SERVICE_ROLE_KEY" \\
  -d '{"type":"test","gameId":"test-game","userId":"test-user","timestamp":1234567890,"version":"2.0.0","data":{}}'
"""  # noqa: E501 - word for word
MONITOR = """
curl -X POST https://production-project.supabase.co/functions/v1/monitor-game-timers \\
  -H "x-cron-secret: $CRON_SECRET"
"""


def shell(service: ServiceProcess, command: str) -> dict[str, object]:
    """Run a command of the requirements, with nothing changed but the address."""
    done = subprocess.run(
        ["sh", "-ec", command.replace("https://production-project.supabase.co", service.url)],
        env={"PATH": service.environment["PATH"], "SERVICE_ROLE_KEY": ROLE_KEY, "CRON_SECRET": CRON_SECRET},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        encoding="utf-8",
    )
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_broadcast(service: ServiceProcess, pubnub: PubNub) -> None:
    answer = shell(service, BROADCAST)
    assert answer["success"] is True
    (message,) = [m for m in pubnub.accepted("game-test-game") if m["eventId"] == answer["eventId"]]
    assert (message["type"], message["userId"], message["timestamp"]) == ("test", "test-user", 1234567890)


def test_monitor(service: ServiceProcess) -> None:
    answer = shell(service, MONITOR)
    assert (answer["errors"], answer["skipped"]) == (0, 0)
    assert answer["requestId"]
