"""Alert rules: read, evaluated over their windows, raised once, resolved once, delivered with retries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiosmtpd.controller import Controller

from service.alerts.engine import Alerts
from service.alerts.rules import load_rules
from service.alerts.sinks import configured_sinks
from service.metrics import Metrics
from service.settings import SettingsError
from service.tests.parts import StartService
from service.tests.support import API, PubNub, eventually, free_port, name, settings
from service.windows import Window

OURS = Path(__file__).parents[1] / "alerts.yml"


class Webhook:
    """A server that takes notices, and fails as often as it is told to."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.failures: list[int] = []
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        if self.failures:
            return web.Response(status=self.failures.pop(0))
        self.received.append(json.loads(await request.text()))
        return web.Response(status=202)


@pytest.fixture
async def webhook() -> AsyncIterator[Webhook]:
    hook = Webhook()
    app = web.Application()
    app.router.add_post("/hook", hook.take)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    hook.url = f"http://127.0.0.1:{port}/hook"
    yield hook
    await runner.cleanup()


class Mailbox:
    def __init__(self) -> None:
        self.messages: list[str] = []

    async def handle_DATA(self, _: Any, __: Any, envelope: Any) -> str:
        self.messages.append(envelope.content.decode())
        return "250 OK"


def test_the_rules_are_those_of_the_requirements() -> None:
    found = [(rule.name, rule.condition, rule.window_s, rule.channels) for rule in load_rules(OURS)]
    assert found[:3] == [
        ("High Error Rate", "error_rate > 0.05", 300, ("slack", "email")),
        ("Timer Monitoring Timeout", "execution_time > 30000", 60, ("slack", "pagerduty")),
        ("PubNub API Failures", "pubnub_failures > 10", 300, ("slack",)),
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"condition": "errors > 1"}, "errors > 1"),
        ({"condition": "error_rate is high"}, "error_rate is high"),
        ({"window": "5 parsecs"}, "5 parsecs"),
        ({"window": "2h"}, "between 1s and 1h"),
        ({"channels": ["pigeon"]}, "pigeon"),
        ({"channels": []}, "channels"),
        ({"name": None, "drop": "name"}, "name"),
    ],
)
def test_a_malformed_rule_stops_the_start_with_its_fault(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    rule = {"name": "A", "condition": "error_rate > 0.05", "window": "5m", "channels": ["slack"], **change}
    rule.pop(str(rule.pop("drop", "")), None)
    path = tmp_path / "alerts.yml"
    path.write_text(json.dumps({"alerts": [rule]}), encoding="utf-8")
    with pytest.raises(SettingsError, match="alert 1") as raised:
        load_rules(path)
    assert words in str(raised.value)


def test_windows_forget() -> None:
    now = 100.0
    window = Window(3600, clock=lambda: now)
    window.add(1.0)
    window.add(3.0)
    assert (window.count(60), window.mean(60), window.highest(60)) == (2, 2.0, 3.0)
    now = 161.0
    assert (window.count(60), window.mean(60), window.highest(60)) == (0, 0.0, 0.0)
    assert window.count(300) == 2


async def test_an_alert_is_raised_once_and_resolved_once_on_every_channel(
    webhook: Webhook, tmp_path: Path
) -> None:
    rule = {"name": "Failures", "condition": "pubnub_failures > 2", "window": "1s",
            "channels": ["slack", "pagerduty", "email"]}  # fmt: skip
    path = tmp_path / "alerts.yml"
    path.write_text(json.dumps({"alerts": [rule]}), encoding="utf-8")
    mailbox = Mailbox()
    controller = Controller(mailbox, hostname="127.0.0.1", port=free_port())
    controller.start()
    try:
        configured = settings(
            slack_webhook_url=webhook.url,
            pagerduty_url=webhook.url,
            pagerduty_routing_key="routing",
            smtp_host="127.0.0.1",
            smtp_port=controller.port,
            smtp_starttls=False,
            alert_email_to="ops@example.org",
        )
        metrics = Metrics()
        sinks = configured_sinks(configured)
        alerts = Alerts(load_rules(path), metrics, sinks, environment="test", instance="one")
        webhook.failures = [500, 429, 503]
        for _ in range(3):
            metrics.publish_failed(0.1, "timeout")
        for _ in range(5):
            alerts.evaluate()
        assert alerts.answer()["alerts"][0]["state"] == "raised"
        await asyncio.sleep(2.5)
        for _ in range(5):
            alerts.evaluate()
        state = alerts.answer()["alerts"][0]
        assert (state["state"], state["value"]) == ("ok", 0)
        assert state["resolvedAt"] is not None
        await alerts.finish(30)
    finally:
        controller.stop()
    slack = [notice["text"] for notice in webhook.received if "text" in notice]
    assert [("RAISED" in text, "RESOLVED" in text) for text in slack] == [(True, False), (False, True)]
    pager = [notice for notice in webhook.received if "routing_key" in notice]
    assert [notice["event_action"] for notice in pager] == ["trigger", "resolve"]
    assert pager[0]["dedup_key"] == pager[1]["dedup_key"]
    assert ["RAISED" in text for text in mailbox.messages] == [True, False]


async def test_a_channel_without_settings_is_no_error(tmp_path: Path) -> None:
    metrics = Metrics()
    alerts = Alerts(
        load_rules(OURS), metrics, configured_sinks(settings()), environment="test", instance="one"
    )
    for _ in range(11):
        metrics.publish_failed(0.1, "timeout")
    alerts.evaluate()
    await alerts.finish(5)
    state = {alert["name"]: alert for alert in alerts.answer()["alerts"]}["PubNub API Failures"]
    assert state["state"] == "raised"
    assert state["channels"] == [{"name": "slack", "configured": False}]


def test_failures_of_pubnub_raise_the_alert_of_a_running_service(
    start_service: StartService, pubnub: PubNub
) -> None:
    service = start_service(RELAY_MAX_ATTEMPTS=1000, BREAKER_FAILURES=1000)

    def state() -> str:
        alerts = service.http.get("/alerts", headers=API).json()["alerts"]
        return str({alert["name"]: alert["state"] for alert in alerts}["PubNub API Failures"])

    assert state() == "ok"
    pubnub.break_("status", status=500, operations=["publish"])
    game_id = name()
    service.create(id=game_id)
    service.move(game_id, "briefing")
    eventually(lambda: state() == "raised", "the alert was not raised")


async def test_unauthorised_calls_raise_the_alert_of_our_rules() -> None:
    metrics = Metrics()
    alerts = Alerts(load_rules(OURS), metrics, {}, environment="test", instance="one")

    def raised() -> list[str]:
        alerts.evaluate()
        return [alert["name"] for alert in alerts.answer()["alerts"] if alert["state"] == "raised"]

    for _ in range(20):
        metrics.refused("apikey")
    assert raised() == []
    metrics.refused("x-cron-secret")
    assert raised() == ["Unauthorised Calls"]
    await alerts.finish(5)
