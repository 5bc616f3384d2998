"""What reaches the stand-ins of Slack, PagerDuty and a mail server, and what a service says of its alerts."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
import requests

from harness.history import HistoryWriter, read_history
from harness.target import Target
from harness.tests.helpers import eventually
from harness.tests.http_stub import Request, served
from scenarios.drawing_game.alerting import Alerting
from scenarios.drawing_game.alerts import SERVICE, UNREADABLE, AlertSinks, AlertWatch, Arrival

RULE = "High Error Rate"


@pytest.fixture
def sinks() -> Iterator[AlertSinks]:
    with AlertSinks() as sinks:
        yield sinks


def slack(sinks: AlertSinks, text: str) -> int:
    return requests.post(sinks.environment()["SLACK_WEBHOOK_URL"], json={"text": text}, timeout=5).status_code


def pagerduty(sinks: AlertSinks, action: str, key: str = "k", summary: str | None = None) -> int:
    document = {"event_action": action, "dedup_key": key}
    if summary is not None:
        document["payload"] = {"summary": summary}  # type: ignore[assignment]  # pager's own shape
    return requests.post(sinks.environment()["PAGERDUTY_URL"], json=document, timeout=5).status_code


def mail(sinks: AlertSinks, subject: str) -> None:
    environment = sinks.environment()
    message = EmailMessage()
    message["From"], message["To"] = environment["ALERT_EMAIL_FROM"], environment["ALERT_EMAIL_TO"]
    message["Subject"] = subject
    message.set_content("error_rate > 0.05 over 5m")
    with smtplib.SMTP(environment["SMTP_HOST"], int(environment["SMTP_PORT"]), timeout=5) as server:
        server.send_message(message)


def told(sinks: AlertSinks) -> list[tuple[str, str, bool | None]]:
    return [(arrival.channel, arrival.rule, arrival.raised) for arrival in sinks.arrivals]


def test_each_channel_hears_of_raised_and_resolved(sinks: AlertSinks) -> None:
    assert slack(sinks, f"*[local] RAISED: {RULE}*\nerror_rate > 0.05 over 5m, now 0.2") == 202
    mail(sinks, f"[local] RAISED: {RULE}")
    assert pagerduty(sinks, "trigger", summary=f"[local] RAISED: {RULE}") == 202
    assert slack(sinks, f"*[local] RESOLVED: {RULE}*\nnow 0") == 202
    mail(sinks, f"[local] RESOLVED: {RULE}")
    # A resolve says only which incident it is about.
    assert pagerduty(sinks, "resolve") == 202
    channels = ("slack", "email", "pagerduty")
    assert told(sinks) == [(c, RULE, raised) for raised in (True, False) for c in channels]


@pytest.mark.parametrize("text", ["all is well", "", "RAISED"])
def test_a_notice_that_says_neither_is_unreadable(sinks: AlertSinks, text: str) -> None:
    slack(sinks, text)
    mail(sinks, text)
    pagerduty(sinks, "resolve", key="never triggered")
    assert told(sinks) == [(channel, UNREADABLE, None) for channel in ("slack", "email", "pagerduty")]


def test_what_is_no_notice_is_refused(sinks: AlertSinks) -> None:
    url = sinks.environment()["SLACK_WEBHOOK_URL"]
    assert requests.post(url, data="{", timeout=5).status_code == 400
    assert requests.post(url.replace("slack", "teams"), json={}, timeout=5).status_code == 404
    assert sinks.arrivals == []


def test_the_record_has_what_arrived_and_what_the_service_says(sinks: AlertSinks, tmp_path: Path) -> None:
    state = {"now": "ok"}

    def service(request: Request) -> tuple[int, Any]:
        if request.headers.get("authorization") != "Bearer key":
            return 401, {}
        return 200, {"alerts": [{"name": RULE, "state": state["now"], "value": 0.25}]}

    slack(sinks, f"RAISED: {RULE}")  # before anybody watches
    with served(service) as url, HistoryWriter(tmp_path, "alerts", "run") as history:
        watch = AlertWatch(sinks, Target(url, "key", "secret", "sub"), history)
        with watch.watching():
            state["now"] = "raised"
            eventually(lambda: not watch.wait_until_resolved(0))
            slack(sinks, f"RAISED: {RULE}")
            slack(sinks, f"RESOLVED: {RULE}")
            state["now"] = "ok"
            assert watch.wait_until_resolved(15)
        slack(sinks, f"RAISED: {RULE}")  # nobody watches any more
    rows = read_history(tmp_path).table.to_pylist()
    assert {row["kind"] for row in rows} == {"alert"}
    assert {row["name"] for row in rows} == {RULE}
    assert [row["ok"] for row in rows if row["actor"] == "slack"] == [False, True]
    said = [row for row in rows if row["actor"] == SERVICE]
    assert [said[-1]["ok"], False in {row["ok"] for row in said}] == [True, True]
    assert {row["value"] for row in said} == {0.25}


def test_what_was_raised_on_one_channel_is_waited_for(sinks: AlertSinks, tmp_path: Path) -> None:
    with served(lambda _: (200, {"alerts": []})) as url, HistoryWriter(tmp_path, "alerts", "run") as history:
        watch = AlertWatch(sinks, Target(url, "key", "secret", "sub"), history)
        with watch.watching():
            slack(sinks, f"RAISED: {RULE}")
            mail(sinks, f"RAISED: {RULE}")
            slack(sinks, f"RESOLVED: {RULE}")
            assert not watch.wait_until_resolved(0.1)
            mail(sinks, f"RESOLVED: {RULE}")
            assert watch.wait_until_resolved(15)


def test_a_notice_nobody_understands_stands_in_the_record_as_such() -> None:
    row = Arrival("slack", UNREADABLE, None, 1).row()
    assert (row.ok, row.error) == (None, "bad notice")


RULES = """
alerts:
  - {name: "High Error Rate", condition: "error_rate > 0.05", window: "5m", channels: ["slack", "email"]}
  - {name: "PubNub API Failures", condition: "pubnub_failures > 10", window: "5m", channels: ["slack"]}
"""


def test_rules_are_the_services_own_but_for_what_is_changed(tmp_path: Path) -> None:
    import yaml

    path = tmp_path / "alerts.yml"
    path.write_text(RULES, encoding="utf-8")
    with Alerting(path, {RULE: {"window": "6s"}}) as alerting:
        changed = Path(alerting.environment["ALERTS_FILE"])
        first, second = yaml.safe_load(changed.read_text(encoding="utf-8"))["alerts"]
        assert {"SLACK_WEBHOOK_URL", "PAGERDUTY_ROUTING_KEY", "SMTP_PORT"} <= set(alerting.environment)
        assert (first["window"], first["condition"]) == ("6s", "error_rate > 0.05")
        assert second == yaml.safe_load(RULES)["alerts"][1]
        assert (alerting.rules[RULE].window_s, alerting.rules[RULE].channels) == (6.0, ("slack", "email"))
        assert alerting.others(RULE) == ("PubNub API Failures",)
    assert not changed.exists()


def test_a_change_of_no_rule_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "alerts.yml"
    path.write_text(RULES, encoding="utf-8")
    with pytest.raises(KeyError, match="Fire"):
        Alerting(path, {"Fire": {"window": "6s"}})
