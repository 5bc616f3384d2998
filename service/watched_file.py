"""A file that is looked at again and again while the service runs."""

from __future__ import annotations

from pathlib import Path


class WatchedFile:
    """Tells when a file changed; None is a file that never does.

    A file rather than a call: it reaches every replica that mounts it, outlives restarts, and works while the
    database and PubNub are down.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._seen: tuple[int, int, int] | None = None

    def changed(self) -> bool:
        """Return whether it is another one than at the last look, or is gone."""
        before, self._seen = self._seen, self._stamp()
        return self._seen != before

    @property
    def exists(self) -> bool:
        """Whether it was there at the last look."""
        return self._seen is not None

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = self.path.stat() if self.path is not None else None
        except OSError:
            return None
        return (status.st_mtime_ns, status.st_size, status.st_ino) if status is not None else None
