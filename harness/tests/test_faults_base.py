"""What every fault has in common: parameters, rows in the history, undoing; and timelines of them."""

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.commands.fault import command as fault_command
from harness.faults import (
    Exercised,
    Fault,
    FaultError,
    FaultTarget,
    MissingPartError,
    NotExercisedError,
    find_kind,
    kinds,
)  # fmt: skip
from harness.faults.database import AdvisoryLock
from harness.faults.network import Bandwidth, Down, Latency
from harness.faults.parameters import duration, parameters
from harness.faults.process import Kill, Pause
from harness.faults.schedule import Entry, Outcome, Schedule, candidates, check
from harness.faults.unauthorised import WrongSecrets
from harness.history import HistoryWriter, read_history
from harness.system import System, find_system
from harness.target import Target
from harness.tests.permitted import deployment
from scenarios.drawing_game.faults.flags import FlagOff

SYSTEM = find_system()
HERE = deployment(Target("http://127.0.0.1:9", "key", "cron", "sub"))


@dataclass(frozen=True)
class Noted(Fault):
    """A fault that notes what is done with it."""

    place: ClassVar[str] = "test"
    name: ClassVar[str] = "noted"
    log: ClassVar[list[str]] = []

    pause: str = duration("1s", "of nothing")
    unexercised: str | None = None
    refused: bool = False
    unmet: bool = False
    stuck: bool = False

    @contextmanager
    def applied(self, on: FaultTarget) -> Iterator[Exercised]:
        if self.refused:
            raise FaultError("refused")
        if self.unmet:
            raise NotExercisedError("nobody was there to be harmed")
        self.log.append(f"+{self.target}")
        try:
            yield lambda: self.unexercised
        finally:
            self.log.append(f"-{self.target}")
            if self.stuck:
                raise FaultError("stuck")


@pytest.fixture(autouse=True)
def empty_log() -> None:
    Noted.log.clear()


def rows_of(
    folder: Path, fault: Fault, error: type[BaseException] | None, *, fail: bool = False
) -> list[Any]:
    def inject() -> None:
        with HistoryWriter(folder, "fault", "run") as history, fault.inject(HERE, history):
            if fail:
                raise ZeroDivisionError

    if error is None:
        inject()
    else:
        with pytest.raises(error):
            inject()
    return read_history(folder).table.to_pylist()


def test_begin_and_end_are_two_rows_of_one_event(tmp_path: Path) -> None:
    begin, end = rows_of(tmp_path, Noted("a"), None)
    assert begin["event"] == end["event"]
    assert [begin[key] for key in ("place", "name", "target", "actor")] == ["test", "noted", "a", "fault"]
    assert (begin["end_ns"], begin["ok"]) == (None, None)
    assert end["ok"] is True
    assert begin["start_ns"] == end["start_ns"] <= end["end_ns"]
    assert Noted.log == ["+a", "-a"]


def test_a_fault_that_was_not_exercised_fails_and_says_so(tmp_path: Path) -> None:
    _, end = rows_of(tmp_path, Noted("a", unexercised="nobody came"), NotExercisedError)
    assert (end["ok"], end["error"]) == (False, "not exercised: nobody came")


def test_a_fault_that_can_not_be_applied_is_in_the_record(tmp_path: Path) -> None:
    begin, end = rows_of(tmp_path, Noted("a", refused=True), FaultError)
    assert (begin["ok"], end["ok"], end["error"]) == (False, False, "refused")


def test_a_fault_that_found_nobody_to_harm_is_in_the_record(tmp_path: Path) -> None:
    _, end = rows_of(tmp_path, Noted("a", unmet=True), NotExercisedError)
    assert (end["ok"], end["error"]) == (False, "nobody was there to be harmed")


def test_a_fault_that_can_not_be_undone_is_in_the_record(tmp_path: Path) -> None:
    _, end = rows_of(tmp_path, Noted("a", stuck=True), FaultError)
    assert (end["ok"], end["error"]) == (False, "stuck")


def test_is_undone_and_not_to_blame_when_the_block_fails(tmp_path: Path) -> None:
    _, end = rows_of(tmp_path, Noted("a", unexercised="nobody"), ZeroDivisionError, fail=True)
    assert end["ok"] is True
    assert Noted.log == ["+a", "-a"]


def test_every_kind_explains_itself_and_its_parameters() -> None:
    for name, kind in kinds(SYSTEM).items():
        assert name == f"{kind.place}:{kind.name}"
        assert kind.__doc__
        assert kind.__doc__.strip().splitlines()[0].endswith(".")
        assert "At its end, " in kind.__doc__, f"{name} does not say how it ends"
        for parameter in parameters(kind):
            assert parameter.help
            parameter.check(parameter.default)


def test_every_fault_that_was_promised_is_there() -> None:
    network = ("down", "refuse", "blackhole", "latency", "bandwidth", "slow_close", "reset_peer", "slicer")
    database = ("connections", "slow-statements", "row-locks", "table-lock", "advisory-lock")
    more = ("idle-in-transaction", "restart", "crash", "read-only", "terminate-backends")
    expected = {f"network:{name}" for name in (*network, "limit_data", "flapping")}
    expected |= {f"database:{name}" for name in (*database, *more)}
    expected |= {f"process:{name}" for name in ("kill", "terminate", "pause")}
    expected |= {"database:trigger-dropped", "service:flag-off", "service:emergency-rollback"}
    expected |= {"service:wrong-secrets"}
    assert expected <= set(kinds(SYSTEM))


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("process:explode", "process:kill, process:terminate, process:pause"),
        ("down", "network:down"),
        ("kill", "process:kill, tick:kill"),
        ("explode", ", ".join(sorted(kinds(SYSTEM)))),
    ],
)
def test_an_unknown_kind_is_named_with_its_neighbours(name: str, near: str) -> None:
    with pytest.raises(FaultError) as refused:
        find_kind(name, SYSTEM)
    assert set(str(refused.value).removeprefix(f"no fault {name!r}: there are ").split(", ")) == set(
        near.split(", ")
    )


def test_an_earlier_name_is_still_taken() -> None:
    assert find_kind("tick:crowd", SYSTEM) is find_kind("tick:concurrent", SYSTEM)
    assert find_kind("tick:herd", SYSTEM) is find_kind("tick:due-together", SYSTEM)
    assert not {"tick:crowd", "tick:herd"} & set(kinds(SYSTEM))


@pytest.mark.parametrize("bad", ["2", "", "-1s", "2 parsecs", "nan s", "61min", "0s"])
def test_an_impossible_duration_is_refused(bad: str) -> None:
    with pytest.raises(FaultError, match="--latency: "):
        Latency("load-service", latency=bad)


def test_no_time_is_possible_where_it_is_the_default() -> None:
    assert Latency("load-service", jitter="0s").jitter == "0s"


@pytest.mark.parametrize(
    ("fault", "parameter", "most"),
    [
        (Bandwidth("load-service"), "kilobytes", 2**31 - 1),
        (WrongSecrets(), "callers", 1000),
    ],
    ids=str,
)
def test_an_impossible_count_is_refused(fault: Fault, parameter: str, most: int) -> None:
    replace(fault, **{parameter: most})
    for bad in (0, -1, most + 1):
        with pytest.raises(FaultError, match=f"--{parameter}: {bad} is not a whole number from 1 to {most}"):
            replace(fault, **{parameter: bad})


@pytest.mark.parametrize("key", ["0", "-1", str(-(2**63)), str(2**63 - 1), "3,-7", f"{-(2**31)},{2**31 - 1}"])
def test_every_key_of_an_advisory_lock_is_possible(key: str) -> None:
    assert AdvisoryLock(key=key).describe() == f"database:advisory-lock postgres --key {key}"


@pytest.mark.parametrize("key", ["", "x", "1.5", "1,2,3", "1, 2", str(2**63), f"1,{2**31}", "1,", "\u0663"])
def test_an_impossible_key_is_refused(key: str) -> None:
    with pytest.raises(FaultError, match=r"--key: .* is neither a whole number of 64 bits nor two of 32"):
        AdvisoryLock(key=key)


@pytest.mark.parametrize("words", [["--key", "-5"], ["--key=-5"], ["--key", "3,-7"]])
def test_the_command_line_takes_negative_keys(words: list[str]) -> None:
    context = fault_command.make_context("fault", ["database:advisory-lock", *words])
    kind = fault_command.get_command(context, "database:advisory-lock")
    assert kind is not None
    assert kind.make_context("database:advisory-lock", [*words]).params["key"] in {"-5", "3,-7"}


NEW_PLACE = """
from contextlib import contextmanager
from dataclasses import dataclass
from harness.faults import Fault

@dataclass(frozen=True)
class CacheFault(Fault):
    '''Something done to the cache.'''

    place = "cache"

@dataclass(frozen=True)
class Emptied(CacheFault):
    '''Empty it.

    At its end, it fills up again.
    '''

    name = "emptied"

    @contextmanager
    def applied(self, system):
        yield lambda: None
"""


def test_a_new_place_is_a_file_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "cache.py").write_text(NEW_PLACE, encoding="utf-8")
    # A process of its own: this one must not know the fault.
    program = (
        f"import harness.faults; harness.faults.__path__.append({str(tmp_path)!r});"
        "from harness.cli import main; main(['fault', '--list'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, encoding="utf-8", check=True
    )
    listed = done.stdout[done.stdout.index("cache: ") :].split()
    assert " ".join(listed).startswith(
        "cache: something done to the cache: cache:emptied Empty it. database:"
    )


def test_a_misspelt_database_is_refused_and_not_skipped() -> None:
    with pytest.raises(FaultError, match="no database 'postgrse'; there is postgres") as refused:
        AdvisoryLock("postgrse").applied(HERE).__enter__()
    assert not isinstance(refused.value, MissingPartError)


def test_a_deployment_has_no_process_to_kill() -> None:
    with pytest.raises(MissingPartError, match="no process is within reach: the target is a deployment"):
        Kill("service-1").applied(HERE).__enter__()


@dataclass(frozen=True)
class Asleep:
    """A system one of whose parts is down."""

    target: Target = HERE.target
    system: type[System] = SYSTEM

    @property
    def parts(self) -> Mapping[str, Any]:
        return {"service-1": None}

    def pid(self, name: str) -> int | None:
        return None

    def kill(self, name: str) -> None: ...
    def terminate(self, name: str) -> None: ...
    def pause(self, name: str) -> None: ...
    def resume(self, name: str) -> None: ...
    def restart(self, name: str) -> None: ...


@pytest.mark.parametrize("kind", [Kill, Pause])
def test_a_part_that_is_down_already_can_not_be_harmed(kind: type[Fault]) -> None:
    with pytest.raises(NotExercisedError, match="not exercised: service-1 is not running"):
        kind("service-1").applied(Asleep()).__enter__()


def test_a_timeline_is_repeated_by_its_seed_and_printed() -> None:
    faults = [Down("load-service"), Latency("service-postgres"), Kill("service-1"), Pause("service-2")]
    one = Schedule.random(faults, seed=7, for_s=60)
    assert one == Schedule.random(list(reversed(faults)), seed=7, for_s=60)
    assert one != Schedule.random(faults, seed=8, for_s=60)
    assert len(str(one).splitlines()) == len(one.entries) >= 5
    assert one.entries[0].fault.describe() in str(one).splitlines()[0]


def test_a_timeline_ends_in_time_and_never_doubles_a_target() -> None:
    faults = [Down("load-service"), Latency("load-service"), Kill("service-1")]
    for seed in range(50):
        entries = Schedule.random(faults, seed=seed, for_s=40).entries
        assert all(entry.at_s + entry.for_s <= 40 for entry in entries)
        for first in entries:
            for second in entries:
                if first is not second and first.fault.target == second.fault.target:
                    apart = (
                        first.at_s + first.for_s <= second.at_s or second.at_s + second.for_s <= first.at_s
                    )
                    assert apart


def test_a_timeline_keeps_away_from_what_a_fault_can_not_do_without() -> None:
    faults = [FlagOff("ENABLE_GRACE_PERIOD"), Down("load-service"), Kill("service-1")]
    for seed in range(30):
        entries = Schedule.random(faults, seed=seed, for_s=60).entries
        assert {entry.fault for entry in entries} <= set(faults)
        for first, second in pairwise(entries):
            if FlagOff("ENABLE_GRACE_PERIOD") in {first.fault, second.fault}:
                assert first.at_s + first.for_s <= second.at_s


def test_a_timeline_draws_each_place_and_kind_as_often_however_many_targets_it_has() -> None:
    faults: list[Fault] = [Down(f"proxy-{n}") for n in range(50)]
    faults += [Latency("proxy-1"), Kill("service-1")]
    drawn = [entry.fault for entry in Schedule.random(faults, seed=3, for_s=5000).entries]
    assert 0.4 < drawn.count(Kill("service-1")) / len(drawn) < 0.6
    assert 0.15 < drawn.count(Latency("proxy-1")) / len(drawn) < 0.35


def test_a_fault_more_leaves_old_timelines_as_they_were_where_it_is_not_drawn() -> None:
    faults: list[Fault] = [Latency(f"proxy-{n}") for n in range(6)] + [Kill("service-1"), Kill("service-2")]
    more: list[Fault] = [Bandwidth("proxy-9"), Noted("a"), *faults]
    untouched, kept, turns = 0, 0, 0
    for seed in range(200):
        old = Schedule.random(faults, seed=seed, for_s=20).entries
        new = Schedule.random(more, seed=seed, for_s=20).entries
        # When faults begin and how long they last is the seed's alone.
        assert [(entry.at_s, entry.for_s) for entry in old] == [(entry.at_s, entry.for_s) for entry in new]
        drawn = [entry.fault in more[:2] for entry in new]
        if not any(drawn):
            assert old == new
            untouched += 1
        turns += len(old)
        kept += sum(one == other for one, other in zip(old, new, strict=True))
    assert untouched > 0
    assert kept > 0.4 * turns  # of three places one is new, and of four kinds two


def test_a_timeline_that_was_carried_out_is_told_from_one_that_was_not() -> None:
    entry = Entry(0.0, 1.0, Noted("a"))
    good, unmet = Outcome(entry), Outcome(entry, NotExercisedError("met nobody"))
    stuck, lacking = Outcome(entry, FaultError("stuck")), Outcome(entry, MissingPartError("no such part"))
    check([good, good])
    check([good, unmet], every=False)
    with pytest.raises(NotExercisedError, match="met nobody"):
        check([good, unmet])
    with pytest.raises(NotExercisedError, match="met nobody"):
        check([unmet, unmet], every=False)
    with pytest.raises(NotExercisedError, match="no fault was due"):
        check([])
    with pytest.raises(MissingPartError, match="no such part"):
        check([good, lacking], every=False)
    with pytest.raises(FaultError, match=r"stuck") as failed:
        check([lacking, stuck, unmet], every=False)
    assert not isinstance(failed.value, MissingPartError)


def test_a_timeline_without_time_or_faults_is_refused() -> None:
    with pytest.raises(FaultError, match="too short"):
        Schedule.random([Down("load-service")], seed=1, for_s=1)
    with pytest.raises(FaultError, match="at least one fault"):
        Schedule.random([], seed=1, for_s=60)


def test_a_timeline_overlaps_faults_and_goes_on_after_one_that_is_refused() -> None:
    timeline = Schedule(
        (
            Entry(0.0, 0.3, Noted("a")),
            Entry(0.1, 0.4, Noted("b")),
            Entry(0.15, 0.1, Noted("c", refused=True)),
            Entry(0.2, 0.05, Noted("d", unexercised="nobody came")),
        )
    )
    found = timeline.run(HERE)
    assert [outcome.entry.fault.target for outcome in found if outcome.failed] == ["c"]
    outcomes = {outcome.entry.fault.target: outcome.trouble for outcome in found}
    assert Noted.log == ["+a", "+b", "+d", "-d", "-a", "-b"]
    assert outcomes == {
        "a": None,
        "b": None,
        "c": "refused",
        "d": "test:noted d was not exercised: nobody came",
    }


def test_a_timeline_that_is_broken_off_undoes_everything() -> None:
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    timeline = Schedule((Entry(0.0, 5.0, Noted("a")), Entry(0.0, 5.0, Noted("b"))))
    with pytest.raises(KeyboardInterrupt):
        timeline.run(HERE, wait=interrupt)
    assert Noted.log == ["+a", "+b", "-b", "-a"]


def test_what_a_deployment_lacks_is_not_drawn() -> None:
    assert candidates(HERE) == []
