"""`stormwatch init`: what a team starts with in a repository of its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import click

_STARTER: Final = Path(__file__).with_name("starter")
#: What is written -> what it is made from. In its text and name, `mine` and `Mine` stand for the system.
_FILES: Final = {
    "stormwatch/mine.py": "system.py",
    "stormwatch/example_service.py": "example_service.py",
    "stormwatch/sla.toml": "sla.toml",
    "stormwatch/locustfile.py": "locustfile.py",
    "stormwatch/failure/test_mine.py": "failures.py",
    "stormwatch/gitlab-ci.yml": "gitlab.yml",
    ".github/workflows/stormwatch.yml": "github.yml",
    ".gitlab-ci.yml": "gitlab-ci.yml",
    "pyproject.toml": "pyproject.toml",
    ".gitignore": "gitignore.txt",
}
#: Files that others may have in use: where they are kept, what belongs into them is told.
_SHARED: Final = frozenset({".gitlab-ci.yml", "pyproject.toml", ".gitignore"})
_TAKEN: Final = frozenset({"example_service", "locustfile"})


@click.command()
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """Write what a team starts with into this folder; NAME is what the system is called.

    That is the system's file with its steps to fill in, a tiny service to try it on, a policy, a Locust
    scenario, a failure scenario, and CI for GitHub and GitLab. It runs at once. Nothing is overwritten.
    """
    called = name or _name_of(Path.cwd())
    if not re.fullmatch(r"[a-z][a-z0-9_]*", called) or called in _TAKEN:
        raise click.UsageError(
            f"NAME {called!r}: write small letters, digits and _, and no {' or '.join(sorted(_TAKEN))}"
        )
    for path, template in _FILES.items():
        _write(Path(_named(path, called)), _named((_STARTER / template).read_text(encoding="utf-8"), called))
    system = f"stormwatch/{called}.py"
    click.echo(
        "\nnext:\n"
        f"  stormwatch run --system {system} --profile smoke     plays the example for a minute, judges it\n"
        f"  stormwatch run --system {system}     plays it longer, and breaks it, too\n"
        f"  then put your own service in its place: steps 1 to 8 in {system},\n"
        "  what it promises in stormwatch/sla.toml, and STORMWATCH_WHEEL as a variable of CI"
    )


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        click.echo(f"kept     {path}")
        if path.name in _SHARED and text not in path.read_text(encoding="utf-8", errors="replace"):
            click.echo("".join(f"           add: {line}\n" for line in text.splitlines()), nl=False)
    else:
        click.echo(f"written  {path}")


def _named(text: str, called: str) -> str:
    kind = "".join(part.capitalize() for part in called.split("_"))
    return re.sub(r"\bMine\b", kind, re.sub(r"(?<![a-z])mine(?![a-z])", called, text))


def _name_of(folder: Path) -> str:
    """Return a name made of the folder's."""
    return re.sub(r"^[^a-z]+", "", re.sub(r"[^a-z0-9]+", "_", folder.name.lower())).strip("_") or "mine"
