"""Sessions of the harness at a database. All are opened here, so that each has a name of ours.

By that name, whoever counts or cuts the service's sessions leaves ours out.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import asyncpg

#: How ``application_name`` begins in every session of ours.
PREFIX: Final = "stormwatch "
#: What asyncpg raises when a statement fails, the session is lost or the server is not there. A session that
#: the server ends while a statement is being sent is caught between two states (InternalClientError).
TROUBLE: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
#: What ``application_name`` is LIKE in them.
OURS: Final = f"{PREFIX}%"


class Who(StrEnum):
    """Who of the harness a session belongs to; the value is its ``application_name``."""

    #: Reads what happened.
    OBSERVER = f"{PREFIX}observer"
    #: Does harm, and undoes it.
    FAULT = f"{PREFIX}fault"
    #: Removes what runs have made.
    CLEANING = f"{PREFIX}cleaning"


async def open_session(
    url: str, who: Who, *, limit_s: float, statement_limit_s: float | None = None, **other: Any
) -> asyncpg.Connection[Any]:
    """Open a session at the database ``url``.

    Parameters
    ----------
    limit_s : for connecting, in seconds.
    statement_limit_s : for each statement; None: none.
    other : what overrides the address (``user``, ``password``), and ``server_settings``.

    Raises
    ------
    TROUBLE
        It can't be had.
    ValueError
        ``url`` is malformed.
    """
    settings = {**other.pop("server_settings", {}), "application_name": who.value}
    connection: asyncpg.Connection[Any] = await asyncpg.connect(
        url, timeout=limit_s, command_timeout=statement_limit_s, server_settings=settings, **other
    )
    return connection
