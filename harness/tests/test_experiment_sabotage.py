"""A service that breaks its promises in a real scenario is caught, and its games and events are named."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.timeout(300)

#: A second timer that is too early, a game thrown back so that it moves twice, an event that nobody gets.
SCENARIO = '''
import asyncio
import json
import threading
from pathlib import Path

import asyncpg

from harness.faults.database import IdleInTransaction
from harness.stack.pubnub_control import PubNubControl

EARLY = """
    WITH moved AS (
        UPDATE games SET status = next_status(status)
        WHERE id = (SELECT id FROM games
                    WHERE status = 'drawing' AND due_at > clock_timestamp() + interval '300 ms' LIMIT 1)
        RETURNING id)
    SELECT id FROM moved
"""
BACK = """
    WITH thrown_back AS (
        UPDATE games SET status = 'drawing', phase_expires_at = clock_timestamp()
        WHERE id = (SELECT id FROM games
                    WHERE status = 'voting' AND due_at > clock_timestamp() + interval '300 ms' LIMIT 1)
        RETURNING id)
    SELECT id FROM thrown_back
"""

async def insist(session, question):
    while True:
        if found := await session.fetchval(question):
            return found
        await asyncio.sleep(0.02)

async def sabotage(target):
    ours = {"application_name": "stormwatch fault"}
    admin = await asyncpg.connect(target.database_url, server_settings=ours)
    try:
        await admin.execute("ALTER TABLE game_transitions DROP CONSTRAINT game_transitions_never_early")
        await admin.execute("SET stormwatch.source = 'timer'")
        early = await insist(admin, EARLY)
        await admin.execute("SET session_replication_role = replica")  # past the rules of games
        double = await insist(admin, BACK)
    finally:
        await admin.close()
    control = PubNubControl(target.pubnub_control_url, target.pubnub_control_token)
    with control.break_requests("drop", channels=["game-*"], requests=1) as rule:
        while not rule.applied:
            await asyncio.sleep(0.02)
        (dropped,) = [entry for entry in control.log(operation="publish") if rule.id in entry.rules]
    lost = json.loads(dropped.message)["eventId"]
    Path("sabotaged.json").write_text(json.dumps({"early": early, "double": double, "lost": lost}))

def test_sabotaged(experiment):
    """Somebody breaks what the service promised."""
    with experiment.games(count=6, players=1, service={"ENABLE_GRACE_PERIOD": "false"}) as stack:
        experiment.steady("4s")
        saboteur = threading.Thread(target=lambda: asyncio.run(sabotage(stack.target)))
        saboteur.start()
        experiment.inject(IdleInTransaction(), "5s")
        saboteur.join()
        experiment.recovered(within="3s")
'''


@dataclass(frozen=True)
class Caught:
    """What came of it."""

    #: What was done: ``early`` and ``double`` are games, ``lost`` is an event.
    done: dict[str, str]
    scenario: dict[str, Any]
    report: dict[str, Any]

    def finding(self, words: str) -> dict[str, Any]:
        (fault,) = self.scenario["faults"]
        (found,) = [expectation for expectation in fault["expectations"] if words in expectation["name"]]
        return dict(found)


@pytest.fixture(scope="module")
def caught(tmp_path_factory: pytest.TempPathFactory) -> Caught:
    folder = tmp_path_factory.mktemp("sabotage")
    (folder / "test_demo.py").write_text(SCENARIO, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--stormwatch-reports=reports", "-q"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=280, check=False, encoding="utf-8"
    )
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    assert "1 failed in" in done.stdout, done.stdout
    run = folder / "reports" / "latest"

    def read(path: Path) -> Any:
        return json.loads(path.read_text(encoding="utf-8"))

    return Caught(
        read(folder / "sabotaged.json"),
        read(run / "scenarios" / "demo.sabotaged" / "scenario.json"),
        read(run / "report.json"),
    )


@pytest.mark.parametrize("words", ["sessions at the database", "pool_in_use", "rss_bytes", "open_files"])
def test_what_a_fault_took_has_to_be_given_back(caught: Caught, words: str) -> None:
    assert caught.finding(words)["verdict"] == "pass"
    assert caught.finding(words)["measured"] is not None


def test_the_scenario_fails_and_so_does_the_report(caught: Caught) -> None:
    assert caught.scenario["outcome"] == "failed"
    assert caught.report["verdict"] == "fail"


@pytest.mark.parametrize(("what", "words"), [("early", "moved early"), ("double", "moved twice")])
def test_a_game_that_moved_wrongly_is_named(caught: Caught, what: str, words: str) -> None:
    found = caught.finding(words)
    assert (found["verdict"], found["measured"]) == ("fail", 1)
    assert [example["game"] for example in found["examples"]] == [caught.done[what]]
    assert caught.done[what] in caught.scenario["message"]


def test_an_event_that_nobody_heard_is_named(caught: Caught) -> None:
    found = caught.finding("lost events")
    assert (found["verdict"], found["measured"]) == ("fail", 1)
    assert [example["event"] for example in found["examples"]] == [caught.done["lost"]]
    assert caught.done["lost"] in caught.scenario["message"]


def test_what_was_kept_is_not_held_against_it(caught: Caught) -> None:
    for words in ("lost transitions", "out of order"):
        assert caught.finding(words)["verdict"] == "pass"
