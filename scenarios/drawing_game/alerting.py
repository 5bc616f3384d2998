"""A service's alerts in an experiment: its own rules over shorter windows, and somebody who listens."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import yaml

from harness.judge.findings import Expectation
from harness.sla.units import parse_duration
from scenarios.drawing_game.alerts import AlertSinks, AlertWatch
from scenarios.drawing_game.expect_alerts import AlertOnce, AlertRaised, AlertResolved, AlertsSilentBefore

if TYPE_CHECKING:
    from harness.experiment.experiment import Experiment

#: A service evaluates its rules each second; what was under way may end late, on a busy machine very late.
_EVALUATED_S: Final = 5.0
#: How long to look on before a fault: alerts that are raised without one are seen.
_LOOK_ON_S: Final = 2.0


@dataclass(frozen=True)
class AlertRule:
    """A rule, as far as somebody who hears of it has to know it."""

    name: str
    window_s: float
    channels: tuple[str, ...]

    def told(self) -> tuple[Expectation, ...]:
        """Return what is expected of it under a fault that it is about.

        Nothing before; raised within its window on every channel; resolved once what raised it has left
        the window; each of them told once.
        """
        return (
            AlertsSilentBefore(for_s=_LOOK_ON_S),
            AlertRaised(self.name, self.channels, self.window_s),
            AlertResolved(self.name, self.channels, self.resolved_within_s),
            AlertOnce(self.name, self.channels),
        )

    @property
    def resolved_within_s(self) -> float:
        """How long after the end of what raised it it may stay raised.

        A window that is made of whole seconds may be one longer.
        """
        return self.window_s + 1.0 + _EVALUATED_S


class Alerting:
    """Rules of a service, some of them changed, and stand-ins for the channels that they are sent to.

    Use as a context manager: its end removes both.

    Parameters
    ----------
    rules : YAML with a list ``alerts`` of ``name``, ``condition``, ``window`` and ``channels``.
    changes : name of a rule -> what of it is to be otherwise (``{"window": "6s"}``).

    Raises
    ------
    KeyError
        A change is about no rule of the file.
    """

    def __init__(self, rules: Path, changes: Mapping[str, Mapping[str, str]]) -> None:
        document = yaml.safe_load(rules.read_text(encoding="utf-8"))
        by_name: dict[str, dict[str, Any]] = {rule["name"]: rule for rule in document["alerts"]}
        for name, change in changes.items():
            by_name[name].update(change)
        self.rules = {
            name: AlertRule(name, parse_duration(rule["window"]), tuple(rule["channels"]))
            for name, rule in by_name.items()
        }
        with ExitStack() as closing:
            self._sinks = closing.enter_context(AlertSinks())
            folder = closing.enter_context(tempfile.TemporaryDirectory(prefix="stormwatch-alerts-"))
            self._path = Path(folder) / "alerts.yml"
            self._path.write_text(yaml.safe_dump(document), encoding="utf-8")
            self._closing = closing.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    @property
    def environment(self) -> dict[str, str]:
        """The settings with which the service has these rules and these channels."""
        return {"ALERTS_FILE": str(self._path), **self._sinks.environment()}

    def others(self, *names: str) -> tuple[str, ...]:
        """Return the names of all rules but these."""
        return tuple(name for name in self.rules if name not in names)

    @contextmanager
    def heard(self, experiment: Experiment) -> Iterator[None]:
        """Record all that is told of alerts while the block runs, and until they are all resolved."""
        longest_s = max(rule.resolved_within_s for rule in self.rules.values())
        history = experiment.history
        with AlertWatch(self._sinks, experiment.stack.target, history).watching() as watch:
            time.sleep(_LOOK_ON_S)
            yield
            watch.wait_until_resolved(longest_s)
        history.flush()
