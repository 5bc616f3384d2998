"""Locust's web UI: who gets in, which pages may change anything, and what its form may say."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.load import web_guard
from harness.load.capacity import Machine, see_that_it_fits, size_of
from harness.load.web_form import check_forms
from harness.load.web_guard import WebRefused, guard
from harness.load_options import LoadOptions
from harness.system import find_system
from harness.tests.test_live_web import web_ui
from harness.tests.test_load_options import parse
from harness.tests.test_load_runs import Locust

HOST = "http://127.0.0.1:8000"


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    # Locust's web UI reads the command line once more, which here is pytest's.
    monkeypatch.setattr(sys, "argv", ["locust"])
    monkeypatch.setattr(web_guard, "FAILED_LOGIN_S", 0.0)
    for name in (web_guard.USER_VARIABLE, web_guard.PASSWORD_VARIABLE, web_guard.OPEN_VARIABLE):
        monkeypatch.delenv(name, raising=False)


def guarded(host: str = "127.0.0.1", *, base: str | None = None, display: str | None = None) -> Any:
    ui = web_ui(host=host, web_base_path=base)
    guard(ui, display, base)
    ui.environment.stats.total.num_requests = 7
    return ui.app.test_client()


def reset(client: Any, **headers: str) -> Any:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/stats/reset", headers={"Host": "127.0.0.1:8089"} | names)


# --- who may change anything -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://127.0.0.1:8089"},
        {"Origin": "http://localhost:8089", "Host": "localhost:8089"},
        {"Origin": "http://[::1]:8089", "Host": "[::1]:8089"},
        {"Sec_Fetch_Site": "same-origin"},
    ],
)
def test_the_page_itself_and_programs_may_change_things(headers: dict[str, str]) -> None:
    assert reset(guarded(), **headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:9999"},
        {"Origin": "http://localhost:8089"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/swarm", "/stop", "/stats/reset", "/user"])
def test_a_foreign_page_changes_nothing_and_is_told_why(path: str, headers: dict[str, str]) -> None:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = guarded().post(path, headers={"Host": "127.0.0.1:8089"} | names)
    assert (answer.status_code, answer.text) == (403, "refused: it comes from another site's page\n")


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_name_that_was_made_to_lead_here_gets_nothing(method: str) -> None:
    answer = getattr(guarded(), method)(
        "/stats/reset", headers={"Host": "evil.example:8089", "Origin": "http://evil.example:8089"}
    )
    assert answer.status_code == 403
    assert "the host 'evil.example' is not known; open the page by its address" in answer.text


def test_a_name_that_locust_was_told_is_known() -> None:
    client = guarded(display="https://load.example/")
    assert reset(client, Host="load.example", Origin="https://load.example").status_code == 200


def test_other_sites_may_not_read_nor_frame_the_page() -> None:
    answer = guarded().get("/stats/requests", headers={"Origin": "http://evil.example"})
    assert answer.headers.getlist("Access-Control-Allow-Origin") == ["http://localhost"]
    assert answer.headers["Content-Security-Policy"] == "frame-ancestors 'self'"


# --- who gets in -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["", "0.0.0.0", "192.0.2.1", "load.example"])
def test_it_listens_to_others_only_with_a_login(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(WebRefused, match=r"set STORMWATCH_WEB_PASSWORD .* or STORMWATCH_WEB_OPEN=yes"):
        guarded(host)
    monkeypatch.setenv(web_guard.OPEN_VARIABLE, "yes")
    assert guarded(host).get("/stats/requests").status_code == 200
    monkeypatch.setenv(web_guard.PASSWORD_VARIABLE, "sesame")
    assert guarded(host).get("/stats/requests").status_code == 302


def test_a_login_needs_a_password() -> None:
    with pytest.raises(WebRefused, match="--web-login needs a password: set STORMWATCH_WEB_PASSWORD"):
        guard(web_ui(host="127.0.0.1", web_login=True), None, None)


@pytest.mark.parametrize("base", [None, "/load"])
def test_the_right_name_and_password_open_it_and_no_others_do(
    base: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(web_guard.PASSWORD_VARIABLE, "sesame")
    monkeypatch.setenv(web_guard.USER_VARIABLE, "ali")
    client, at = guarded("0.0.0.0", base=base), base or ""
    assert client.get(f"{at}/").location.startswith(f"{at}/login")
    assert f'"username_password_callback": "{at}/stormwatch/login"' in client.get(f"{at}/login").text
    for name, password in (("ali", "sesam"), ("baba", "sesame"), ("", "")):
        refused = client.post(f"{at}/stormwatch/login", data={"username": name, "password": password})
        assert refused.location == f"{at}/login"
        assert "Wrong user name or password" in client.get(f"{at}/login").text
        assert client.get(f"{at}/stats/requests").status_code == 302
    assert caplog.text.count("a login from 127.0.0.1 was refused") == 3
    assert "sesam" not in caplog.text
    opened = client.post(f"{at}/stormwatch/login", data={"username": "ali", "password": "sesame"})
    assert opened.location == f"{at}/"
    assert "SameSite=Strict" in opened.headers["Set-Cookie"]
    assert client.get(f"{at}/stats/requests").status_code == 200


def test_a_locust_that_would_let_everybody_in_ends_before_anything_starts(tmp_path: Path) -> None:
    with Locust(tmp_path / "reports", {}, "--web-host=0.0.0.0") as locust:
        assert locust.wait() == 2
    last = locust.output.splitlines()[-1]
    assert last.startswith("stormwatch: the web UI would let everybody in who reaches 0.0.0.0:8089: set ")
    assert "starting the local stack" not in locust.output


# --- what the form may say -------------------------------------------------------------------------------


def fits_400_files(options: LoadOptions) -> None:
    see_that_it_fits(
        size_of(options), find_system().words, processes=1, here=1, toxiproxies=1, machine=Machine(400)
    )


class Form:
    """Locust's form over options; whether a run would have begun stands in ``began``."""

    def __init__(self, *arguments: str, busy: bool = False) -> None:
        self.given = parse(*arguments)
        self.began = False
        ui = web_ui()
        ui.environment.host = HOST
        ui.environment.parsed_options = self.given
        ui.environment.shape_class = SimpleNamespace()
        ui.environment.runner.start_shape = self._begin
        check_forms(ui, self.given, lambda: busy, fits_400_files)
        self._client = ui.app.test_client()

    def _begin(self) -> None:
        self.began = True

    def send(self, fields: Mapping[str, str]) -> dict[str, Any]:
        answer = self._client.post("/swarm", data=fields)
        assert answer.status_code == 200, "the page shows what is told with 200 alone"
        said: dict[str, Any] = answer.json
        return said


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"games": "-5"}, "games: '-5' is not a whole number of at least 1"),
        ({"games": "many"}, "games: 'many' is not a whole number"),
        ({"players": "0"}, "players: '0' is not a whole number"),
        ({"duration": "10"}, "duration: '10' is not a duration"),
        ({"tick": "0s"}, "tick: '0s' must be longer than nothing"),
        (
            {"games": "4000"},
            "4,000 games of 4 players need 51,700 open files in Toxiproxy",
        ),
        ({"seed": "x"}, "seed: 'x' is neither a whole number nor 'random'"),
        ({"gamez": "5"}, "gamez: no such option; did you mean games?"),
        ({"reports": "/elsewhere"}, "reports: no such option"),
        ({"user_count": "5"}, "user_count: give games instead"),
        ({"run_time": "5s"}, "run_time: give duration instead"),
        ({"host": "http://elsewhere.example"}, f"host: a run stays on {HOST}; start Locust with --host"),
    ],
)
def test_what_cannot_be_played_is_answered_with_the_reason_and_nothing_starts(
    fields: dict[str, str], reason: str
) -> None:
    form = Form()
    before = vars(parse()) | {"seed": form.given.seed}
    said = form.send(fields)
    assert (said["success"], form.began) == (False, False)
    assert said["message"].startswith(reason)
    assert vars(form.given) == before


def test_what_the_page_sends_begins_a_run_and_is_known_to_come_from_there() -> None:
    form = Form("--games=3")
    fields = {"games": "5", "players": "4", "user_count": "0", "run_time": "", "profile": "", "host": HOST}
    assert form.send(fields)["success"]
    assert (form.began, form.given.games, form.given.players) == (True, 5, 4)
    assert form.given.origins["games"] == "the web form"
    assert "players" not in form.given.origins


def test_a_duration_from_the_form_takes_the_place_of_a_limit() -> None:
    form = Form("--run-time=60s")
    assert form.send({"games": "3"})["success"]
    assert form.given.run_limit_s == 60
    assert form.send({"duration": "10s"})["success"]
    assert form.given.run_limit_s is None


def test_while_a_run_goes_on_no_other_begins() -> None:
    form = Form(busy=True)
    assert form.send({"games": "3"})["message"] == "A run goes on: stop it before another begins"
    assert not form.began
