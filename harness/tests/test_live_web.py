"""The tabs in Locust's web UI: its routes, the login, workers, and a real browser."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from fixtures.synthetic_run import fault_row
from harness.documents.live import Figures, Live, LiveScenarios
from harness.history import HistoryWriter, Row, RunFolder, create_run, now_ns
from harness.live.file import write_live
from harness.live.tab import ObjectivesTab, register
from harness.process import ProcessError
from harness.sla.policy import load_policy
from harness.stack import Stack, start_stack
from harness.tests.browser import find_chromium
from harness.tests.helpers import eventually
from harness.tests.test_load_runs import SHORT, Locust, free_port, page_at

ENOUGH_S = 60.0
BROWSE = Path(__file__).with_name("live_browser.py")


# --- the routes ------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    # Locust's web UI reads the command line once more, which here is pytest's.
    monkeypatch.setattr(sys, "argv", ["locust"])


def web_ui(**options: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        # Locust's application, without gevent in the place of this process's sockets.
        patch.setenv("LOCUST_SKIP_MONKEY_PATCH", "1")
        from locust.env import Environment
    environment = Environment()
    environment.create_local_runner()
    ui = environment.create_web_ui(delayed_start=True, **options)
    assert ui.app is not None
    ui.app.secret_key = "x"
    return ui


def followed(tab: ObjectivesTab, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have ``tab`` show a run; what follows it is not started, but noted."""
    started: list[str] = []

    class Noted:
        def __init__(self, run: RunFolder) -> None:
            self.run = run
            started.append(f"start {run.id}")

        def stop(self) -> None:
            started.append(f"stop {self.run.id}")

    monkeypatch.setattr("harness.live.followed.LiveProcess", Noted)
    tab.follow(run)
    return started


def document(run: str = "a-run") -> Live:
    """Return what is written of a run that was judged in second 3."""
    judged = Figures(judged_at=at(3), verdict="pass", objectives=(), integrity=(), doubts=())
    nothing = LiveScenarios(under_way=(), passed=0, done=0, planned=None)
    return Live(
        run=run,
        updated_at=at(5),
        begun=True,
        ended=False,
        window=None,
        faults=(),
        scenarios=nothing,
        every_s=1.0,
        problem=None,
        figures=judged,
    )


def at(second: int) -> str:
    return f"2026-01-01T00:00:{second:02}.000+00:00"


@pytest.mark.parametrize("base", [None, "/load"])
def test_the_tab_is_one_of_locusts_and_its_page_loads_what_fills_it(base: str | None) -> None:
    ui = web_ui(web_base_path=base)
    register(ui, base)
    client = ui.app.test_client()
    index = client.get(f"{base or ''}/").text
    assert '"extended_tabs": [{"key": "objectives", "title": "Objectives"}, {"key": "kpis"' in index
    assert index.count('<script src="stormwatch/tab.js" defer></script></body>') == 1
    assert client.get(f"{base or ''}/stormwatch/tab.js").mimetype == "text/javascript"
    page = client.get(f"{base or ''}/stormwatch")
    assert "Objectives so far" in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


def test_locusts_downloads_have_our_report_among_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ui, run = web_ui(), create_run(tmp_path, "x", run_id="a-run")
    followed(register(ui, None), run, monkeypatch)
    (run.path / "report.html").write_text("<title>a report</title>", encoding="utf-8")
    client = ui.app.test_client()
    assert '"href": "./stormwatch/report?download", "title": "Download Stormwatch\\u0027s report"' in (
        client.get("/").text
    )
    answer = client.get("/stormwatch/report?download")
    assert answer.headers["Content-Disposition"] == "attachment; filename=stormwatch-a-run.html"


def test_locusts_page_waits_for_a_run_that_begins() -> None:
    ui = web_ui()
    register(ui, None)
    client, runner = ui.app.test_client(), ui.environment.runner
    assert client.get("/stats/requests").json["state"] == "ready"
    runner.shape_greenlet = object()  # a run was asked for, and its first wave has not begun
    assert client.get("/stats/requests").json["state"] == "spawning"
    runner.state = "running"


def test_other_pages_of_locust_stay_as_they_are() -> None:
    ui = web_ui()
    register(ui, None)
    assert "tab.js" not in ui.app.test_client().get("/tasks").text


def test_before_a_run_there_is_nothing_to_show() -> None:
    ui = web_ui()
    register(ui, None)
    client = ui.app.test_client()
    assert client.get("/stormwatch/live.json").json == {"live": None, "age_s": None, "report": False}
    missing = client.get("/stormwatch/report")
    assert (missing.status_code, "no report yet" in missing.text) == (404, True)


def test_what_was_written_is_served_with_its_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ui, run = web_ui(), create_run(tmp_path, "x")
    tab = register(ui, None)
    followed(tab, run, monkeypatch)
    monkeypatch.setattr("harness.live.tab.time.time", lambda: 1767225605.5)
    write_live(run.path, document())
    (run.path / "report.html").write_text("<title>a report</title>", encoding="utf-8")
    client = ui.app.test_client()
    answer = client.get("/stormwatch/live.json").json
    assert (answer["age_s"], answer["report"]) == (2.5, True)
    assert answer["live"]["figures"]["judged_at"] == at(3)
    assert "a report" in client.get("/stormwatch/report").text


def test_one_process_follows_a_run_and_the_next_run_has_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tab = register(web_ui(), None)
    first, second = (create_run(tmp_path, "x", run_id=name) for name in ("first", "second"))
    started = followed(tab, first, monkeypatch)
    tab.follow(first)
    tab.follow(second)
    tab.stop()
    tab.stop()
    tab.follow(second)
    assert started == ["start first", "stop first", "start second", "stop second"]


def test_a_run_goes_on_where_no_process_can_be_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(_run: RunFolder) -> None:
        raise ProcessError("live view can't be started: Too many open files")

    monkeypatch.setattr("harness.live.followed.LiveProcess", refuse)
    register(web_ui(), None).follow(create_run(tmp_path, "x"))
    assert "can't be shown: live view can't be started: Too many open files" in caplog.text


@pytest.mark.parametrize("path", ["", "/tab.js", "/live.json", "/report"])
def test_locusts_login_guards_the_tab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    ui, run = web_ui(web_login=True), create_run(tmp_path, "x")
    ui.login_manager.user_loader(lambda _id: None)
    tab = register(ui, None)
    followed(tab, run, monkeypatch)
    write_live(run.path, document("secret"))
    answer = ui.app.test_client().get(f"/stormwatch{path}")
    assert answer.status_code == 302
    assert answer.location.startswith("/login")
    assert "secret" not in answer.text


# --- a run -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with start_stack() as running:
        yield running


def locust_with_web_ui(stack: Stack, folder: Path, *options: str) -> tuple[Locust, str]:
    port = free_port()
    listening = ("--web-host=127.0.0.1", f"--web-port={port}")
    own = [option for option in SHORT if not option.startswith("--duration")]
    locust = Locust(
        folder / "reports", stack.permission.environment(), *own, "--duration=10min", *listening, *options
    )
    return locust, f"http://127.0.0.1:{port}"


def wait_for(what: Callable[[], Any], locust: Locust) -> Any:
    def found() -> Any:
        assert locust.process.poll() is None, locust.output
        return what()

    return eventually(found, ENOUGH_S, otherwise=lambda: locust.output)


def samples(address: str) -> dict[str, int]:
    live = requests.get(f"{address}/stormwatch/live.json", timeout=ENOUGH_S).json()["live"]
    rows = live["figures"]["objectives"] if live and live["figures"] else []
    return {row["name"]: row["samples"] for row in rows}


def test_the_form_starts_a_run_with_what_it_says_and_a_master_shows_what_its_workers_play(
    stack: Stack, tmp_path: Path
) -> None:
    port = str(free_port())
    workers = ("--processes=2", "--no-report", f"--master-bind-port={port}", f"--master-port={port}")
    metrics = f"127.0.0.1:{free_port()}"
    locust, address = locust_with_web_ui(stack, tmp_path, *workers, f"--prometheus={metrics}")
    with locust:
        page = page_at(address, locust)
        assert '"drawing"' in page
        assert "700ms" in page
        check_that_nobody_else_may_start_it(address, locust)
        asked = {"games": 4, "duration": "9min"}
        assert requests.post(f"{address}/swarm", data=asked, timeout=ENOUGH_S).json()["success"]
        wait_for(lambda: all(list(samples(address).values()) or [0]), locust)
        locust.wait_for("steady")
        shown = requests.get(f"http://{metrics}/metrics", timeout=ENOUGH_S).text
        assert 'stormwatch_objective_limit{objective="broadcast_latency"' in shown
        locust.process.send_signal(signal.SIGTERM)
        locust.wait()
        assert locust.nobody_is_left()
    document = locust.run.read()
    assert (document.option("games"), document.option("duration_s")) == (4, 540.0)
    assert json.loads((locust.run.path / "live.json").read_text(encoding="utf-8"))["ended"]


def check_that_nobody_else_may_start_it(address: str, locust: Locust) -> None:
    """See that the form is for this machine and for what can be played, and that it waits for the button."""
    port = int(address.rpartition(":")[2])
    sockets = psutil.Process(locust.process.pid).net_connections()
    assert {socket.laddr.ip for socket in sockets if socket.laddr.port == port} == {"127.0.0.1"}
    assert f"the web UI listens on 127.0.0.1:{port}, without a login" in locust.output
    foreign = {"Origin": "http://evil.example"}
    refused = requests.post(f"{address}/swarm", data={"games": 2}, headers=foreign, timeout=ENOUGH_S)
    assert refused.status_code == 403
    wrong = requests.post(f"{address}/swarm", data={"games": -5}, timeout=ENOUGH_S).json()
    assert (wrong["success"], "games: '-5'" in wrong["message"]) == (False, True)
    assert not (locust.reports / "latest").exists()


@pytest.fixture(scope="module")
def chromium() -> str:
    return find_chromium()


class Browser:
    """The browser's process: what it saw, and when it waits for something to happen."""

    def __init__(self, address: str, chromium: str, folder: Path) -> None:
        self._errors = folder / "browser.log"
        with self._errors.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, str(BROWSE), address, chromium, str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
            )

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def until(self, what: str | None = None) -> list[dict[str, Any]]:
        """Return what it saw until it waits for ``what``, or until its end."""
        assert self._process.stdout is not None
        seen = []
        for line in self._process.stdout:
            step = json.loads(line)
            if what is not None and step.get("do") == what:
                return seen
            seen.append(step)
        assert (self._process.wait(), what) == (0, None), self._errors.read_text(encoding="utf-8")
        return seen

    def go_on(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()


@pytest.mark.timeout(400)
def test_in_a_browser_figures_appear_and_change_and_a_fault_shows_while_it_lasts(
    stack: Stack, tmp_path: Path, chromium: str
) -> None:
    locust, address = locust_with_web_ui(stack, tmp_path)
    with locust:
        page_at(address, locust)
        with Browser(address, chromium, tmp_path) as browser:
            refused, *shown = browser.until("begin the fault")
            assert refused["refused"] == "games: '-5' is not a whole number of at least 1"
            first, second = (step["figures"] for step in shown)
            run = locust.run
            fault = Row(**fault_row("network:down service-pubnub", start_ns=now_ns()))
            # As `stormwatch fault` records it.
            with HistoryWriter(run.history, "fault", run.id) as history:
                history.append(fault)
                history.flush()
                browser.go_on()
                (shown,) = browser.until("end the fault")
                history.append(fault._replace(end_ns=now_ns(), ok=True))
            browser.go_on()
            kpis, *pages = browser.until("stop")
            assert requests.post(f"{address}/stop", timeout=ENOUGH_S).json()["success"]
            browser.go_on()
            report, last = browser.until()
        locust.process.send_signal(signal.SIGTERM)
        locust.wait()

    of_the_load = sum(one.kind != "census" for one in load_policy().objectives.values())
    for figures in (first, second):
        verdict, target, measured, interval, _, count = figures["cells"]
        assert target == "< 2 s"
        assert measured.startswith("p95 ")
        assert " to " in interval
        assert {"✓ pass": "pass", "✗ fail": "fail", "? open": "inconclusive"}[verdict] == figures["verdict"]
        assert int(count.split(" of ")[0].replace("\u202f", "")) > 0
        assert figures["objectives"] == of_the_load
        assert "left" in figures["left"]
    assert first["row"] != second["row"]
    assert second["trails"] >= 2, "intervals over time"
    assert [text.partition(" for ")[0] for text in shown["faults"]] == ["⚡ network:down service-pubnub"]
    assert all("From the metrics of the drawing game." in kpis["kpis"][place] for place in (0, 1, 3)), kpis
    assert len(pages) == 6
    for page in pages:
        assert (page["overflow"] <= 0, page["unnamed"]) == (True, 0), page
    assert {page["paper"] for page in pages} == {"rgb(255, 255, 255)", "rgb(17, 21, 28)"}
    assert "stormwatch" in report["report"].lower()
    assert last["errors"] == []
    assert {url for url in last["asked"] if not url.startswith((address, "data:"))} == set()
