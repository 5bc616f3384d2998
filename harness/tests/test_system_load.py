"""The load of a system of one's own: its options, its bounds, its command, and what it does without."""

from __future__ import annotations

import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.experiment.setup import Setup
from harness.load.lengths import options_for
from harness.load.options import OptionError
from harness.load.reporting import about_run, repeating_command
from harness.system import Lifecycle, SystemFileError, Timed, find_system, tick_of
from harness.system.find import SETTING
from harness.target import Target
from harness.tests.bare import Bare
from harness.tests.helpers import REFERENCE
from harness.tests.permitted import permitted
from harness.tests.test_load_options import load_parser, options, parse
from harness.tests.test_system_find import WHOLE

AUCTION = Lifecycle("open", ("open->sold",), {"open": Timed("20s", least="15s", greatest="30s")}, {"sold"})
TARGET = Target("http://127.0.0.1:9", "key", "secret", "sub")


@pytest.fixture
def auction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The file of a system without a tick, named in the environment."""
    path = tmp_path / "auction.py"
    path.write_text(
        WHOLE.replace('Timed("2s")', 'Timed("20s", least="15s", greatest="30s")'), encoding="utf-8"
    )
    monkeypatch.setenv(SETTING, str(path))
    return str(path)


def test_its_timers_have_lengths_and_nobody_elses(auction: str) -> None:
    assert options().lengths == {"open": 20.0}
    found = options("--open=16s", "--tick=2s")
    assert (found.lengths, found.phases_s, found.game_s) == ({"open": 16.0}, 16.0, 18.0)
    assert "--open=16s" in found.words()
    with pytest.raises(SystemExit):
        parse("--briefing=1s")


def test_a_system_that_ticks_by_itself_says_how_often(auction: str) -> None:
    assert options("--open=16s").tick_s == 1.0
    text = WHOLE.replace("    name =", '    ticks_every = "10s"\n    name =')
    Path(auction).write_text(text, encoding="utf-8")
    sys.modules.pop(f"stormwatch_system_{Path(auction).stem}", None)
    assert (options().tick_s, options("--tick=2s").tick_s) == (10.0, 2.0)
    asked = Setup(tick="500ms")
    assert "--tick=10s" in asked.load_options(find_system())
    assert asked.game_s(find_system()) == 12.0
    assert tick_of(find_system(REFERENCE), "500ms") == "500ms"


def test_help_and_options_speak_of_its_items(auction: str) -> None:
    words = 'words = Words("lot", "lots", "bidder", "bidders")'
    text = WHOLE.replace("SqlWitness, System", "SqlWitness, Words, System")
    Path(auction).write_text(text.replace("    name =", f"    {words}\n    name ="), encoding="utf-8")
    shown = load_parser().format_help()
    for said in ("Concurrent lots:", "lots at the same time", "bidders in each lot"):
        assert said in " ".join(shown.split())
    assert "game " not in shown
    found = options("--lots=7", "--bidders=3")
    assert (found.games, found.players) == (7, 3)
    assert options("--games=8").games == 8


@pytest.mark.parametrize("length", ["14s", "31s"])
def test_a_length_that_it_does_not_allow_is_refused_with_its_bounds(auction: str, length: str) -> None:
    with pytest.raises(OptionError, match=f"--open: {length} is not between 15s and 30s"):
        options(f"--open={length}")


def test_a_state_can_not_be_called_like_an_option() -> None:
    clash = replace(AUCTION, begins="tick", moves=("tick->sold",), timed={"tick": Timed("20s")})
    with pytest.raises(SystemFileError, match="a state can't be called 'tick'"):
        options_for(type("Clash", (Bare,), {"lifecycle": clash}))


def test_the_lifecycle_in_the_record_is_the_one_that_was_played(auction: str) -> None:
    about = about_run(find_system(), options(), permitted(TARGET), parse(), alone=False)
    assert Lifecycle.of_entry(about["system"]["lifecycle"]) == find_system().lifecycle


def test_a_run_does_without_what_the_system_does_not_have(auction: str) -> None:
    permission = permitted(TARGET)
    absent = about_run(find_system(), options(), permission, parse(), alone=False)["absent"]
    assert {doubt["witness"]: doubt["reason"] for doubt in absent} == {
        "cron": "no ticks of ours: auction ticks by itself",
        "health": "no health probes: auction does not tell its health",
        "triggers": "nothing tells how long triggers take: the witness of auction has no trigger_ms",
    }
    assert "absent" not in about_run(find_system(REFERENCE), options(), permission, parse(), alone=False)


def test_the_command_names_the_system_that_was_named(auction: str) -> None:
    words = shlex.split(repeating_command(options(), TARGET, parse("--system", auction)))
    assert f"--system={auction}" in words
