"""A base backup and a WAL archive of a stack's Postgres, and how its data are lost and brought back.

All of it lies in the server's own folder and goes away with it.
"""

from __future__ import annotations

import time
from typing import Final
from urllib.parse import unquote, urlsplit

from harness.process.reap import free_shared_memory
from harness.stack.postgres import Postgres

#: How long it may take until the server serves again, its WAL replayed.
_RESTORED_LIMIT_S: Final = 120.0
_GRACE_S: Final = 1.0
#: The WAL is the archive's, and nobody keeps a backup that is not whole.
_BASE: Final = ("--wal-method=none", "--checkpoint=fast", "--no-sync")


def archiving(every_s: int) -> dict[str, str]:
    """Return settings of a Postgres that archives its WAL, what is new each ``every_s`` seconds.

    It is told by them, too, how to read the archive when it is brought back, and to serve nobody before it is
    done with that.
    """
    # Both commands run in the data folder. A segment is there whole or not at all.
    copy = "test ! -f ../archive/%f && cp %p ../archive/.%f && mv ../archive/.%f ../archive/%f"
    return {
        "archive_mode": "on",
        "archive_timeout": f"{every_s}s",
        "archive_command": f"mkdir -p ../archive && {copy}",
        "restore_command": "cp ../archive/%f %p",
        "hot_standby": "off",
    }


class Backup:
    """The backup of a Postgres that was started with the settings of :func:`archiving`."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._data = postgres.folder / "data"
        self.path = postgres.folder / "backup"

    def take(self) -> None:
        """Take the base backup, from the running server; the WAL is the archive's.

        Raises
        ------
        StackError
            It can't be taken.
        """
        at = urlsplit(self._postgres.url)
        self._run(
            [str(self._postgres.installation.bin / "pg_basebackup"), f"--pgdata={self.path}", *_BASE],
            "take a base backup",
            PGHOST=str(at.hostname),
            PGPORT=str(at.port),
            PGUSER=str(at.username),
            PGPASSWORD=unquote(at.password or ""),
        )

    def lose(self) -> int:
        """Kill the server by SIGKILL and take its data away: what neither backup nor archive has is gone.

        Returns when it was dead, Unix ns. The data are removed with the server's folder, which takes longer
        than it may delay what follows.

        Raises
        ------
        StackError
            It is not running.
        """
        self._postgres.process.kill()
        dead_ns = time.time_ns()
        free_shared_memory(self._postgres.folder)
        self._data.rename(self._postgres.folder / f"lost-{dead_ns}")
        return dead_ns

    def bring_back(self) -> None:
        """Copy the base backup into the place of the data; the server is not started yet.

        Raises
        ------
        StackError
            There is no backup.
        """
        self._run(["cp", "-R", "-p", str(self.path), str(self._data)], "copy its backup back")
        self._run(["touch", str(self._data / "recovery.signal")], "have it read its archive")

    def replay(self) -> None:
        """Start the server: it replays the archive to its end and serves from there, on a new timeline.

        Raises
        ------
        StackError
            It does not come up; the message has the end of its log.
        """
        self._postgres.process.restart(_GRACE_S, _RESTORED_LIMIT_S)

    def _run(self, command: list[str], what: str, **further: str) -> None:
        self._postgres.installation.run(command, what=what, further=further)
