"""Real runs in which the harness lacks something: open files, a worker, ticks of its own."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from harness.stack import Stack, start_stack
from harness.tests.helpers import eventually
from harness.tests.test_load_runs import SHORT, Locust, play

INCONCLUSIVE = 3


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with start_stack() as running:
        yield running


def report_of(locust: Locust) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(locust.run.report_json.read_text(encoding="utf-8"))
    assert report["verdict"] == "inconclusive", locust.output
    judged = [*report["objectives"], *report["integrity"]]
    assert [row["name"] for row in judged if row["verdict"] == "fail"] == []
    return report


def check(report: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [row for row in report["measurement"]["checks"] if row["name"] == name]
    return dict(found)


def test_a_run_that_is_played_with_too_few_open_files_charges_nobody(stack: Stack, tmp_path: Path) -> None:
    many = ("--games=16", "--players=4", "--duration=4s")
    with play(stack, tmp_path, *many, open_files=72) as refused:
        assert refused.wait() == 2
    assert "or play --anyway" in refused.output
    with play(stack, tmp_path, *many, "--anyway", open_files=72) as locust:
        assert locust.wait() == INCONCLUSIVE, locust.output
    report = report_of(locust)
    first = report["measurement"]["checks"][0]
    assert (first["name"], first["verdict"]) == ("shortages", "inconclusive")
    assert "out of open files" in first["explanation"]


def test_a_worker_that_is_killed_in_mid_run_charges_nobody(stack: Stack, tmp_path: Path) -> None:
    with play(stack, tmp_path, "--processes=2", "--duration=5s") as locust:
        eventually(lambda: "steady: " in locust.output, otherwise=lambda: locust.output)
        children = psutil.Process(locust.process.pid).children()
        workers = [child for child in children if "locust" in child.cmdline()]
        os.kill(workers[0].pid, signal.SIGKILL)
        assert locust.wait() == INCONCLUSIVE, locust.output
    missing = check(report_of(locust), "witnesses")
    assert missing["verdict"] == "inconclusive"
    assert "load-" in missing["explanation"]
    assert {"players", "subscribers"} <= set(missing["witnesses"])


@contextmanager
def a_cron_elsewhere(stack: Stack) -> Iterator[None]:
    """Tick as the target's own cron would."""
    over = threading.Event()

    def tick() -> None:
        while not over.wait(0.3):
            with suppress(requests.RequestException):  # cron goes on, whatever came of a tick
                requests.post(
                    f"{stack.target.service_url}/functions/v1/monitor-game-timers",
                    json={},
                    headers={"x-cron-secret": stack.target.cron_secret},
                    timeout=10,
                )

    cron = threading.Thread(target=tick)
    cron.start()
    try:
        yield
    finally:
        over.set()
        cron.join()


def test_where_cron_is_elsewhere_monitoring_is_not_applicable_and_timers_are_judged(
    stack: Stack, tmp_path: Path
) -> None:
    environment = stack.permission.environment() | {"STORMWATCH_MAY_TICK": ""}
    with (
        a_cron_elsewhere(stack),
        Locust(tmp_path / "reports", environment, "--headless", *SHORT, "--duration=6s") as locust,
    ):
        assert locust.wait() == INCONCLUSIVE, locust.output
    rows = {row["name"]: row for row in report_of(locust)["objectives"]}
    assert (rows["monitor_execution"]["verdict"], rows["monitor_execution"]["samples"]) == (
        "not applicable",
        0,
    )
    assert rows["timer_accuracy"]["samples"] > 0, locust.output
    assert rows["timer_accuracy"]["doubts"] == []
    assert "STORMWATCH_MAY_TICK" in locust.output
