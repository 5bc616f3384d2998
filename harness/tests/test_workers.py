"""A worker that can't do its part is named in the record, and nobody waits for it."""

from __future__ import annotations

import argparse
import errno
import json
import logging
import os
import random
import re
import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fixtures.synthetic_run import synthetic_rows, write_run
from harness.history import HistoryWriter, Witness, create_run
from harness.history.run import version
from harness.history.witnesses import WORKER, Doubt, doubts_about
from harness.load_options import LoadOptions
from harness.report.build import build_report
from harness.sla.policy import load_policy
from harness.system import Item, Session, SystemFileError, find_system
from harness.system.find import SETTING, place_of
from harness.target import Target
from harness.tests.bare import Bare
from harness.tests.helpers import REFERENCE
from harness.tests.synthetic_report import document_of
from harness.tests.test_load_options import options
from harness.tests.test_verdicts import SHAPE, named, verdict_of

with pytest.MonkeyPatch.context() as patch:
    # gevent must not take over this process.
    patch.setenv("LOCUST_SKIP_MONKEY_PATCH", "1")
    import gevent
    from gevent.event import Event
    from locust.event import Events
    from locust.rpc import Message
    from locust.runners import STATE_MISSING, STATE_RUNNING

    from harness.load import worker_link
    from harness.load import workers as crew
    from harness.load.item import PlayedItem
    from harness.load.messages import BEGAN, BEGIN, CARRIED, CARRY, CLOCK, END, ENDED, READY, STATUS
    from harness.load.worker_link import WorkerLink
    from harness.load.worker_run import RunSpec, WorkerRun, writable_run
    from harness.load.workers import RemoteWorkers, WorkersError

#: Why a worker can't begin.
FAILS = "observer-2 was not ready after 30 s"


class Clients(dict[str, Any]):
    @property
    def all(self) -> Any:
        return self.values()


class Master:
    """Locust's master as the workers sees it: workers ``one``, ``two`` ... answer as ``answers`` says."""

    def __init__(self, answers: dict[str, str | None]) -> None:
        self.environment = SimpleNamespace(events=Events())
        self.clients = Clients()
        self.told: list[tuple[str, str | None]] = []
        #: How many processes share the games, as each was told.
        self.shares: dict[str, int] = {}
        #: Of stormwatch, where a worker has another one.
        self.versions: dict[str, str] = {}
        #: Those that said their last word.
        self.ended: set[str] = set()
        self._answers = answers
        self._handlers: dict[str, Any] = {}
        self._order = list(answers)

    def register_message(self, name: str, handler: Any, **_: Any) -> None:
        self._handlers[name] = handler

    def get_worker_index(self, client: str) -> int:
        return self._order.index(client)

    def connect(self, client: str, *, ready: bool = True) -> None:
        self.environment.events.worker_connect.fire(client_id=client)
        self.clients[client] = SimpleNamespace(id=client, state=STATE_RUNNING)
        if ready:
            self.hear(READY, None, client)

    def send_message(self, name: str, data: Any = None, client: str | None = None) -> None:
        self.told.append((name, client))
        if name == BEGIN:
            assert client is not None
            self.shares[client] = data["processes"]
            said = {"error": self._answers[client], "version": self.versions.get(client, version())}
            self.hear(BEGAN, said, client)
        if name == END and client not in self.ended and self.clients[client].state != STATE_MISSING:
            self.hear(ENDED, {"missing": [], "sizes": {}, "kept": ""}, client)

    def hear(self, name: str, data: Any, client: str) -> None:
        if name == ENDED and data and "sizes" in data:
            self.ended.add(client)
        self._handlers[name](Message(name, data, client))

    def tell(self, client: str, *, drained: bool = False, unplayable: str | None = None) -> None:
        """As a worker tells how it is."""
        self.hear(STATUS, {"drained": drained, "unplayable": unplayable}, client)

    def lose(self, client: str) -> None:
        """As after kill -9: its heartbeats stay out."""
        self.clients[client].state = STATE_MISSING


def spec(tmp_path: Path, **more: Any) -> RunSpec:
    nobody: Any = SimpleNamespace(environment=dict)
    return RunSpec(
        "a-run", tmp_path / "masters" / "a-run", "sw-", options("--seed=1"), nobody, REFERENCE, **more
    )


def workers_of(master: Master, tmp_path: Path, *clients: str) -> RemoteWorkers:
    workers = RemoteWorkers(master)
    for client in clients:
        master.connect(client)
    workers.begin(spec(tmp_path))
    return workers


def test_a_worker_that_joins_late_and_cannot_begin_is_named_and_leaves(tmp_path: Path) -> None:
    master = Master({"one": None, "two": FAILS})
    workers = workers_of(master, tmp_path, "one")
    master.connect("two")
    assert ("quit", "two") in master.told
    assert workers.recorders == ["load-1", "observer-1"]
    began = time.monotonic()
    missing = workers.end(0.0)
    assert time.monotonic() - began < 5, "nobody waits for what it never began"
    reason = f"load-2 joined late and can't begin: {FAILS}"
    assert missing == [Doubt(witness, reason) for witness in WORKER]


def test_a_worker_that_joins_late_and_can_begin_is_a_part_of_the_crew(tmp_path: Path) -> None:
    master = Master({"one": None, "two": None})
    workers = workers_of(master, tmp_path, "one")
    master.connect("two")
    assert workers.recorders == ["load-1", "observer-1", "load-2", "observer-2"]
    assert master.shares == {"one": 1, "two": 2}
    assert workers.end(0.0) == []


def test_a_worker_that_joins_is_told_when_it_listens_and_not_before(tmp_path: Path) -> None:
    master = Master({"one": None, "two": None})
    workers = workers_of(master, tmp_path, "one")
    master.connect("two", ready=False)
    assert (BEGIN, "two") not in master.told
    master.hear(READY, None, "two")
    assert master.told.count((BEGIN, "two")) == 1
    assert workers.end(0.0) == []


def test_a_locust_worker_that_is_none_of_ours_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "READY_LIMIT_S", 0.01)
    master = Master({"one": None, "two": None})
    workers = workers_of(master, tmp_path, "one")
    master.connect("two", ready=False)
    gevent.sleep(0.05)
    assert [told for told in master.told if told[0] == "quit"] == [("quit", "two")]
    assert workers.end(0.0) == []


def test_a_worker_that_cannot_begin_keeps_the_run_from_beginning(tmp_path: Path) -> None:
    master = Master({"one": None, "two": FAILS})
    with pytest.raises(WorkersError, match=rf"^load-2 can't begin: {FAILS}$"):
        workers_of(master, tmp_path, "one", "two")


def test_a_killed_worker_is_named(tmp_path: Path) -> None:
    master = Master({"one": None, "two": None})
    workers = workers_of(master, tmp_path, "one", "two")
    master.lose("two")
    workers.drain()
    master.tell("one", drained=True)
    assert workers.drained, "nobody waits for its games"
    began = time.monotonic()
    missing = workers.end(0.0)
    assert time.monotonic() - began < 5
    assert missing == [Doubt(witness, "load-2 left without closing its record") for witness in WORKER]


def test_a_run_is_given_up_where_no_worker_can_start_a_game(tmp_path: Path) -> None:
    master = Master({"one": None, "two": None})
    workers = workers_of(master, tmp_path, "one", "two")
    assert workers.unplayable is None
    master.tell("one", unplayable="no game can be started")
    assert workers.unplayable is None, "the other one may"
    master.tell("two", unplayable="no game can be started")
    assert workers.unplayable == "no game can be started"


def test_a_worker_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    master = Master({"one": None, "two": None})
    master.versions["two"] = "0.0.1"
    told = f"load-2 can't begin: it runs stormwatch 0.0.1, its master {version()}: install the same on both"
    with pytest.raises(WorkersError, match=f"^{told}$"):
        workers_of(master, tmp_path, "one", "two")


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (ENDED, None),
        (ENDED, {"missing": []}),
        (STATUS, {"drained": True}),
        (CLOCK, 7),
        (CARRY, b"\xff"),
        (CARRY, {"run": "a-run", "file": "../x"}),
    ],
)
def test_garbage_of_a_worker_is_named_once_and_stops_nobody(
    name: str, data: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    master = Master({"one": None, "two": None})
    workers = workers_of(master, tmp_path, "one", "two")
    with HistoryWriter(tmp_path / "masters" / "a-run" / "history", "cron", "a-run") as history:
        comparing = gevent.spawn(workers.compare_clocks, history)
        gevent.sleep(0)
        for _ in range(3):
            master.hear(name, data, "two")
        comparing.kill()
    assert [record.getMessage()[:20] for record in caplog.records] == ["load-2 sent garbage:"]
    missing = workers.end(0.0)
    assert {doubt.witness for doubt in missing} == set(WORKER)
    assert all(doubt.reason.startswith("load-2 sent garbage: ") for doubt in missing)


def test_what_is_left_of_the_run_before_is_no_garbage(tmp_path: Path) -> None:
    master = Master({"one": None})
    workers = workers_of(master, tmp_path, "one")
    master.hear(CARRY, {"run": "the-run-before"}, "one")
    assert workers.end(0.0) == []


def test_what_a_worker_could_not_write_on_its_full_disk_is_missing(tmp_path: Path) -> None:
    master = Master({"one": None})
    workers = workers_of(master, tmp_path, "one")
    full = doubts_about("load-1", "load-1 could not write its whole history: No space left on device")
    master.hear(ENDED, {"missing": [one.entry() for one in full], "sizes": {}, "kept": ""}, "one")
    assert workers.end(0.0) == full


def test_what_the_master_could_not_write_on_its_full_disk_is_missing_and_said_once_a_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(crew.Received, "take", full)
    master = Master({"one": None})
    workers = workers_of(master, tmp_path, "one")
    master.hear(CARRY, {"run": "a-run"}, "one")
    assert caplog.messages == ["the record of load-1 can't be written: No space left on device"]
    assert CARRIED not in [name for name, _ in master.told], "so it will be sent again"
    sizes = {"history/load-1-7.arrow": 512}
    master.hear(ENDED, {"missing": [], "sizes": sizes, "kept": "/their/folder"}, "one")
    (doubt,) = workers.end(0.0)
    assert doubt.reason.startswith("512 of 512 bytes of load-1's history did not arrive: they are in /their/")


def test_what_a_stranger_sends_is_nobodys_record(tmp_path: Path) -> None:
    master = Master({"one": None})
    workers = workers_of(master, tmp_path, "one")
    for name in (BEGAN, STATUS, ENDED, CARRY, CLOCK):
        master.hear(name, None, "stranger")
    assert workers.end(0.0) == []


def test_a_worker_that_joins_when_the_load_ends_has_nothing_to_play(tmp_path: Path) -> None:
    master = Master({"one": None, "two": None})
    workers = workers_of(master, tmp_path, "one")
    workers.drain()
    master.connect("two")
    assert (BEGIN, "two") not in master.told
    master.tell("one", drained=True)
    assert workers.drained, "nobody waits for it"
    assert workers.end(0.0) == []


def test_a_folder_of_the_same_path_on_another_machine_is_not_the_masters(tmp_path: Path) -> None:
    share = spec(tmp_path, index=1)
    masters = create_run(tmp_path / "masters", "x", run_id="a-run", game_prefix=share.prefix)
    assert writable_run(share, tmp_path / "reports") == masters
    masters.update(game_prefix="sw-another-")
    own = writable_run(share, tmp_path / "reports")
    assert own.path.parent == tmp_path / "reports"
    assert json.loads((own.path / "run.json").read_text(encoding="utf-8"))["of_run"] == "a-run"


def test_a_record_whose_rest_is_elsewhere_is_in_doubt_until_it_is_whole(tmp_path: Path) -> None:
    run = write_run(tmp_path, synthetic_rows(SHAPE), SHAPE)
    (path,) = run.history.iterdir()
    whole = path.read_bytes()
    run.doubt(Doubt(Witness.PLAYERS, "half of it did not arrive", "synthetic-0"))
    path.write_bytes(whole[: len(whole) - 8])
    explained = named(document_of(build_report(run, load_policy())), "witnesses")["explanation"]
    assert explained == "half of it did not arrive"
    path.write_bytes(whole)
    assert named(document_of(build_report(run, load_policy())), "witnesses")["verdict"] == "pass"


def test_rows_that_are_elsewhere_are_in_doubt_until_they_are_copied() -> None:
    rows = synthetic_rows(SHAPE)
    away = [Doubt(Witness.PLAYERS, "load-2 can't write to the run's folder", "load-2").entry()]
    report = verdict_of(rows, load_policy(), missing=away, recorders=["synthetic", "load-2"])
    assert report["verdict"] == "inconclusive"
    row = named(report, "witnesses")
    assert (row["measured"], row["explanation"].count("load-2")) == (1, 1)
    there = [doubt.entry() | {"writer": "synthetic"} for doubt in doubts_about("load-2", "was away")]
    assert verdict_of(rows, load_policy(), missing=there)["verdict"] == "pass"


class Runner:
    """Locust's worker as ours sees it."""

    def __init__(self) -> None:
        self.said: list[tuple[str, Any]] = []
        self.handlers: dict[str, Any] = {}
        self.environment = SimpleNamespace(events=Events())

    def register_message(self, name: str, handler: Any, **_: Any) -> None:
        self.handlers[name] = handler

    def send_message(self, name: str, data: Any = None) -> None:
        self.said.append((name, data))


@pytest.mark.parametrize("anyway", [False, True])
def test_a_worker_whose_share_does_not_fit_its_machine_tells_the_master(
    anyway: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    share = spec(tmp_path, index=1, processes=2, anyway=anyway)
    monkeypatch.setattr("harness.limits.open_files", lambda: 300)
    monkeypatch.setattr(worker_link.RunSpec, "from_message", lambda _: share)
    runner = Runner()
    WorkerLink(runner, tmp_path / "reports")
    caplog.set_level(logging.ERROR)
    runner.handlers[BEGIN](Message(BEGIN, {}, "two"), argparse.Namespace(host=None))
    (ready, _), (name, said) = runner.said
    assert (ready, name) == (READY, BEGAN)
    refused = "200 games of 4 players need 530 open files in an observer, this machine allows 300"
    # With --anyway it comes as far as to its target, which it was not told here.
    assert said["error"].startswith(refused) is not anyway
    assert not (tmp_path / "reports").exists()


class Twins(Bare):
    """Takes the same id from every answer."""

    def start(self, session: Session, item: Item) -> None:
        item.known_as("the-house")


def test_an_id_that_is_given_twice_ends_the_run_with_the_line_that_takes_it() -> None:
    known: dict[str, str] = {}
    run: Any = SimpleNamespace(
        options=LoadOptions(**{**asdict(options()), "lengths": {"open": 2.0}}),
        system=Twins(Target("http://127.0.0.1:9")),
        subscribers=SimpleNamespace(subscribe=lambda *_: None),
        draining=Event(),
        item_id=lambda slot, number: f"sw-{slot}-{number}",
        first_known=lambda id, mark: known.setdefault(id, mark) == mark,
        chance=lambda *_: random.Random(1),
        spec=SimpleNamespace(processes=1),
        started=True,
        unplayable=None,
        _failed=0,
    )
    nobody: Any = None
    PlayedItem(run, nobody, "1", 1).start()
    with pytest.raises(SystemFileError) as refused:
        PlayedItem(run, nobody, "1", 2).start()
    WorkerRun.failed(run, refused.value)
    assert re.search(
        r"test_workers\.py:\d+: start: GivenTwice: two items have the id 'the-house'", run.unplayable
    )
    assert "what tells one item from another" in run.unplayable


# --- where a worker has the system ---------------------------------------------------------------------


def test_a_worker_looks_for_the_system_where_it_is_told_to_and_then_where_the_master_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.load.worker_run.handed_over", lambda permission: permission)
    message = spec(tmp_path).to_message()
    monkeypatch.delenv(SETTING, raising=False)
    here = place_of(find_system(REFERENCE))
    assert RunSpec.from_message(message).system == here
    elsewhere = message | {"system": "/masters/game.py"}
    with pytest.raises(SystemFileError, match=r"^/masters/game\.py: no such file.* give this worker --sys"):
        RunSpec.from_message(elsewhere)
    monkeypatch.setenv(SETTING, REFERENCE)
    assert RunSpec.from_message(elsewhere).system == here
    with pytest.raises(SystemFileError, match="the master plays 'quiz', and this worker has"):
        RunSpec.from_message(elsewhere | {"called": "quiz"})
