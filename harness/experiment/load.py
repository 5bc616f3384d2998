"""Locust as a process of its own: started with options, watched through its run folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import harness
from harness.documents.run import Window
from harness.experiment.child import Child
from harness.history import RunFolder
from harness.process import ProcessError

#: One item and no other.
ONE_ITEM: Final = Path(harness.__file__).parent / "load" / "one_item.py"

_POLL_S: Final = 0.2


class LoadOptionsError(Exception):
    """The load can't take its options; the message names the option and the nearest right one."""


def check_load_options(options: Sequence[str], environment: Mapping[str, str]) -> str:
    """Check options of the load before anything starts; return what it will do, or its help if they ask.

    Raises
    ------
    LoadOptionsError
        One is unknown, or can't be what it was set to.
    """
    # In a process of its own: Locust has gevent replace sockets and threads.
    done = subprocess.run(
        [sys.executable, "-m", "harness.load.check", *options],
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    if done.returncode:
        said = ". ".join(done.stderr.partition("error: ")[2].splitlines())
        raise LoadOptionsError(said or f"the load's options can't be checked (exit code {done.returncode})")
    return done.stdout


def load_option_names() -> set[str]:
    """Return the names of the load's options, Locust's own among them."""
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", check_load_options(["--help"], {})))


class LoadProcess(Child):
    """Locust without its web UI, playing into a run folder.

    Parameters
    ----------
    run : the folder that takes its history; ``run.json`` tells which window it is in.
    environment : further environment variables, a target's among them (none: a stack of its own).
    options : further options of the scenario (``["--games", "12"]``).
    scenario : what is played, a file of Locust's.
    """

    def __init__(
        self,
        run: RunFolder,
        environment: Mapping[str, str],
        options: Sequence[str],
        scenario: Path,
    ) -> None:
        self._run = run
        command = [sys.executable, "-m", "locust", "-f", str(scenario), "--headless", "--no-report", *options]
        super().__init__(
            "Locust", command, run.logs / "locust.log", {**environment, "STORMWATCH_RUN_DIR": str(run.path)}
        )

    @property
    def windows(self) -> dict[str, Window]:
        """The windows that it has declared so far, by name."""
        return {window.name: window for window in self._run.read().windows or ()}

    def wait_for(self, window: str, timeout_s: float) -> None:
        """Wait until it has entered ``window``.

        Raises
        ------
        ProcessError
            It ended before, or did not get there in time.
        """
        deadline = time.monotonic() + timeout_s
        while window not in self.windows:
            if self.exit_code is not None:
                raise ProcessError(
                    f"Locust ended with {self.exit_code} before its {window} window: {self.last_words()}"
                )
            if time.monotonic() > deadline:
                raise ProcessError(
                    f"Locust did not reach its {window} window in {timeout_s:g} s: {self.last_words()}"
                )
            time.sleep(_POLL_S)
