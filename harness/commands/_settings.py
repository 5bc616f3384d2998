"""Settings of `stormwatch run` in a file: `stormwatch.toml`, or `[tool.stormwatch]` of pyproject.toml."""

from __future__ import annotations

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

#: Settings that the environment knows too, and goes before the file.
VARIABLES: Final = {
    "reports": "STORMWATCH_REPORTS",
    "sla": "STORMWATCH_SLA",
    "system": "STORMWATCH_SYSTEM",
}
#: Options that are for once, and no settings.
ONCE: Final = frozenset({"only_list", "as_json"})


@dataclass(frozen=True)
class Setting:
    """One setting of a run, and where it came from."""

    name: str
    value: Any
    #: The environment variable, the file and line, or "default".
    source: str


def options_of(command: click.Command) -> dict[str, click.Option]:
    """Return the options that a file may set, by the names that they have there."""
    return {
        option.opts[-1].lstrip("-"): option
        for option in command.params
        if isinstance(option, click.Option) and option.name not in ONCE
    }


def settings_of(command: click.Command, folder: Path) -> list[Setting]:
    """Return each setting of ``command``, as it is where the command line says nothing.

    Raises
    ------
    click.UsageError
        The file of the project in ``folder`` can't be used: its line, the field and what is wrong.
    """
    said = _said_by_file(command, folder)
    found = []
    for name, option in options_of(command).items():
        variable = VARIABLES.get(name, "")
        if os.environ.get(variable):
            found.append(Setting(name, os.environ[variable], variable))
        else:
            found.append(said.get(name, Setting(name, option.to_info_dict()["default"], "default")))
    return found


def defaults_of(command: click.Command, folder: Path) -> dict[str, Any]:
    """Return what the file of the project says, by the names of the command's parameters.

    What a system's file is called is left to :func:`harness.system.find_system`; raises as
    :func:`settings_of` does.
    """
    options = options_of(command)
    return {
        str(options[one.name].name): one.value
        for one in settings_of(command, folder)
        if one.source not in {"default", *VARIABLES.values()} and one.name != "system"
    }


def _said_by_file(command: click.Command, folder: Path) -> dict[str, Setting]:
    from harness.files import DocumentError, project_settings

    try:
        path, text, said = project_settings(folder)
    except DocumentError as error:
        raise click.UsageError(str(error)) from error
    options, found = options_of(command), {}
    for name, value in said.items():
        place = f"{path.name}:{_line_of(name, text)}"
        if name not in options:
            near = difflib.get_close_matches(name, options, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(options)}"
            raise click.UsageError(f"{place}: {name}: no such setting; {hint}")
        found[name] = Setting(name, _checked(options[name], value, f"{place}: {name}"), place)
    return found


def _checked(option: click.Option, value: Any, place: str) -> Any:
    if isinstance(value, bool) != option.is_flag:
        kind = "true or false" if option.is_flag else "no true or false"
        raise click.UsageError(f"{place}: it is {value!r}, it must be {kind}")
    if isinstance(value, dict | list):
        raise click.UsageError(f"{place}: it must be one value")
    try:
        option.type.convert(value, option, None)
    except click.BadParameter as error:
        raise click.UsageError(f"{place}: {error.message}") from error
    return value


def _line_of(name: str, text: str) -> int:
    """Return the line (from 1) of a key in our table of ``text``."""
    start = 0
    if table := re.search(r"^\s*\[\s*tool\s*\.\s*stormwatch\s*\]", text, re.MULTILINE):
        start = table.end()
    key = re.compile(rf"""^\s*["']?{re.escape(name)}["']?\s*=""", re.MULTILINE).search(text, start)
    return text.count("\n", 0, key.end() if key else start) + 1
