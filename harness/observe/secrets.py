"""Searches what a run leaves behind for the target's secrets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

from harness.target import Target


def secrets_of(target: Target) -> set[bytes]:
    """Return the target's secrets as they might stand in a file: as they are, and as part of an address."""
    return {form.encode() for value in target.secrets() for form in (value, quote(value, safe=""))}


def count_secrets(content: bytes, secrets: Iterable[bytes]) -> int:
    """Return how often any of ``secrets`` stands in ``content``."""
    return sum(content.count(secret) for secret in secrets)


def search(folder: Path, secrets: Iterable[bytes]) -> Iterator[tuple[str, int]]:
    """Yield each file under ``folder``, from there, and how often any of ``secrets`` stands in it.

    Histories are Arrow files without compression: what they hold stands there as it is.
    """
    secrets = list(secrets)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.relative_to(folder).as_posix(), count_secrets(path.read_bytes(), secrets)
