"""A run so far as Prometheus's metrics, over HTTP, and addresses at which they can't be served."""

from __future__ import annotations

import math
import socket

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from harness.documents.live import Figures, InWords, Live, LiveFault, LiveIntegrity, LiveObjective
from harness.live.prometheus import METRICS, MetricsRefused, served
from harness.tests.test_live_web import document
from harness.tests.test_load_runs import free_port

WORDS = InWords(target="", measured="", interval="", samples="", needed=None, place=None)


def objective(**fields: object) -> LiveObjective:
    about = {
        "name": "latency", "title": "Latency", "verdict": "pass", "measured": 0.5, "unit": "s",
        "quantile": 0.95,
        "comparison": "<", "threshold": 2.0, "ceiling": None, "interval": (0.4, math.inf), "confidence": 0.95,
        "samples": 40, "samples_needed": None, "reason": "", "shown": WORDS,
    }  # fmt: skip
    return LiveObjective.model_validate(about | fields)


def running() -> Live:
    rule = LiveIntegrity(name="lost", title="Lost", verdict="fail", violations=3, looked_at=9, examples=())
    unknown = objective(name="errors", title="Errors", unit="%", verdict="inconclusive", measured=None)
    figures = Figures(
        judged_at=document().updated_at,
        verdict="fail",
        objectives=(objective(), unknown),
        integrity=(rule,),
        doubts=(),
    )
    fault = LiveFault(name="network:down x", scenario=None, since=document().updated_at, for_s=7.5)
    return document().model_copy(update={"figures": figures, "faults": (fault,)})


def scraped(live: Live | None) -> dict[tuple[str, ...], float]:
    """Return name and values of labels -> value, as they come over HTTP."""
    port = free_port()
    with served(str(port), lambda: live):
        text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    return {
        (sample.name.removeprefix("stormwatch_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_objectives_intervals_limits_verdicts_and_faults_are_served() -> None:
    found = scraped(running())
    latency = ("latency", "Latency", "s")
    assert found["objective_measured", *latency] == 0.5
    assert (found["objective_low", *latency], found["objective_high", *latency]) == (0.4, math.inf)
    assert found["objective_limit", *latency] == 2.0
    assert found["objective_samples", "latency", "Latency"] == 40
    verdicts = {key[1:]: value for key, value in found.items() if key[0] == "objective_verdict"}
    assert [key for key, value in verdicts.items() if value] == [
        ("latency", "pass"),
        ("errors", "inconclusive"),
    ]
    assert [key for key, value in found.items() if key[0] == "verdict" and value] == [("verdict", "fail")]
    assert found["integrity_violations", "lost", "Lost"] == 3
    assert found["fault_seconds", "network:down x", ""] == 7.5
    assert (found["run_info", "a-run"], found["run_ended",]) == (1, 0)
    assert found["figures_age_seconds",] > 0
    assert {key[0] for key in found} == set(METRICS)


def test_what_is_not_known_has_no_sample() -> None:
    assert ("objective_measured", "errors", "Errors", "%") not in scraped(running())


def test_before_a_run_there_are_no_samples() -> None:
    assert scraped(None) == {}


@pytest.mark.parametrize("address", ["", "http", "0", "65536", "127.0.0.1:", "127.0.0.1:x", "-1"])
def test_what_is_no_address_is_refused_by_name(address: str) -> None:
    with (
        pytest.raises(MetricsRefused, match=f"--prometheus: '{address}' is neither a port"),
        served(address, running),
    ):
        pass


def test_a_port_in_use_is_refused_with_the_way_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = f"can't listen on 127.0.0.1:{port}: Address already in use; choose another port"
        with pytest.raises(MetricsRefused, match=told), served(str(port), running):
            pass


def test_a_port_is_free_again_afterwards() -> None:
    port = str(free_port())
    for _ in range(2):
        with served(port, lambda: None):
            pass
