"""`stormwatch help`: verdicts, policy, faults, exit codes; the text is that of the READMEs and the code."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from typing import Final

import click


@click.command(name="help")
@click.argument("topic", required=False)
@click.pass_context
def command(context: click.Context, topic: str | None) -> None:
    """Explain TOPIC: verdicts, policy, faults, exit-codes, or a command (as its --help does)."""
    from rich.markdown import Markdown

    from harness import output

    root = context.find_root()
    commands = _group(root).list_commands(root)
    if topic is None:
        click.echo(f"Topics are {', '.join(TOPICS)}, and each command.\n\n{root.get_help()}")
    elif topic in commands:
        found = command_of(root, topic)
        click.echo(found.get_help(click.Context(found, root, topic)))
    elif topic in TOPICS:
        output.console().print(Markdown(TOPICS[topic](root), hyperlinks=False))
    else:
        near = difflib.get_close_matches(topic, [*TOPICS, *commands], n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(TOPICS)}, and each command"
        raise click.UsageError(f"no topic {topic!r}: {hint}")


def command_of(root: click.Context, name: str) -> click.Command:
    """Return the command of a name."""
    found = _group(root).get_command(root, name)
    assert found is not None
    return found


def _group(root: click.Context) -> click.Group:
    assert isinstance(root.command, click.Group)
    return root.command


def _faults(_root: click.Context) -> str:
    from harness.faults import kinds
    from harness.system import SystemFileError, find_system

    try:
        system = find_system()
    except SystemFileError:
        system = None
    rows = [
        f"- `{name}`: {(kind.__doc__ or '').strip().splitlines()[0]}" for name, kind in kinds(system).items()
    ]
    return "\n".join([section("scenarios/README.md", "Faults").partition("| fault |")[0], *rows])


def _exit_codes(root: click.Context) -> str:
    """What commands say of theirs."""
    said = {"every command": root.command.epilog or ""}
    for name in _group(root).list_commands(root):
        found = command_of(root, name)
        told = re.search(r"Exit codes: (.+?)(?:\n\n|\Z)", f"{found.help}\n\n{found.epilog or ''}", re.DOTALL)
        if told:
            said[name] = " ".join(told[1].split())
    return "\n".join(f"- **{name}**: {codes}" for name, codes in said.items())


#: Topic -> Markdown.
TOPICS: Final[Mapping[str, Callable[[click.Context], str]]] = {
    "verdicts": lambda _: section("README.md", "A verdict, read aloud"),
    "policy": lambda _: section("scenarios/README.md", "What is promised: the policy"),
    "faults": _faults,
    "exit-codes": _exit_codes,
}


def section(readme: str, heading: str) -> str:
    """Return a section of a README, without its heading and the marks of tables that are made."""
    from importlib.metadata import metadata

    from harness.files import SHIPPED

    path = SHIPPED / readme
    # The first page is no file of the wheel: it is its description.
    description = metadata("stormwatch").json["description"]
    text = path.read_text(encoding="utf-8") if path.is_file() else str(description)
    found = re.search(rf"^(#+) {re.escape(heading)}\n(.*?)(?=^\1 |\Z)", text, re.MULTILINE | re.DOTALL)
    assert found is not None  # a test holds it
    return re.sub(r"<!--.*?-->\n", "", found[2])
