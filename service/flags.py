"""Feature flags, changed while the service runs.

They come from the environment, and from the file ``FLAGS_FILE`` (lines of ``NAME=value``), which is read
again whenever it changes.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Final, Self

from service.logs import get_logger
from service.settings import FLAGS, Settings
from service.watched_file import WatchedFile

log = get_logger(__name__)

#: Between looks at the file.
_LOOK_S: Final = 0.5
_TRUE: Final = frozenset({"true", "1", "yes", "on"})
_FALSE: Final = frozenset({"false", "0", "no", "off"})


@dataclass(frozen=True)
class Values:
    """The flags at one moment."""

    timer_monitoring: bool
    pubnub_broadcasting: bool
    grace_period: bool

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the flags as the environment has them."""
        return cls(*(bool(getattr(settings, name.lower())) for name in FLAGS))

    def as_dict(self) -> dict[str, bool]:
        """Return the flags under their names in the environment."""
        return {f"ENABLE_{field.name.upper()}": getattr(self, field.name) for field in fields(self)}


class Flags:
    """The flags as they are now: :attr:`now`.

    Parameters
    ----------
    settings : the environment's flags, which hold where the file says nothing, and where the file is.
    """

    def __init__(self, settings: Settings) -> None:
        self._start = self.now = Values.of(settings)
        self._file = WatchedFile(settings.flags_file)

    def look(self) -> None:
        """Read the file again if it changed; what is malformed in it is logged and changes nothing."""
        path = self._file.path
        if path is None or not self._file.changed():
            return
        changed = replace(self._start, **self._read(path)) if self._file.exists else self._start
        if changed != self.now:
            log.warning("feature flags changed", before=self.now.as_dict(), after=changed.as_dict())
            self.now = changed

    async def follow(self) -> None:
        """Look at the file again and again, until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(_LOOK_S)

    def _read(self, path: Path) -> dict[str, bool]:
        found: dict[str, bool] = {}
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            log.warning("the flags file can't be read", path=str(path), error=str(error))
            return {name.removeprefix("ENABLE_").lower(): on for name, on in self.now.as_dict().items()}
        for number, raw in enumerate(lines, start=1):
            line = raw.strip().removeprefix("export ")
            if not line or line.startswith("#"):
                continue
            name, _, value = line.partition("=")
            name, value = name.strip(), value.strip().strip("\"'").lower()
            if name not in FLAGS:
                continue
            if value not in _TRUE | _FALSE:
                log.warning("a flag is neither true nor false", path=str(path), line=number, flag=name)
                found[name.removeprefix("ENABLE_").lower()] = self.now.as_dict()[name]
                continue
            found[name.removeprefix("ENABLE_").lower()] = value in _TRUE
        return found
