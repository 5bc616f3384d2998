"""SQL of a system's file: each statement in a file of its own, in one folder."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Self


class WitnessError(ValueError):
    """The statements of a system are not what they must be; the message names them."""


@dataclass(frozen=True)
class Statements:
    """Statements by name: a subclass has a field for each; those with a default may be missing."""

    @classmethod
    def from_folder(cls, folder: Path, **others: Any) -> Self:
        """Read each statement from ``folder/<name>.sql``; ``others`` are given as they are.

        Raises
        ------
        WitnessError
            One that must be there is missing or can't be read.
        """
        found = dict(others)
        for field in fields(cls):
            if field.name in others:
                continue
            path = folder / f"{field.name}.sql"
            try:
                found[field.name] = path.read_text(encoding="utf-8")
            except FileNotFoundError:
                if field.default is not MISSING:
                    continue
                raise WitnessError(f"{path} is missing: the statement that tells {field.name}") from None
            except (OSError, UnicodeDecodeError) as error:
                raise WitnessError(f"{path} can't be read: {error}") from error
        return cls(**found)

    def statements(self) -> dict[str, str]:
        """Return name -> statement, of those that are there."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: sql for name, sql in named.items() if sql is not None}
