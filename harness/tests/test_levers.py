"""Which faults there are depends on the levers of the system; what is missing is said, and nothing tried."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.commands.fault import command
from harness.faults import Fault, FaultError, MissingPartError, find_kind, kinds, places
from harness.faults.concurrent_ticks import ConcurrentTicks, DueTogether
from harness.faults.database import AdvisoryLock, IdleInTransaction, RowLocks, SlowStatements, TableLock
from harness.faults.mend import mend
from harness.faults.schedule import Schedule, candidates
from harness.faults.ticks import KillAtTick, SlowTicks
from harness.faults.unauthorised import WrongSecrets
from harness.system import Levers, System, SystemFileError, find_system
from harness.system.find import SETTING, place_of
from harness.target import Target
from harness.tests.bare import Bare
from harness.tests.lots import Fire, Lots
from harness.tests.permitted import deployment
from scenarios.systems.auction import Auction

NEEDY: list[Fault] = [
    AdvisoryLock(),
    ConcurrentTicks(),
    DueTogether(),
    IdleInTransaction(),
    KillAtTick("service-1"),
    RowLocks(),
    SlowStatements(),
    SlowTicks(),
    TableLock(),
    WrongSecrets(),
]
TARGET = Target("http://127.0.0.1:9", "key", "cron", "sub", database_url="postgresql://a:b@127.0.0.1:1/c")


def named(fault: Fault) -> str:
    return f"{fault.place}:{fault.name}"


@pytest.mark.parametrize("fault", NEEDY, ids=str)
def test_a_system_without_levers_has_no_such_fault_and_a_scenario_is_told_why(fault: Fault) -> None:
    assert named(fault) not in kinds(Bare)
    told = "bare (has no lever|has no `guarded`|ticks by itself)"
    with pytest.raises(MissingPartError, match=f"^{fault}: {told}"), fault.inject(deployment(TARGET, Bare)):
        pytest.fail("it was applied")
    with pytest.raises(MissingPartError, match=f"^{named(fault)}: {told}"):
        find_kind(named(fault), Bare)


def test_a_system_without_levers_can_be_broken_in_every_other_way() -> None:
    assert {"network:down", "process:kill", "database:connections", "database:crash"} <= set(kinds(Bare))
    assert not {named(fault) for fault in NEEDY} & {
        named(fault) for fault in candidates(deployment(TARGET, Bare))
    }


def test_faults_of_its_own_are_found_drawn_and_mended_only_where_they_are_declared() -> None:
    assert kinds(Lots)["house:fire"] is Fire
    assert places(Lots)["house"] == "Set the house on fire."
    assert places(Auction)["tick"] == "Something done to ticks, by way of the database."
    assert "tick" not in places(Bare)
    assert "house:fire" not in set(kinds(Bare)) | set(kinds(find_system()))
    assert "database:trigger-dropped" not in kinds(Lots)
    assert list(mend(deployment(Target("http://127.0.0.1:9", "key", "cron", "sub"), Lots))) == [
        "house: the fire is out"
    ]


def said(system: type[System], *words: str) -> Result:
    return CliRunner().invoke(command, ["--system", place_of(system), *words])


def test_the_command_lists_what_there_is_for_the_system_that_is_named() -> None:
    assert "house:fire" in said(Lots, "--list").output
    assert "database:row-locks" in said(Lots, "--list").output
    listed = said(Bare, "--list").output
    assert "database:crash" in listed
    assert not {name for name in (*map(named, NEEDY), "house:fire") if name in listed}


def test_the_command_says_in_one_line_what_is_missing_and_the_way_out() -> None:
    refused = said(Bare, "database:row-locks")
    assert refused.exit_code == 2
    *_, line = refused.output.splitlines()
    assert line == "Error: database:row-locks: bare has no lever lock_rows: add it to `levers` of its file"


def test_the_command_speaks_of_faults_in_the_words_of_the_system() -> None:
    listed, lots = said(find_system(), "--list").output, said(Lots, "tick:due-together", "--help").output
    assert "A transaction of ours holds the table of games," in listed
    assert "Thousands of lots fall due in the same instant." in lots
    assert "--items NUMBER  How many lots." in lots


def test_help_is_to_be_had_without_a_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, str(tmp_path / "gone.py"))
    assert "network:down" in CliRunner().invoke(command, ["--list"]).output
    refused = CliRunner().invoke(command, ["network:down", "load-service"])
    assert refused.exit_code == 2
    assert refused.output.splitlines()[-1] == f"Error: {tmp_path / 'gone.py'}: no such file"


def test_levers_that_are_none_are_refused() -> None:
    class Wrong(Bare):
        levers = Levers(faults=(int,))

    with pytest.raises(
        FaultError, match=r"levers of bare: <class 'int'> among its faults does not derive from Fault"
    ):
        kinds(Wrong)


def test_levers_of_a_file_must_be_levers(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from harness.tests.bare import Bare\nclass Mine(Bare):\n    levers = {'items': 'lots'}\n",
        encoding="utf-8",
    )
    with pytest.raises(
        SystemFileError, match=rf"{file}: levers is \{{'items': 'lots'\}}, it must be harness.system.Levers"
    ):
        find_system(str(file))


def test_every_lever_is_needed_by_a_fault_or_asked_for_by_one() -> None:
    needed = {lever for kind in kinds(find_system()).values() for lever in kind.needs}
    assert {field.name for field in fields(Levers)} - needed == {"rows_fell_due", "faults", "rollbacks"}


def test_a_timeline_of_a_seed_is_the_same_for_every_system_but_for_what_it_lacks() -> None:
    drawn = {
        system: Schedule.random(candidates(deployment(TARGET, system)), seed=7, for_s=120).entries
        for system in (Bare, Lots)
    }
    pairs = list(zip(drawn[Bare], drawn[Lots], strict=True))
    assert all((one.at_s, one.for_s) == (other.at_s, other.for_s) for one, other in pairs)
    assert any(one == other for one, other in pairs)
