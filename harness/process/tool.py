"""A program that is run to its end, for what it prints."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.process.child import run_as
from harness.process.errors import ProcessError

if TYPE_CHECKING:
    from pwd import struct_passwd


def run_tool(
    command: Sequence[str],
    *,
    limit_s: float,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    user: struct_passwd | None = None,
    given: str = "",
) -> str:
    """Run ``command`` with ``given`` on its stdin, and return what it printed.

    Raises
    ------
    ProcessError
        It can't be run, takes over ``limit_s`` or fails; the message has its last words.
    """
    try:
        done: subprocess.CompletedProcess[str] = subprocess.run(
            command,
            input=given,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env=environment,
            cwd=folder,
            timeout=limit_s,
            check=False,
            **run_as(user),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProcessError(f"can't be run ({error})") from error
    if done.returncode != 0:
        words = " | ".join((done.stderr or done.stdout).strip().splitlines()[-3:])
        raise ProcessError(words or f"{command[0]} ended with exit code {done.returncode}")
    return done.stdout
