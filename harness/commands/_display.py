"""What `stormwatch run` shows while it goes on: its stages, how long they take, how the objectives stand."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: Where there is no terminal to draw on, how often a line tells of the objectives so far.
_LINE_EVERY_S: Final = 15.0

_TITLES: Final = {
    "set-up": "getting the target ready",
    "warm-up": "warming up: {items} join in waves (not judged)",
    "steady": "steady load: concurrent {items} (judged)",
    "drain": "draining: last {items} end, last events arrive (not judged)",
    "failures": "failure scenarios: breaking what it rests on",
    "stopping": "interrupted: ending early, the report is still written (Ctrl-C again to give up)",
    "report": "judging the record",
}


class Display:
    """Tells what is going on, how long it will take and how the objectives stand.

    On a terminal bars and a table, drawn anew each second; else a line a stage, and one now and then.

    Parameters
    ----------
    run : the run's folder, whose ``live.json`` is shown.
    console : where; None: stderr.
    """

    def __init__(self, run: Path, console: Console | None = None) -> None:
        from rich.live import Live
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        from harness import output

        self._run = run
        self._console = console or output.console(stderr=True)
        self._stage: str | None = None
        self._task: Any = None
        self._next_line = time.monotonic() + _LINE_EVERY_S
        # Never started by itself: it is drawn as a part of the view.
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[done]}"),
            TimeElapsedColumn(),
            console=self._console,
        )
        self._view = Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=2,
            vertical_overflow="crop",
        )

    @property
    def judged_every_s(self) -> float:
        """How often the objectives need to be judged to be shown; in seconds."""
        return 1.0 if self._console.is_interactive else _LINE_EVERY_S

    def __enter__(self) -> Display:
        if self._console.is_interactive:
            self._view.start()
        return self

    def __exit__(self, *_: object) -> None:
        # What is left on the screen are the stages: the summary of the report comes below.
        self._end_stage()
        if self._console.is_interactive:
            self._view.stop()

    def stage(self, name: str, done: float | None = None, total: float | None = None) -> None:
        """Show that the run is in stage ``name``, ``done`` of ``total`` (seconds, or scenarios) through."""
        if name != self._stage:
            self._end_stage()
            self._stage = name
            title = _TITLES[name].format(items=self._items())
            if not self._console.is_interactive:
                self._say(title)
            self._task = self._progress.add_task(title, total=total, done="")
        if done is not None and total:
            unit = "" if name == "failures" else " s"
            text = f"{min(done, total):.0f} of {total:.0f}{unit}"
            self._progress.update(self._task, completed=min(done, total), total=total, done=text)
        if not self._console.is_interactive and time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_EVERY_S
            self._tell()

    def _items(self) -> str:
        """What the system calls its items."""
        from harness.documents.words import Words
        from harness.files import DocumentError, read_json

        try:
            return Words.of(read_json(self._run / "run.json").get("system")).items
        except (DocumentError, OSError):  # nothing is played yet
            return Words.items

    def _draw(self) -> RenderableType:
        from rich.console import Group

        from harness.live.file import read_live
        from harness.live.terminal import render

        document = None if self._stage in {None, "report"} else read_live(self._run)
        if document is None:
            return self._progress
        return Group(self._progress, render(document, time.time()))

    def _tell(self) -> None:
        from harness.live.file import read_live
        from harness.live.terminal import one_line

        document = read_live(self._run)
        if document is not None and document.begun:
            self._say(f"  {one_line(document)}")

    def _say(self, text: str) -> None:
        self._console.print(f"[{time.strftime('%H:%M:%S')}] {text}", markup=False, soft_wrap=True)

    def _end_stage(self) -> None:
        if self._stage is not None:
            self._progress.update(self._task, total=1, completed=1)
            self._stage = None
