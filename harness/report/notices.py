"""Notices: how something ended, told to a channel of Slack, by mail, or to a webhook of one's own.

Settings are named as those of the service's alerts. Addresses of webhooks are secrets: no message has them.
"""

from __future__ import annotations

import html
import os
import smtplib
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Final

import requests

from harness import web_proxies
from harness.documents.verdict import NOT_APPLICABLE
from harness.output import one_line
from harness.report.gate import Row
from harness.target.errors import name_of

_LIMIT_S: Final = 10.0
#: Rows of a notice, and characters of a reason.
_ROWS: Final = 10
_SHOWN: Final = 300
_SUCCESS: Final = range(200, 300)


class NoticeSettingsError(ValueError):
    """Nothing could be sent to a channel that was asked for; the message names what is not set."""


class _NotSent(Exception):
    """What answered did not take a notice; the message holds no secret."""


@dataclass(frozen=True)
class NoticeSettings:
    """Where notices go.

    Parameters
    ----------
    channels : ``slack``, ``email``, ``webhook``; none: nobody is told.
    values : name of a setting -> its value, of those that the channels need.
    """

    channels: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __str__(self) -> str:
        return ",".join(self.channels)

    @classmethod
    def of(cls, channels: str, environment: Mapping[str, str] | None = None) -> NoticeSettings:
        """Return the settings of ``channels``, with commas between, from ``environment`` (the process's).

        Raises
        ------
        NoticeSettingsError
            A channel is unknown, or lacks a setting.
        """
        environment = os.environ if environment is None else environment
        names = tuple(dict.fromkeys(name.strip() for name in channels.split(",") if name.strip()))
        for name in names:
            if name not in _CHANNELS:
                raise NoticeSettingsError(f"{name!r} is no channel: there are {', '.join(_CHANNELS)}")
            if missing := [one for one in _CHANNELS[name].needs if not environment.get(one)]:
                raise NoticeSettingsError(f"{name} lacks a setting: {', '.join(missing)} not set")
        known = {setting for channel in _CHANNELS.values() for setting in (*channel.needs, *channel.takes)}
        if not environment.get("SMTP_PORT", _PORT).isdecimal():
            raise NoticeSettingsError("SMTP_PORT is no number")
        return cls(names, {name: environment[name] for name in known if environment.get(name)})


@dataclass(frozen=True)
class _Notice:
    about: str
    verdict: str
    rows: Sequence[Row]
    link: str

    @property
    def title(self) -> str:
        return one_line(f"{self.about}: {self.verdict}")

    @property
    def text(self) -> str:
        """The rows and the link, a line each."""
        lines = [f"{row.verdict}: {row.title or row.name}: {_reason(row)}" for row in self.rows[:_ROWS]]
        if more := len(self.rows) - _ROWS:
            lines += [f"and {more} more"] if more > 0 else []
        return "\n".join([*lines, *filter(None, [self.link])])


def notify(
    verdict: str, rows: Sequence[Row], link: str, settings: NoticeSettings, *, about: str
) -> list[str]:
    """Tell each channel how something ended; return a line for each that could not be told. Raises nothing.

    Parameters
    ----------
    verdict : the verdict, or of a rollout the outcome.
    rows : those of its rows that are no pass; what is not applicable or allowed is left out.
    link : where to read more: :func:`link_to`.
    about : what ended: ``stormwatch run 20261127-sla``.
    """
    told = [row for row in rows if not row.allowed and row.verdict not in {"pass", NOT_APPLICABLE}]
    notice = _Notice(about, verdict, told, link)
    lines = []
    for name in settings.channels:
        try:
            with web_proxies.for_downloads():  # what is told others is no part of a measurement
                _CHANNELS[name].send(notice, settings.values)
        except Exception as error:  # whatever it is: the verdict stands
            lines.append(f"nobody was told by {name}: {_words(error)}")
    return lines


def link_to(path: Path | None) -> str:
    """Return where others read of it: the page of the CI job that it is of, else its path."""
    environment = os.environ
    if job := environment.get("CI_JOB_URL"):  # GitLab
        return job
    server, repository, run = (
        environment.get(f"GITHUB_{one}") for one in ("SERVER_URL", "REPOSITORY", "RUN_ID")
    )
    if server and repository and run:
        return f"{server}/{repository}/actions/runs/{run}"
    return "" if path is None else str(path.absolute())


def _slack(notice: _Notice, values: Mapping[str, str]) -> None:
    title, text = (html.escape(part, quote=False) for part in (notice.title, notice.text))
    _post(values["SLACK_WEBHOOK_URL"], {"text": f"*{title}*\n{text}"})


def _webhook(notice: _Notice, values: Mapping[str, str]) -> None:
    rows = [
        {"section": row.section, "name": row.name, "verdict": row.verdict, "reason": _reason(row)}
        for row in notice.rows
    ]
    document = {"about": notice.about, "verdict": notice.verdict, "rows": rows, "link": notice.link}
    _post(values["ALERT_WEBHOOK_URL"], document)


def _email(notice: _Notice, values: Mapping[str, str]) -> None:
    message = EmailMessage()
    message["From"] = values.get("ALERT_EMAIL_FROM", "stormwatch@localhost")
    message["To"] = values["ALERT_EMAIL_TO"]
    message["Subject"] = notice.title
    message.set_content(notice.text)
    host, port = values["SMTP_HOST"], int(values.get("SMTP_PORT", _PORT))
    with smtplib.SMTP(host, port, timeout=_LIMIT_S) as server:
        if values.get("SMTP_STARTTLS", "true").lower() not in {"false", "0", "no", "off"}:
            server.starttls(context=ssl.create_default_context())
        if "SMTP_USERNAME" in values:
            server.login(values["SMTP_USERNAME"], values.get("SMTP_PASSWORD", ""))
        server.send_message(message)


def _post(url: str, document: Mapping[str, Any]) -> None:
    answer = requests.post(url, json=document, timeout=_LIMIT_S, allow_redirects=False)
    if answer.status_code not in _SUCCESS:
        raise _NotSent(f"http {answer.status_code}")


def _reason(row: Row) -> str:
    text = one_line(row.reason)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _words(error: Exception) -> str:
    """Return what went wrong, without what an error's own text may hold: addresses, passwords."""
    if isinstance(error, smtplib.SMTPResponseException):
        return f"SMTP {error.smtp_code}"
    return str(error) if isinstance(error, _NotSent) else name_of(error)


@dataclass(frozen=True)
class _Channel:
    """How one channel is told."""

    send: Callable[[_Notice, Mapping[str, str]], None]
    needs: tuple[str, ...]
    takes: tuple[str, ...] = ()


_PORT: Final = "587"
_CHANNELS: Final = {
    "slack": _Channel(_slack, ("SLACK_WEBHOOK_URL",)),
    "email": _Channel(
        _email,
        ("SMTP_HOST", "ALERT_EMAIL_TO"),
        ("SMTP_PORT", "SMTP_USERNAME", "SMTP_PASSWORD", "SMTP_STARTTLS", "ALERT_EMAIL_FROM"),
    ),
    "webhook": _Channel(_webhook, ("ALERT_WEBHOOK_URL",)),
}
#: What may be asked for.
CHANNELS: Final = tuple(_CHANNELS)
