"""Locust as a process of its own: started with options, watched through its run folder."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import harness
from harness.experiment.child import Child, ChildError
from harness.history import RunFolder

SCENARIO: Final = Path(harness.__file__).parents[1] / "scenarios" / "concurrent_games.py"

_POLL_S: Final = 0.2


class LoadProcess(Child):
    """``locust -f scenarios/concurrent_games.py --headless`` playing into a run folder.

    Parameters
    ----------
    run : the folder that takes its history; ``run.json`` tells which window it is in.
    environment : further environment variables, a target's among them (none: a stack of its own).
    options : further options of the scenario (``["--games", "12"]``).
    """

    def __init__(self, run: RunFolder, environment: Mapping[str, str], options: Sequence[str]) -> None:
        self._run = run
        command = [sys.executable, "-m", "locust", "-f", str(SCENARIO), "--headless", "--no-report", *options]
        super().__init__(
            "Locust", command, run.logs / "locust.log", {**environment, "STORMWATCH_RUN_DIR": str(run.path)}
        )

    @property
    def windows(self) -> dict[str, dict[str, Any]]:
        """The windows that it has declared so far, by name."""
        return {window["name"]: window for window in self._run.read().get("windows", [])}

    def wait_for(self, window: str, timeout_s: float) -> None:
        """Wait until it has entered ``window``.

        Raises
        ------
        ChildError
            It ended before, or did not get there in time.
        """
        deadline = time.monotonic() + timeout_s
        while window not in self.windows:
            if self.ended is not None:
                raise ChildError(f"Locust ended with {self.ended} before its {window} window: {self.tail()}")
            if time.monotonic() > deadline:
                raise ChildError(
                    f"Locust did not reach its {window} window in {timeout_s:g} s: {self.tail()}"
                )
            time.sleep(_POLL_S)
