"""PubNub's faults against a real emulator: what they break and record, and that they undo themselves."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from fixtures.pubnub_emulator.process import EmulatorProcess
from harness.faults import Deployment, FaultError, MissingPartError, NotExercisedError, kinds
from harness.faults.pubnub import (
    Cut,
    Delay,
    Drop,
    Duplicate,
    Limit,
    Malformed,
    PubNubFault,
    Reorder,
    Status,
)
from harness.history import HistoryWriter, read_history
from harness.stack.pubnub_control import PubNubControl, PubNubControlError
from harness.target import Target
from harness.tests.permitted import deployment


@pytest.fixture(scope="module")
def emulator() -> Iterator[EmulatorProcess]:
    with EmulatorProcess() as process:
        yield process


@pytest.fixture
def control(emulator: EmulatorProcess) -> Iterator[PubNubControl]:
    control = PubNubControl(emulator.url, emulator.control_token)
    control.reset()
    yield control
    assert control.rules() == [], "a fault was not undone"


@pytest.fixture
def system(emulator: EmulatorProcess) -> Deployment:
    return deployment(
        Target(
            service_url="http://127.0.0.1:1",
            service_role_key="key",
            cron_secret="secret",
            pubnub_subscribe_key="sub",
            pubnub_origin=emulator.url,
            pubnub_control_url=emulator.url,
            pubnub_control_token=emulator.control_token,
        )
    )


def get(emulator: EmulatorProcess, path: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(f"{emulator.url}{path}", timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def publish(emulator: EmulatorProcess, message: int, channel: str = "game-1") -> tuple[int, Any]:
    return get(emulator, f"/publish/pub/sub/0/{channel}/0/{message}")


def heard(emulator: EmulatorProcess, since: int) -> list[Any]:
    _, answer = get(emulator, f"/v2/subscribe/sub/game-1/0?tt={since}")
    return [message["d"] for message in answer["m"]]


def test_a_fault_is_recorded_from_before_it_is_applied_until_it_is_undone(
    control: PubNubControl, system: Deployment, emulator: EmulatorProcess, tmp_path: Path
) -> None:
    fault = Status("publish", status=429, retry_after="2s")
    with HistoryWriter(tmp_path, "test", "run-1") as history:
        with fault.inject(system, history):
            status, _ = publish(emulator, 1)
            assert status == 429
        assert publish(emulator, 2)[0] == 200
    begin, end = read_history(tmp_path).table.to_pylist()
    assert [begin[key] for key in ("place", "name", "target")] == ["pubnub", "status", "publish"]
    assert (begin["kind"], begin["actor"], begin["event"]) == ("fault", "fault", end["event"])
    assert begin["end_ns"] is None
    assert end["ok"] is True
    refused, accepted = control.log(operation="publish")
    assert end["start_ns"] <= refused.received_ns <= end["end_ns"] <= accepted.received_ns


def test_a_fault_is_undone_when_the_block_fails(
    control: PubNubControl, system: Deployment, emulator: EmulatorProcess
) -> None:
    with pytest.raises(ZeroDivisionError), Cut("all").inject(system):
        raise ZeroDivisionError
    assert publish(emulator, 1)[0] == 200


def test_a_fault_that_nothing_met_is_no_proof(
    control: PubNubControl, system: Deployment, emulator: EmulatorProcess
) -> None:
    with pytest.raises(NotExercisedError, match="no request met it"), Status("publish").inject(system):
        pass
    with (
        pytest.raises(NotExercisedError),
        Status("publish", channels=("game-*",)).inject(system),
    ):
        assert publish(emulator, 1, "user-1")[0] == 200


@pytest.mark.parametrize(
    ("fault", "answers", "delivered"),
    [
        (Status("publish", status=503), [503, 503, 503], []),
        (Status("publish", status=500, stage="after"), [500, 500, 500], [1, 2, 3]),
        (Delay("publish", delay="0.1s"), [200, 200, 200], [1, 2, 3]),
        (Drop("publish"), [200, 200, 200], []),
        (Duplicate("publish"), [200, 200, 200], [1, 1, 2, 2, 3, 3]),
        (Limit("publish", per_second=1), [200, 429, 429], [1]),
    ],
    ids=str,
)
def test_each_kind_breaks_what_it_says(
    control: PubNubControl,
    system: Deployment,
    emulator: EmulatorProcess,
    fault: PubNubFault,
    answers: list[int],
    delivered: list[int],
) -> None:
    _, [since] = get(emulator, "/time/0")
    with fault.inject(system):
        assert [publish(emulator, n)[0] for n in (1, 2, 3)] == answers
    publish(emulator, 99)
    assert heard(emulator, since) == [*delivered, 99]


def test_a_cut_after_the_effect_loses_only_the_answer(
    control: PubNubControl, system: Deployment, emulator: EmulatorProcess
) -> None:
    _, [since] = get(emulator, "/time/0")
    with Cut("publish", stage="after").inject(system), pytest.raises(OSError, match=r"reset|closed"):
        publish(emulator, 1)
    assert heard(emulator, since) == [1]
    [entry] = control.log(operation="publish")
    assert (entry.outcome, entry.status, entry.effect, entry.message) == ("cut", None, True, "1")
    assert entry.timetoken is not None
    assert entry.channels == ("game-1",)


def test_half_a_body_is_no_json(
    control: PubNubControl, system: Deployment, emulator: EmulatorProcess
) -> None:
    with (
        Malformed("publish").inject(system),
        pytest.raises(ValueError, match=r"Expecting|delimiter|Unterminated"),
    ):
        publish(emulator, 1)


def test_messages_overtake_one_another_repeatably(
    control: PubNubControl, system: Deployment, emulator: EmulatorProcess
) -> None:
    def order(seed: int) -> list[int]:
        control.clear()
        _, [since] = get(emulator, "/time/0")
        with Reorder("publish", seed=seed, held="60s").inject(system):
            for n in range(20):
                publish(emulator, n)
        publish(emulator, 99)
        return heard(emulator, since)

    first, again, other = order(3), order(3), order(4)
    assert first == again != other
    assert first != sorted(first)
    assert sorted(first) == [*range(20), 99]


def test_the_control_client_reads_the_whole_log_in_pages(
    control: PubNubControl, emulator: EmulatorProcess
) -> None:

    connection = HTTPConnection(emulator.origin, timeout=30)
    for n in range(1_500):
        connection.request("GET", f"/publish/pub/sub/0/c{n % 2}/0/{n}")
        connection.getresponse().read()
    connection.close()
    entries = list(control.log(operation="publish"))
    assert [entry.message for entry in entries] == [str(n) for n in range(1_500)]
    assert len(list(control.log(channel="c1"))) == 750
    assert [entry.message for entry in control.log(after=entries[-3].number)] == ["1498", "1499"]


def test_a_rule_of_the_control_client_ends_with_its_block_and_tells_how_often_it_applied(
    control: PubNubControl, emulator: EmulatorProcess
) -> None:
    with control.break_requests("status", status=500, requests=2, channels=["game-*"]) as rule:
        assert [publish(emulator, n)[0] for n in range(3)] == [500, 500, 200]
        assert rule.applied == 2
    assert rule.applied == 2
    with pytest.raises(PubNubControlError, match="404"):
        control.rule(rule.id)
    with control.break_requests("cut"):
        control.clear()  # its block finds it gone, and ends well


def test_what_is_wrong_is_said_in_one_line(control: PubNubControl, emulator: EmulatorProcess) -> None:
    with pytest.raises(PubNubControlError, match="401"):
        PubNubControl(emulator.url, "wrong").rules()
    with pytest.raises(PubNubControlError, match="can't be reached"):
        PubNubControl("http://127.0.0.1:1", "token", timeout_s=2).rules()
    with pytest.raises(PubNubControlError, match="explode"):
        control.add("explode")
    with pytest.raises(FaultError, match="no operation publlish"):
        Status("publlish")
    with pytest.raises(FaultError, match="about messages"):
        Drop("subscribe")


def test_a_deployment_without_an_emulator_has_no_such_part(system: Deployment) -> None:
    target = Target(
        service_url="http://127.0.0.1:1",
        service_role_key="key",
        cron_secret="secret",
        pubnub_subscribe_key="sub",
    )
    with (
        pytest.raises(MissingPartError, match="STORMWATCH_PUBNUB_CONTROL_URL"),
        Status("publish").inject(deployment(target)),
    ):
        pass
    assert Status.examples(deployment(target)) == ()
    assert Status("publish") in Status.examples(system)


def test_every_example_of_every_kind_can_be_applied(control: PubNubControl, system: Deployment) -> None:
    ours = [kind for kind in kinds().values() if kind.place == "pubnub"]
    assert Cut in ours
    for kind in ours:
        for example in kind.examples(system):
            with example.applied(system) as exercised:
                assert exercised() == "no request met it"
