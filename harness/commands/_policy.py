"""The options `--sla FILE` and `--set NAME=VALUE`, turned into a policy."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.commands._errors import said_as

if TYPE_CHECKING:
    from harness.sla.policy import Policy


def policy_from(sla: Path | None, changes: tuple[str, ...], *, profile: str | None = None) -> Policy:
    """Return the policy that the options ask for; what is wrong with them is wrong usage.

    Where they name none, it is that of the system under test, if one is named. A profile that the policy does
    not know changes nothing.
    """
    from harness.sla.policy import PolicyError, load_policy
    from harness.system import SystemFileError
    from harness.system.beside import put_to_the_test
    from harness.system.find import name_of_system

    named = named_changes(changes)
    with said_as(click.UsageError, PolicyError, SystemFileError):
        if sla is None and name_of_system():
            put_to_the_test(None)
        policy = load_policy(sla, changes=named)
        return load_policy(sla, profile=profile, changes=named) if profile in policy.profiles else policy


def named_changes(changes: tuple[str, ...]) -> dict[str, str]:
    """Return name -> value of what ``--set`` gave; raises :class:`click.UsageError`."""
    named, told = {}, []
    for change in changes:
        name, _, value = (part.strip() for part in change.partition("="))
        if not name or not value:
            told.append(f"--set {change!r}: write NAME=VALUE, as in broadcast_latency.threshold=1s")
        named[name] = value
    if told:
        raise click.UsageError("\n".join(told))
    return named
