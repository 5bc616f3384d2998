"""The options `--sla FILE` and `--set NAME=VALUE`, turned into a policy."""

from __future__ import annotations

from pathlib import Path

import click

from harness.sla.policy import Policy, PolicyError, load_policy


def policy_from(sla: Path | None, changes: tuple[str, ...], *, profile: str | None = None) -> Policy:
    """Return the policy that the options ask for; what is wrong with them is wrong usage.

    A profile that the policy does not know changes nothing.
    """
    named: dict[str, str] = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals or not name or not value:
            raise click.UsageError(
                f"--set {change!r}: write NAME=VALUE, as in broadcast_latency.threshold=1s"
            )
        named[name.strip()] = value.strip()
    try:
        policy = load_policy(sla, changes=named)
        return load_policy(sla, profile=profile, changes=named) if profile in policy.profiles else policy
    except PolicyError as error:
        raise click.UsageError(str(error)) from error
