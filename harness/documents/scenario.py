"""scenario.json: what came of a failure scenario; and plan.json, which scenarios were collected."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import ConfigDict, Field

from harness.documents.base import Many, Model
from harness.documents.rows import Injected, ScenarioRow

SCHEMA: Final = "stormwatch.scenario/1"


class Scenario(ScenarioRow):
    """What came of a scenario, with its faults. It may say more than is known of it here."""

    model_config = ConfigDict(extra="ignore")

    schema_id: Literal["stormwatch.scenario/1"] = Field(SCHEMA, alias="schema")
    title: str | None = None
    faults: Many[Injected] = ()
    #: Whether its result can't be had.
    lost: bool = False


class Planned(Model):
    """A scenario that was collected."""

    id: str
    title: str
    command: str
