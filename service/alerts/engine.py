"""Evaluates the alert rules each second: an alert is raised once and resolved once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from service.alerts.rules import Rule
from service.alerts.sinks import Notice, Sink, SinkError, SinkRefused, deliver
from service.logs import get_logger
from service.metrics import Metrics

log = get_logger(__name__)

_EVERY_S: Final = 1.0


@dataclass
class _State:
    raised_at: datetime | None = None
    resolved_at: datetime | None = None
    value: float = 0.0


class Alerts:
    """The rules' states, and the notices that are under way.

    Each process watches itself: a notice names the instance.

    Parameters
    ----------
    sinks : the channels that are configured.
    instance : names this process in notices.
    """

    def __init__(
        self, rules: list[Rule], metrics: Metrics, sinks: dict[str, Sink], *, environment: str, instance: str
    ) -> None:
        self._rules = rules
        self._metrics = metrics
        self._sinks = sinks
        self._environment = environment
        self._instance = instance
        self._states = {rule.name: _State() for rule in rules}
        #: The last notice of each rule and channel: the next one waits for it, so that they keep their order.
        self._last: dict[tuple[str, str], asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Evaluate the rules until cancelled."""
        while True:
            self.evaluate()
            await asyncio.sleep(_EVERY_S)

    def evaluate(self) -> None:
        """Raise and resolve what is due now."""
        for rule in self._rules:
            state = self._states[rule.name]
            state.value = rule.value(self._metrics)
            due = rule.holds(state.value)
            if due and state.raised_at is None:
                state.raised_at, state.resolved_at = datetime.now(UTC), None
                self._notify(rule, state, state.raised_at)
            elif not due and state.raised_at is not None:
                state.raised_at, state.resolved_at = None, datetime.now(UTC)
                self._notify(rule, state, state.resolved_at)

    async def finish(self, within_s: float) -> None:
        """Wait for notices that are under way."""
        if self._last:
            _, late = await asyncio.wait(self._last.values(), timeout=within_s)
            for task in late:
                task.cancel()

    def answer(self) -> dict[str, Any]:
        """Return the body of ``/alerts``."""
        return {
            "instance": self._instance,
            "alerts": [
                {
                    "name": rule.name,
                    "condition": rule.condition,
                    "window": rule.window,
                    "channels": [{"name": name, "configured": name in self._sinks} for name in rule.channels],
                    "value": round(rule.value(self._metrics), 6),
                    "state": "raised" if state.raised_at is not None else "ok",
                    "raisedAt": _iso(state.raised_at),
                    "resolvedAt": _iso(state.resolved_at),
                }
                for rule in self._rules
                for state in (self._states[rule.name],)
            ],
        }

    def _notify(self, rule: Rule, state: _State, at: datetime) -> None:
        raised = state.raised_at is not None
        notice = Notice(
            rule.name, raised, rule.condition, rule.window, state.value, at, self._environment, self._instance
        )
        log.warning("alert raised" if raised else "alert resolved", alert=rule.name, value=state.value)
        for channel in rule.channels:
            key = (rule.name, channel)
            self._last[key] = asyncio.create_task(self._send(channel, notice, self._last.get(key)))

    async def _send(self, channel: str, notice: Notice, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        sink = self._sinks.get(channel)
        if sink is None:
            log.info("an alert's channel is not configured", alert=notice.rule, channel=channel)
            return
        try:
            await deliver(sink, notice)
        except (SinkError, SinkRefused) as error:
            log.warning("an alert was not delivered", alert=notice.rule, channel=channel, error=str(error))
        else:
            log.info("alert delivered", alert=notice.rule, channel=channel, raised=notice.raised)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
