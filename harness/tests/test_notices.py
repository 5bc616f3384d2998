"""Notices reach a real HTTP server and a real mail server; one that does not arrive costs no verdict."""

from __future__ import annotations

import email
import json
import threading
from collections.abc import Iterator
from email import policy
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from click.testing import CliRunner

from fixtures.synthetic_run import Shape
from harness.cli import main
from harness.commands import rollout
from harness.commands._notify import tell_of
from harness.documents.rollout import StepRow
from harness.history import RunFolder
from harness.report.gate import Row
from harness.report.notices import NoticeSettings, NoticeSettingsError, link_to, notify
from harness.stack.ports import PortBlock
from harness.tests.synthetic_report import eventful, loaded_report, report_of

ROWS = [
    Row("objective", "timer_accuracy", "fail", "98 % < 99.9 %", "Timer accuracy"),
    Row("objective", "error_rate", "inconclusive", "too <few> & far\nbetween"),
    Row("objective", "act_latency", "not applicable", "nobody acts"),
    Row("objective", "availability", "inconclusive", "allowed", allowed=True),
]
ABOUT = "stormwatch run r-1"
PASSWORD = "pass-word-1"


class Sink(HTTPServer):
    """Takes what is posted, and answers by its status."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posted: list[Any] = []
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/services/se-cret"


class _Handler(BaseHTTPRequestHandler):
    server: Sink

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.posted.append(json.loads(body))
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def sink() -> Iterator[Sink]:
    with Sink() as sink:
        thread = threading.Thread(target=sink.serve_forever, args=(0.02,))
        thread.start()
        yield sink
        sink.shutdown()
        thread.join()


class Mailbox:
    """Takes mail from who knows the password."""

    def __init__(self) -> None:
        self.mail: list[tuple[list[str], Any]] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        message = email.message_from_bytes(envelope.content, policy=policy.default)
        self.mail.append((envelope.rcpt_tos, message))
        return "250 OK"

    def knows(self, _server: Any, _session: Any, _envelope: Any, _how: str, given: Any) -> AuthResult:
        return AuthResult(success=given.password == PASSWORD.encode(), handled=False)


@pytest.fixture
def mailbox() -> Iterator[tuple[Mailbox, int]]:
    box = Mailbox()
    with PortBlock() as block:
        port = block.take()
        knows = {"authenticator": box.knows, "auth_require_tls": False}
        controller = Controller(box, "127.0.0.1", port, **knows)
        controller.start()
        yield box, port
        controller.stop()


def by_mail(port: int, **other: str) -> NoticeSettings:
    environment = {
        "SMTP_HOST": "127.0.0.1",
        "SMTP_PORT": str(port),
        "SMTP_USERNAME": "us",
        "SMTP_PASSWORD": PASSWORD,
        "SMTP_STARTTLS": "false",
        "ALERT_EMAIL_TO": "team@stormwatch.example",
    }
    return NoticeSettings.of("email", environment | other)


def test_slack_is_told_the_verdict_and_the_rows_that_did_not_pass(sink: Sink) -> None:
    settings = NoticeSettings.of("slack", {"SLACK_WEBHOOK_URL": sink.url})
    assert notify("fail", ROWS, "https://ci/1", settings, about=ABOUT) == []
    assert sink.posted == [
        {
            "text": "*stormwatch run r-1: fail*\nfail: Timer accuracy: 98 % &lt; 99.9 %\n"
            "inconclusive: error_rate: too &lt;few&gt; &amp; far between\nhttps://ci/1"
        }
    ]


def test_a_webhook_is_told_the_same_as_data_and_of_a_pass_without_rows(sink: Sink) -> None:
    settings = NoticeSettings.of("webhook", {"ALERT_WEBHOOK_URL": sink.url})
    notify("fail", ROWS, "https://ci/1", settings, about=ABOUT)
    notify("pass", ROWS[2:], "", settings, about=ABOUT)
    first, second = sink.posted
    assert (first["about"], first["verdict"], first["link"]) == (ABOUT, "fail", "https://ci/1")
    assert [row["name"] for row in first["rows"]] == ["timer_accuracy", "error_rate"]
    assert (second["verdict"], second["rows"]) == ("pass", [])


def test_a_report_is_told_of_by_the_rows_that_are_no_pass(sink: Sink, tmp_path: Path) -> None:
    shape = Shape(games_at_once=2, players=1, seconds=15, http_per_s=1)
    report = report_of(eventful(loaded_report(tmp_path, shape), scenarios=0))
    settings = NoticeSettings.of("webhook", {"ALERT_WEBHOOK_URL": sink.url})
    tell_of(report, tmp_path, settings, command="drill recovery")
    [told] = sink.posted
    assert (told["about"], told["verdict"]) == (f"stormwatch drill recovery {report.run.id}", report.verdict)
    assert told["rows"]
    assert {row["verdict"] for row in told["rows"]} <= {"fail", "inconclusive"}


def test_a_rollout_is_told_of_by_the_step_at_which_it_ended(sink: Sink, tmp_path: Path) -> None:
    at = "2026-01-01T00:00:00+00:00"
    steps = [
        StepRow(share=0.25, started_at=at, decision="go on"),
        StepRow(share=0.5, started_at=at, decision="roll back", why="too many errors"),
    ]
    settings = NoticeSettings.of("webhook", {"ALERT_WEBHOOK_URL": sink.url})
    found = SimpleNamespace(steps=steps, outcome="rolled back")
    rollout._tell(found, RunFolder(tmp_path), settings)
    [told] = sink.posted
    assert told["verdict"] == "rolled back"
    assert [(row["name"], row["reason"]) for row in told["rows"]] == [("50% of new items", "too many errors")]


def test_a_mail_has_the_verdict_in_its_subject(mailbox: tuple[Mailbox, int]) -> None:
    box, port = mailbox
    rows = [*ROWS, *(Row("fault", f"f-{number}", "fail", "x" * 1000) for number in range(20))]
    assert notify("fail", rows, "/reports/r-1", by_mail(port), about=ABOUT) == []
    [(to, message)] = box.mail
    assert to == ["team@stormwatch.example"]
    assert (message["Subject"], message["From"]) == ("stormwatch run r-1: fail", "stormwatch@localhost")
    lines = message.get_content().splitlines()
    assert lines[0] == "fail: Timer accuracy: 98 % < 99.9 %"
    assert lines[10:12] == ["and 12 more", "/reports/r-1"]
    assert max(map(len, lines)) < 400


def test_what_does_not_arrive_is_told_in_a_line_each_without_a_secret(
    sink: Sink, mailbox: tuple[Mailbox, int]
) -> None:
    sink.status = 403
    refused = NoticeSettings.of("slack", {"SLACK_WEBHOOK_URL": sink.url})
    dead = NoticeSettings.of("webhook", {"ALERT_WEBHOOK_URL": "http://127.0.0.1:9/se-cret"})
    wrong = by_mail(mailbox[1], SMTP_PASSWORD="wrong-pass-word")
    no_tls = by_mail(mailbox[1], SMTP_STARTTLS="true")
    strange = NoticeSettings.of("webhook", {"ALERT_WEBHOOK_URL": "se-cret"})
    lines = [notify("pass", [], "", one, about=ABOUT) for one in (refused, dead, wrong, no_tls, strange)]
    assert lines == [
        ["nobody was told by slack: http 403"],
        ["nobody was told by webhook: connection refused"],
        ["nobody was told by email: SMTP 535"],
        ["nobody was told by email: SMTPNotSupportedError"],
        ["nobody was told by webhook: MissingSchema"],
    ]
    assert mailbox[0].mail == []


def test_no_secret_is_shown_by_the_settings() -> None:
    assert PASSWORD not in repr(by_mail(25))


@pytest.mark.parametrize(
    ("channels", "environment", "said"),
    [
        ("slack", {}, "slack lacks a setting: SLACK_WEBHOOK_URL not set"),
        ("email", {"SMTP_HOST": "mail"}, "email lacks a setting: ALERT_EMAIL_TO not set"),
        ("slak", {}, "'slak' is no channel: there are slack, email, webhook"),
        ("email", {"SMTP_HOST": "m", "ALERT_EMAIL_TO": "a@b", "SMTP_PORT": "x"}, "SMTP_PORT is no number"),
    ],
)
def test_what_is_missing_is_named(channels: str, environment: dict[str, str], said: str) -> None:
    with pytest.raises(NoticeSettingsError) as told:
        NoticeSettings.of(channels, environment)
    assert str(told.value) == said


@pytest.mark.parametrize("command", ["run", "smoke", "rollout", "drill recovery", "drill rollback"])
def test_commands_say_so_before_anything_starts(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLACK_WEBHOOK_URL", raising=False)
    done = CliRunner().invoke(main, [*command.split(), "--notify", "slack"])
    assert done.exit_code == 2
    assert "SLACK_WEBHOOK_URL not set" in done.output


def test_in_ci_the_link_leads_to_the_job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("CI_JOB_URL", "GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    assert (link_to(tmp_path), link_to(None)) == (str(tmp_path), "")
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.example")
    monkeypatch.setenv("GITHUB_REPOSITORY", "a/b")
    monkeypatch.setenv("GITHUB_RUN_ID", "7")
    assert link_to(tmp_path) == "https://github.example/a/b/actions/runs/7"
    monkeypatch.setenv("CI_JOB_URL", "https://gitlab.example/a/b/-/jobs/7")
    assert link_to(tmp_path) == "https://gitlab.example/a/b/-/jobs/7"
