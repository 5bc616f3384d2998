"""What the kernel drops at a socket of ours is not charged to the service: counted, by process."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest

from fixtures.synthetic_run import synthetic_rows
from harness.documents.rows import Finding
from harness.experiment import NobodyFails
from harness.experiment.expectations import Intact
from harness.history import read_history
from harness.history.names import Reading, Shortage
from harness.observe.accept_queues import AcceptQueues
from harness.observe.process import Assignment
from harness.sla.policy import load_policy
from harness.target import Target
from harness.tests.helpers import REFERENCE, eventually
from harness.tests.synthetic_judging import SHAPE, at, during, judge, plus
from harness.tests.test_verdicts import named, verdict_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts them")

#: Listens with room for one connection, says where, and accepts none.
STUCK = """
import socket
listener = socket.create_server(("127.0.0.1", 0), backlog=1)
print(listener.getsockname()[1], flush=True)
input()
"""


@contextmanager
def stuck() -> Iterator[tuple[int, int]]:
    """Run a process that accepts nothing; yield its id and its port."""
    with subprocess.Popen(
        [sys.executable, "-c", STUCK],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        yield process.pid, int(process.stdout.readline())


def knock(port: int, times: int = 8) -> list[socket.socket]:
    """Begin more connections than there is room for."""
    begun = []
    for _ in range(times):
        connection = socket.socket()
        connection.setblocking(False)
        connection.connect_ex(("127.0.0.1", port))
        begun.append(connection)
    return begun


def close(connections: list[socket.socket]) -> None:
    for connection in connections:
        connection.close()


def test_drops_are_counted_by_process_and_once() -> None:
    with stuck() as (ours, port), stuck() as (_, other_port):
        queues = AcceptQueues()
        assert queues.dropped({"toxiproxy": ours}) == {}
        begun = knock(port) + knock(other_port)
        (dropped,) = eventually(lambda: queues.dropped({"toxiproxy": ours}), 10).items()
        assert dropped[0] == "toxiproxy"
        assert dropped[1] > 0
        close(begun)
        assert AcceptQueues().dropped({"toxiproxy": ours}) == {}, "what was dropped before does not count"


def test_a_process_that_is_gone_dropped_nothing() -> None:
    with stuck() as (gone, _):
        pass
    with stuck() as (_, port):
        queues = AcceptQueues()
        begun = knock(port)
        assert queues.dropped({"toxiproxy": gone}) == {}
        close(begun)


def test_the_watch_records_those_of_the_harness_and_not_those_of_the_service(tmp_path: Path) -> None:
    # Discard: nothing answers there.
    target = Target(
        service_url="http://127.0.0.1:9",
        service_role_key="role",
        cron_secret="cron",
        pubnub_publish_key="pub",
        pubnub_subscribe_key="sub",
        pubnub_origin="http://127.0.0.1:9",
    )
    log = tmp_path / "toxiproxy.log"
    with stuck() as (ours, port), stuck() as (service, service_port):
        settings = {
            "system": REFERENCE,
            "prefix": "sw-",
            "probe_s": 60,
            "processes": {"toxiproxy": ours, "service-1": service},
            "logs": {"toxiproxy": str(log)},
            "may_watch": False,
        }
        assignment = Assignment("observer-watch", "run", tmp_path / "history", target, settings)
        with subprocess.Popen(
            [sys.executable, "-m", "harness.observe.watch"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        ) as watch:
            assert watch.stdin is not None
            assert watch.stdout is not None
            print(json.dumps(assignment.to_line()), file=watch.stdin, flush=True)
            assert json.loads(watch.stdout.readline())["ready"]
            begun = knock(port) + knock(service_port)
            eventually(lambda: drops(tmp_path / "history"), 20)
            print(json.dumps({"do": "stop", "within_s": 0}), file=watch.stdin, flush=True)
        close(begun)
    assert set(drops(tmp_path / "history")) == {("toxiproxy", Shortage.QUEUE)}


def drops(history: Path) -> list[tuple[str, str]]:
    rows = read_history(history).table.to_pylist()
    return [(row["actor"], row["error"]) for row in rows if row["name"] == Reading.SHORTAGE]


# --- what they are worth -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good() -> pd.DataFrame:
    return synthetic_rows(SHAPE)


def full(second: float, actor: str = "toxiproxy") -> dict[str, object]:
    row = {"kind": "resource", "name": Reading.SHORTAGE, "actor": actor, "start_ns": at(second), "ok": False}
    return row | {"error": Shortage.QUEUE, "value": 7.0}


def paused(process: str, start_s: float, end_s: float) -> dict[str, object]:
    fault = {"kind": "fault", "place": "process", "name": "pause", "target": process, "event": "fault-1"}
    return fault | {"actor": "fault", "start_ns": at(start_s), "end_ns": at(end_s), "ok": True}


def failing(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows.copy()
    rows.loc[during(rows, "http"), "ok"] = False
    return rows


def test_a_full_accept_queue_makes_the_run_inconclusive_and_is_named_first(good: pd.DataFrame) -> None:
    report = verdict_of(plus(good, full(25)), load_policy())
    assert report["verdict"] == "inconclusive"
    first = report["measurement"]["checks"][0]
    assert (first["name"], first["verdict"]) == ("shortages", "inconclusive")
    assert "toxiproxy out of room for new connections (7 times)" in first["explanation"]


def test_a_process_of_ours_that_was_paused_on_purpose_lacked_nothing(good: pd.DataFrame) -> None:
    def check(second: float, process: str) -> str:
        rows = plus(good, paused(process, 20, 30), full(second))
        return str(named(verdict_of(rows, load_policy()), "shortages")["verdict"])

    assert check(25, "toxiproxy") == "pass"
    assert check(25, "service-1") == "inconclusive"
    assert check(45, "toxiproxy") == "inconclusive"


@pytest.mark.parametrize("lack", [Shortage.QUEUE, Shortage.FILES])
def test_a_scenario_is_doubted_by_what_ran_out_from_its_fault_on(good: pd.DataFrame, lack: Shortage) -> None:
    def judged(second: float) -> Finding:
        return judge(NobodyFails(), plus(failing(good), full(second) | {"error": lack}))

    assert judged(10).verdict == "fail", "another scenario's, before"
    found = judged(25)
    assert (found.verdict, found.explanation.partition(";")[0]) == (
        "inconclusive",
        f"toxiproxy was {lack}",
    )


def test_an_event_lost_at_a_full_queue_of_ours_is_no_lost_event(good: pd.DataFrame) -> None:
    lost = good[~((good["kind"] == "delivery") & (good["name"] == "phase_changed"))]
    heard = good[(good["kind"] == "delivery") & (good["name"] == "phase_changed")]
    some = pd.concat([lost, heard[heard["event"] != heard["event"].iloc[len(heard) // 2]]])
    assert judge(Intact("lost_events"), some).verdict == "fail"
    assert judge(Intact("lost_events"), plus(some, full(25))).verdict == "inconclusive"
