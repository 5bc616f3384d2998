"""The service's alerts: what it says of them, and what reaches the channels that they are sent to.

Rows of kind ``alert``, named after the rule: of the actor ``/alerts`` at each look, and of ``slack``,
``pagerduty`` and ``email`` for each notice that arrived. ``ok`` says whether the alert is not (any more)
raised; ``value`` is the rule's reading at a look.
"""

from __future__ import annotations

import asyncio
import email
import email.policy
import re
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self, TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler
from aiosmtpd.smtp import SMTP, Envelope, Session

from harness.history import HistoryWriter, Row, now_ns
from harness.target import Target
from harness.target.client import Answer, Client, has

_Result = TypeVar("_Result")

#: Where the service tells of its alerts, and the actor of what it says.
SERVICE: Final = "/alerts"
#: Name of a row of a notice that says neither which rule nor whether it was raised.
UNREADABLE: Final = "unreadable"

_LOOK_S: Final = 0.25
_ANSWER_LIMIT_S: Final = 5.0
_HOST: Final = "127.0.0.1"
#: What a notice's one line ends with, markup aside.
_TITLE: Final = re.compile(r"\b(RAISED|RESOLVED): ([^*\n]+)")


@dataclass(frozen=True)
class Arrival:
    """A notice that reached a channel."""

    channel: str
    rule: str
    #: None: it does not say.
    raised: bool | None
    at_ns: int

    def row(self) -> Row:
        """Return it as it stands in the history."""
        return Row(
            "alert",
            self.rule,
            self.channel,
            start_ns=self.at_ns,
            end_ns=self.at_ns,
            ok=None if self.raised is None else not self.raised,
            error="bad notice" if self.raised is None else None,
        )


class AlertSinks:
    """Stand-ins for Slack, PagerDuty and a mail server, on ports of their own until the ``with`` ends."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self._take: Callable[[Arrival], None] = lambda arrival: None
        self._lock = threading.Lock()
        #: PagerDuty's way to tell which incident a notice is about -> the rule.
        self._incidents: dict[str, str] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="alert-sinks", daemon=True)
        self._thread.start()
        self._http = self._run(self._serve_http())
        self._smtp = self._run(self._serve_smtp())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._http.cleanup())
        self._loop.call_soon_threadsafe(self._smtp.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def environment(self) -> dict[str, str]:
        """Return the settings that have the service send its alerts here."""
        address = f"http://{_HOST}:{self._http.addresses[0][1]}"
        return {
            "SLACK_WEBHOOK_URL": f"{address}/slack",
            "PAGERDUTY_URL": f"{address}/pagerduty",
            "PAGERDUTY_ROUTING_KEY": "stormwatch-routing-key",
            "SMTP_HOST": _HOST,
            "SMTP_PORT": str(self._smtp.sockets[0].getsockname()[1]),
            "SMTP_STARTTLS": "false",
            "ALERT_EMAIL_FROM": "service@stormwatch.example",
            "ALERT_EMAIL_TO": "operators@stormwatch.example",
        }

    @contextmanager
    def told(self, take: Callable[[Arrival], None]) -> Iterator[None]:
        """Have ``take`` told of each notice that arrives while the block runs."""
        with self._lock:
            self._take = take
        try:
            yield
        finally:
            with self._lock:
                self._take = lambda arrival: None

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Take a mail (aiosmtpd's callback)."""
        content = envelope.content
        raw = content if isinstance(content, bytes) else (content or "").encode()
        message = email.message_from_bytes(raw, policy=email.policy.default)
        self._arrived("email", *_read(str(message["Subject"] or "")))
        return "250 OK"

    def _run(self, work: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _serve_http(self) -> web.AppRunner:
        application = web.Application()
        application.router.add_post("/slack", self._taking(self._slack))
        application.router.add_post("/pagerduty", self._taking(self._pagerduty))
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, _HOST, 0).start()
        return runner

    async def _serve_smtp(self) -> asyncio.Server:
        return await self._loop.create_server(lambda: SMTP(self, hostname=_HOST, loop=self._loop), _HOST, 0)

    def _taking(self, take: Callable[[dict[str, Any]], None]) -> Handler:
        async def answer(request: web.Request) -> web.Response:
            try:
                document = await request.json()
            except ValueError:
                return web.Response(status=400)
            take(document if isinstance(document, dict) else {})
            return web.Response(status=202)

        return answer

    def _slack(self, document: dict[str, Any]) -> None:
        self._arrived("slack", *_read(str(document.get("text", ""))))

    def _pagerduty(self, document: dict[str, Any]) -> None:
        key = str(document.get("dedup_key", ""))
        if document.get("event_action") == "trigger":
            self._incidents[key], _ = _read(str(document.get("payload", {}).get("summary", "")))
        raised = {"trigger": True, "resolve": False}.get(str(document.get("event_action")))
        self._arrived("pagerduty", self._incidents.get(key, UNREADABLE), raised)

    def _arrived(self, channel: str, rule: str, raised: bool | None) -> None:
        arrival = Arrival(channel, rule, None if rule == UNREADABLE else raised, now_ns())
        with self._lock:
            self.arrivals.append(arrival)
            self._take(arrival)


class AlertWatch:
    """Records what reaches the sinks and what the service says of its alerts, while the ``with`` lasts."""

    def __init__(self, sinks: AlertSinks, target: Target, history: HistoryWriter) -> None:
        self._sinks = sinks
        self._target = target
        self._history = history
        self._over = threading.Event()
        self._changed = threading.Condition()
        #: Of each rule whether the service said that it is raised; of each (channel, rule) what came last.
        self._said: dict[str, bool] = {}
        self._heard: dict[tuple[str, str], bool] = {}

    @contextmanager
    def watching(self) -> Iterator[Self]:
        """Record until the block ends."""
        thread = threading.Thread(target=self._look_again_and_again, name="alert-watch", daemon=True)
        with self._sinks.told(self._take):
            thread.start()
            try:
                yield self
            finally:
                self._over.set()
                thread.join()

    def wait_until_resolved(self, within_s: float) -> bool:
        """Wait until no alert is raised, neither by the service's word nor on any channel."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not any(self._said.values()) and not any(self._heard.values()), within_s
            )

    def _take(self, arrival: Arrival) -> None:
        self._history.append(arrival.row())
        with self._changed:
            if arrival.raised is not None:
                self._heard[arrival.channel, arrival.rule] = arrival.raised
            self._changed.notify_all()

    def _look_again_and_again(self) -> None:
        with Client(self._target, SERVICE, limit_s=_ANSWER_LIMIT_S) as client:
            while not self._over.wait(_LOOK_S):
                self._look(client.call("GET", SERVICE, check=has("alerts")))

    def _look(self, answer: Answer) -> None:
        if not answer.ok:
            return  # that it does not answer is the health prober's to say
        alerts = answer.body["alerts"]
        for alert in alerts:
            row = Row(
                "alert",
                alert["name"],
                SERVICE,
                start_ns=answer.start_ns,
                end_ns=answer.end_ns,
                ok=alert["state"] == "ok",
                value=alert["value"],
            )
            self._history.append(row)
        with self._changed:
            self._said = {alert["name"]: alert["state"] != "ok" for alert in alerts}
            self._changed.notify_all()


def _read(title: str) -> tuple[str, bool | None]:
    """Return the rule that a notice is about, and whether it was raised."""
    found = _TITLE.search(title)
    return (found.group(2).strip(), found.group(1) == "RAISED") if found else (UNREADABLE, None)
