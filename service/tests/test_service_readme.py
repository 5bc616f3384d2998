"""The bodies on the page of the service are taken as printed, and answered with the fields that it shows."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, get_args

import service
from service.events import FOR_PRESENCE, FOR_USER, EventType
from service.tests.support import API, CRON, ServiceProcess, Urls

README = (Path(service.__file__).parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r'^```json title="(.+?)"\n(.*?)^```', README, re.MULTILINE | re.DOTALL)


def shape(value: Any) -> Any:
    """What is in a body: its fields and the kinds of their values; lists as such."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def test_bodies_are_taken_as_printed_and_answered_as_said(service: ServiceProcess, database: Urls) -> None:
    answer: Any = None
    for title, text in BLOCKS:
        body = json.loads(text)
        if title == "its answer":
            assert shape(answer) == shape(body)
        elif title == "event":
            query = "SELECT payload FROM event_outbox WHERE game_id = $1"
            assert shape(json.loads(database.value(query, "g-1"))) == shape(body)
        else:
            method, path = title.split()
            answered = service.http.request(method, path, headers={**API, **CRON}, json=body)
            assert answered.status_code in {200, 201}, (title, answered.text)
            answer = answered.json() if answered.content else None
    assert {title for title, _ in BLOCKS} >= {"event", "its answer", "POST /rest/v1/games"}


def test_the_types_of_events_are_those_of_the_code() -> None:
    said = README[README.index("Types of events:") : README.index("## Settings")]
    listed, _, channels = said.partition(". The last one")
    assert re.findall(r"`(\w+)`", listed) == list(get_args(EventType))
    assert set(get_args(EventType)[-1:]) == FOR_USER
    assert set(re.findall(r"`(\w+)`", channels)) == FOR_PRESENCE
