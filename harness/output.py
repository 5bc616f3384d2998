"""What is said on a terminal: never an error of its own, never another's escape sequences.

The exit code is the verdict's, whatever becomes of the output: a pipe that was closed, a full disk, an
encoding without the characters.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import re
import sys
import unicodedata
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO, cast

if TYPE_CHECKING:
    from rich.console import Console


#: In the environment: no progress is told.
QUIET: Final = "STORMWATCH_QUIET"


class Exit(IntEnum):
    """Exit codes; the verdicts' among them are given by :mod:`harness.report.gate`."""

    USAGE = 2
    #: No report could be read or made: nothing is said of a promise.
    NO_REPORT = 4
    #: What shells say of a process that Ctrl-C ended.
    INTERRUPTED = 130


#: Control characters but tab and newline, and what turns the direction of text.
_CONTROL: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)

#: In an encoding that lacks them.
_ASCII: Final = {
    "✓": "ok", "✗": "x", "✅": "ok", "❌": "x", "❔": "?", "⚡": "!", "–": "-", "—": "-", "−": "-", "×": "x",
    "·": "-", "±": "+-", "“": '"', "”": '"', "’": "'", "→": "->", "►": ">", "━": "-", "─": "-", "╸": "-",
    "╺": " ", "│": "|", "┃": "|", "≤": "<=", "≥": ">=", "µ": "u",
}  # fmt: skip

_DEGRADE: Final = "stormwatch-ascii"


def plain(text: str) -> str:
    """Return ``text`` as a terminal may be given it: it moves no cursor, sets no colour, turns no direction.

    Examples
    --------
    >>> plain("50 \\x1b[2J ms")
    '50 �[2J ms'
    """
    return _CONTROL.sub("\ufffd", text)


def one_line(text: str) -> str:
    """Return ``text`` as a terminal may be given it, on one line."""
    return " ".join(plain(text).split())


def console(*, stderr: bool = False) -> Console:
    """Return a console for tables and colours; what is printed on it is made plain, its own styles are not.

    That of stderr tells of progress, and nothing where :data:`QUIET` is set.

    Something is drawn anew only on a terminal: colours may be forced elsewhere (``FORCE_COLOR``), and then
    ``is_terminal`` is true, but ``is_interactive`` is not. Nothing printed is markup: styles are ``Text``'s.
    """
    from collections.abc import Iterable

    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.segment import Segment

    class Plain(Console):
        def render(
            self, renderable: RenderableType, options: ConsoleOptions | None = None
        ) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                if segment.control or segment.text.isprintable():
                    yield segment
                else:
                    yield Segment(plain(segment.text), segment.style)

    stream = sys.stderr if stderr else sys.stdout
    if isinstance(stream, _Output):
        stream = cast("TextIO", stream.styled())
    elif isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors=_DEGRADE)
    drawn = stream is not None and stream.isatty()
    return Plain(
        file=stream,
        markup=False,
        emoji=False,
        force_interactive=None if drawn else False,
        quiet=stderr and bool(os.environ.get(QUIET)),
    )


def guard_output() -> None:
    """Make stdout and stderr take whatever is written, made plain; what can't be written is lost."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed before we came
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - to the end
        elif isinstance(stream, io.TextIOWrapper) and stream is getattr(sys, f"__{name}__"):
            stream.reconfigure(errors=_DEGRADE)
            setattr(sys, name, _Output(stream))


class _Output:
    """A text stream that never fails."""

    def __init__(self, stream: io.TextIOWrapper, *, styled: bool = False) -> None:
        self._stream = stream
        self._styled = styled

    @property
    def encoding(self) -> str:
        return self._stream.encoding

    def styled(self) -> _Output:
        """The same stream for who makes plain what is another's by itself, and has styles of its own."""
        return _Output(self._stream, styled=True)

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError("text only")
        try:
            self._stream.write(text if self._styled else plain(text))
        except OSError as error:
            self._lose(error)
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._lose(error)

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def _lose(self, error: OSError) -> None:
        """Send what is still to come nowhere, so that not even the interpreter's end fails on it."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        if error.errno != errno.EPIPE and self._stream is not sys.__stderr__:
            print(f"stormwatch: the output could not be written: {error.strerror}", file=sys.stderr)


def _degrade(error: UnicodeError) -> tuple[str, int]:
    """Handle what an encoding has no place for: by something alike in ASCII."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_ascii, error.object[error.start : error.end])), error.end


def _ascii(character: str) -> str:
    if character in _ASCII:
        return _ASCII[character]
    alike = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return alike or ("" if unicodedata.combining(character) else "?")


codecs.register_error(_DEGRADE, _degrade)
