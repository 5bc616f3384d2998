"""`stormwatch system check`: one item, played for real, and the table of what could be seen."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.tests.helpers import REFERENCE

LENGTHS = ("--briefing=300ms", "--drawing=300ms", "--voting=300ms", "--tick=300ms")
#: A game that nobody can start.
BROKEN = f"""
from harness.system import find_system

class Wrong(find_system("{REFERENCE}")):
    name = "wrong"

    def start(self, session, item):
        session.insist("POST", "/rest/v1/lots", {{"id": item.id}}, actor=item.host, expect=(201,))
"""


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness.cli", "system", "check", *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", check=False, timeout=180)


def test_one_item_shows_what_can_be_seen() -> None:
    done = check(REFERENCE, "--json", "--", *LENGTHS)
    assert done.returncode == 0, done.stderr
    rows = {row["part"]: row for row in json.loads(done.stdout)}
    assert {row["state"] for row in rows.values()} == {"seen"}, rows
    assert rows["driven"]["what"].startswith("1 game, 1 to the end; ")
    assert rows["heard"]["what"].endswith(", 2 subscriptions")
    assert rows["clean_up"]["what"].startswith("1 games, 2 participants, ")


def test_a_step_that_is_refused_is_said_in_one_line_after_the_last_words_of_the_service(
    tmp_path: Path,
) -> None:
    path = tmp_path / "wrong.py"
    path.write_text(BROKEN, encoding="utf-8")
    done = check(str(path))
    assert done.returncode == 2
    assert re.search(r"^service-1 said last:\n  \S", done.stderr, re.MULTILINE)
    assert "this target can't be driven: POST /rest/v1/lots answered 404" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("none.py",), "none.py: no such file"),
        ((REFERENCE, "--", "--no-such"), "--no-such"),
        ((REFERENCE, "--", "--briefing=1ms"), "--briefing"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_starts(arguments: tuple[str, ...], said: str) -> None:
    done = check(*arguments)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
