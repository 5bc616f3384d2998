"""run.json: what was run, on what, and what its processes say of themselves."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import ConfigDict, Field, JsonValue

from harness.documents.base import Document, Many, Model, Moment
from harness.documents.words import Words

SCHEMA: Final = "stormwatch.run/1"


class Window(Model):
    """A declared window of a run; Unix ns."""

    name: str
    start_ns: int
    #: None: it is open.
    end_ns: int | None = None


class Cleaned(Model):
    """What came of removing what the run had made."""

    prefix: str
    #: How many there were, by kind.
    removed: dict[str, int]
    #: What is still there, and why.
    left: str | None = None


class About(Model):
    """What a run and its report both say of the run."""

    id: str
    kind: str | None = None
    started_at: Moment | None = None
    finished_at: Moment | None = None
    target: dict[str, JsonValue] | None = None
    #: Name, lifecycle and optional members of the system under test.
    system: dict[str, JsonValue] | None = None
    options: dict[str, JsonValue] | None = None
    seed: int | str | None = None
    profile: str | None = None
    #: The command to reproduce it.
    command: str | None = None
    versions: dict[str, JsonValue] | None = None
    machine: dict[str, JsonValue] | None = None
    windows: Many[Window] | None = None
    interrupted: bool | None = None
    #: Witnesses that are in doubt. What another version says of them doubts everything.
    missing: JsonValue = None
    #: Witnesses that the run does without by choice.
    absent: JsonValue = None
    #: What could not be taken away from the target's database, and what removes it.
    left_behind: str | None = None

    @property
    def words(self) -> Words:
        """What its items and those who take part in them are called."""
        return Words.of(self.system)


class Run(About, Document):
    """What was run. It may say more than is known of it here."""

    model_config = ConfigDict(extra="ignore")

    schema_id: Literal["stormwatch.run/1"] = Field(SCHEMA, alias="schema")
    expects_load: bool = True
    expects_scenarios: bool = False
    #: In how many parts it was to be played; None: in one.
    parts: int | None = None
    #: Why nothing could be played.
    refused: str | None = None
    #: Processes that write a history of their own.
    recorders: Many[str] | None = None
    #: What the ids of its games begin with.
    game_prefix: str | None = None
    #: None: nothing was to be removed.
    cleaned: Cleaned | None = None
    #: What a calibration injected, and when.
    steps: Many[dict[str, JsonValue]] = ()

    def option(self, name: str) -> float | None:
        """Return an option that is a number; None: it is not set."""
        found = (self.options or {}).get(name)
        return found if isinstance(found, (int, float)) else None

    def length_s(self, state: str) -> float | None:
        """Return how long the timer of a state runs, in seconds; None: that is not told."""
        lengths = (self.options or {}).get("lengths")
        found = lengths.get(state) if isinstance(lengths, dict) else None
        return found if isinstance(found, (int, float)) else None
