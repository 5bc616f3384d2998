"""Feature flags turned while the service runs, in the file that it reads them from."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness.faults import Exercised, Fault, FaultError, FaultTarget, MissingPartError
from harness.stack.proxies import LOAD_SERVICE
from harness.target import Target
from harness.target.client import Answer, Client, has

#: The feature flags of the requirements.
FLAGS: Final = ("ENABLE_TIMER_MONITORING", "ENABLE_PUBNUB_BROADCASTING", "ENABLE_GRACE_PERIOD")

#: How long the service may take to see that its flags changed, and between two questions for them.
_SEEN_LIMIT_S: Final = 10.0
_AGAIN_S: Final = 0.05
_ANSWER_LIMIT_S: Final = 2.0
_NO_SUCH_PATH: Final = 404
_FLAGS: Final = "/functions/v1/feature-flags"

#: Several flags may be turned at a time, each by a fault of its own.
_turning: Final = threading.Lock()


@dataclass(frozen=True)
class FlagOff(Fault):
    """Turn a feature flag off in the service's flags file, and back to what it was.

    At its end, the flag is what it was before.
    """

    place = "service"
    name = "flag-off"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.target not in FLAGS:
            raise FaultError(f"{self}: no flag {self.target!r}; there are {', '.join(FLAGS)}")

    @classmethod
    def examples(cls, on: FaultTarget) -> Sequence[Fault]:
        return [cls(flag) for flag in FLAGS] if on.target.flags_file else ()

    @classmethod
    def mend(cls, on: FaultTarget) -> Iterator[str]:
        """Remove flags that are off from the flags file of a stack of ours."""
        # A stack of ours starts without the file; in a deployment's, somebody may want a flag to be off.
        if on.target.flags_file is None or not on.parts:
            return
        path = Path(on.target.flags_file)
        if not path.exists():
            return
        off = {f"{flag}=false" for flag in FLAGS}
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
            if left := [line.strip() for line in lines if line.strip() in off]:
                _replace_lines(path, (line for line in lines if line.strip() not in off))
        except OSError as error:
            raise FaultError(f"can't change {path}: {error}") from error
        for line in left:
            yield f"flags: {line} removed"

    @property
    def occupies(self) -> frozenset[str]:
        # It asks the service whether the flag was seen.
        return frozenset({self.target, "service-1", LOAD_SERVICE})

    @contextmanager
    def applied(self, on: FaultTarget) -> Iterator[Exercised]:
        if on.target.flags_file is None:
            raise MissingPartError(
                f"{self}: the target's flags file is not within our reach (STORMWATCH_FLAGS_FILE is not set)"
            )
        path, target = Path(on.target.flags_file), on.target
        first = _ask(target)
        if first.status == _NO_SUCH_PATH:
            raise MissingPartError(f"{self}: the service has no flags (GET {_FLAGS} answered 404)")
        was_off = self._said(first) is False
        before = self._replace_line(path, f"{self.target}=false")
        try:
            seen = self._wait_while_told(target, on=True)
            if seen is True:
                raise FaultError(
                    f"{self}: turned off {_SEEN_LIMIT_S:g} s ago, and the service still says that it is on; "
                    "is STORMWATCH_FLAGS_FILE the file that its FLAGS_FILE names?"
                )

            def exercised() -> str | None:
                if was_off:
                    return "it was off already"
                if seen is None and self._told(target) is None:
                    return "the service was not there to see it"
                return None

            yield exercised
        finally:
            self._replace_line(path, before)
            if not was_off:
                self._wait_while_told(target, on=False)

    def _replace_line(self, path: Path, line: str | None) -> str | None:
        """Put ``line`` (None: nothing) in the place of the flag's line; return what was there."""
        ours = re.compile(rf"\s*(export\s+)?{self.target}\s*=")
        try:
            with _turning:
                lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
                # The last one is the one that counts.
                before = next((one for one in reversed(lines) if ours.match(one)), None)
                lines = [one for one in lines if not ours.match(one)] + ([] if line is None else [line])
                _replace_lines(path, lines)
        except (OSError, UnicodeDecodeError) as error:
            raise FaultError(f"{self}: can't change {path}: {error}") from error
        return before

    def _wait_while_told(self, target: Target, *, on: bool) -> object:
        """Wait while the service says that the flag is ``on``, at most so long; return what it says then.

        One that does not answer (None) is not waited for: it reads the file when it is back.
        """
        deadline = time.monotonic() + _SEEN_LIMIT_S
        while (told := self._told(target)) is on and time.monotonic() < deadline:
            time.sleep(_AGAIN_S)
        return told

    def _told(self, target: Target) -> object:
        """Return what the service says of the flag; None: it does not answer."""
        return self._said(_ask(target))

    def _said(self, answer: Answer) -> object:
        flags = answer.body_or({}).get("flags")
        return flags.get(self.target) if isinstance(flags, dict) else None


def _ask(target: Target) -> Answer:
    with Client(target, "fault", limit_s=_ANSWER_LIMIT_S) as client:
        return client.call("GET", _FLAGS, check=has("flags"))


def _replace_lines(path: Path, lines: Iterable[str]) -> None:
    """Write a flags file at once or not at all: the service may read it at any moment."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    fresh.replace(path)
