"""The harness knows no system by name: its tables, paths, states and fields stay out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import harness

HARNESS = Path(harness.__file__).parent
SOURCES = frozenset({".py", ".sql", ".jinja", ".html", ".js"})

#: Names of the reference service that are no plain words of the field.
NAMES: Final = re.compile(
    r"rest/v1|functions/v1|monitor-game-timers|get-game-timer|broadcast-pubnub-event|feature-flags|dead-letters"
    r"|x-cron-secret|game_participants|\bsubmissions\b|event_outbox|game_transitions|event_dead_letters"
    r"|game_status_change_trigger|broadcast_game_event|\b(?:FROM|INTO|TABLE|UPDATE|ON) games\b|'games'"
    r"|['\"](?:briefing|drawing|voting|cancelled|MATCH_FOUND|player_joined)['\"]|gameId|eventId|newPhase"
    r"|phase_changed|ENABLE_[A-Z]+_[A-Z]+|[\"']/alerts|executionTime|timeRemaining|phaseExpiresAt|\bapikey\b"
    r"|SUPABASE_[A-Z_]+"
)

_ADDRESS: Final = {"SUPABASE_URL"}
_KEY: Final = {"SUPABASE_SERVICE_ROLE_KEY"}
#: What is still there, by file: settings that name a deployment. It only shrinks: what is gone is taken out.
LEFT: Final[dict[str, set[str]]] = {
    "commands/_system.py": _ADDRESS,
    "commands/doctor.py": _ADDRESS,
    "commands/run.py": _ADDRESS,
    "commands/system.py": _ADDRESS,
    "experiment/experiment.py": _ADDRESS,
    "load/options.py": _ADDRESS,
    "observe/looks.py": _ADDRESS | _KEY,
    "pytest_plugin.py": _ADDRESS,
    "stack/system.py": _ADDRESS,
    "target/address.py": _ADDRESS | _KEY | {"apikey"},
}


def named() -> Iterator[tuple[str, set[str]]]:
    """Yield each file that says a name, and what it says."""
    for path in sorted(HARNESS.rglob("*")):
        file = path.relative_to(HARNESS).as_posix()
        if path.suffix not in SOURCES or "tests/" in file or file.startswith("_bundled"):
            continue
        if found := set(NAMES.findall(path.read_text(encoding="utf-8"))):
            yield file, found


def test_the_harness_knows_no_name_of_the_reference_service() -> None:
    assert dict(named()) == LEFT


def test_the_search_finds_what_it_looks_for() -> None:
    for text in ('"/rest/v1/games"', "SELECT id FROM games", '{"gameId": 1}', "status IN ('voting')"):
        assert NAMES.search(text), text
