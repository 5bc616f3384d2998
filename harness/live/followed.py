"""The run that is shown while it goes on: which it is, and the process that follows it."""

from __future__ import annotations

import logging

from harness.documents.live import Live
from harness.history import RunFolder
from harness.live.file import read_live
from harness.live.process import LiveProcess
from harness.process import ProcessError

log = logging.getLogger(__name__)


class Followed:
    """One run after the other, each followed by a process of its own."""

    def __init__(self) -> None:
        self._run: RunFolder | None = None
        self._process: LiveProcess | None = None

    def follow(self, run: RunFolder) -> None:
        """Show this run from now on; the one before is let go of."""
        if self._run is not None and self._run.path == run.path:
            return
        self.stop()
        self._run = run
        try:
            self._process = LiveProcess(run)
        except ProcessError as error:  # the run goes on without being shown
            log.error("the objectives so far can't be shown: %s", error)  # noqa: TRY400 - foreseen

    def stop(self) -> None:
        """Have the run judged a last time; its figures stay to be seen."""
        process, self._process = self._process, None
        if process is not None:
            process.stop()

    def document(self) -> Live | None:
        """Return ``live.json`` of the run; None: there is none yet."""
        return None if self._run is None else read_live(self._run.path)
