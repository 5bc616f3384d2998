"""Toxiproxy gone or stopped in mid-scenario: the harness's own failure, not held against the service."""

import json

import pytest

pytest_plugins = ["pytester"]
#: Two scenarios, each on a stack of its own.
pytestmark = pytest.mark.timeout(300)

SCENARIO = """
import threading

import pytest

from harness.faults.database import IdleInTransaction
from harness.faults.network import Latency

@pytest.mark.parametrize(
    ("fault", "how"),
    [
        pytest.param(Latency("load-service", latency="10ms"), "kill", id="on_it"),
        pytest.param(IdleInTransaction(), "pause", id="stopped_elsewhere"),
    ],
)
def test_gone(experiment, fault, how):
    with experiment.games(count=4, players=1) as stack:
        experiment.steady("2s")
        threading.Timer(1.0, getattr(stack, how), ["toxiproxy"]).start()
        experiment.inject(fault, "5s")
        experiment.recovered(within="5s")
"""


def test_toxiproxy_gone_is_inconclusive_and_named(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_demo=SCENARIO)
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function")
    pytester.runpytest_subprocess("--stormwatch-reports=reports", timeout=280)
    run = pytester.path / "reports" / "latest"
    for case in ("on_it", "stopped_elsewhere"):
        document = json.loads(
            (run / "scenarios" / f"demo.gone[{case}]" / "scenario.json").read_text(encoding="utf-8")
        )
        assert document["outcome"] == "inconclusive", document["message"]
        assert "toxiproxy" in document["message"].lower()
    assert json.loads((run / "report.json").read_text(encoding="utf-8"))["verdict"] == "inconclusive"
