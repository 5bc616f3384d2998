"""Every command of READMEs, docstrings, help texts and configuration exists, with its options and files."""

import ast
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

import harness
from harness.cli import COMMANDS, main
from harness.tests.test_load_options import load_parser

PROJECT = Path(harness.__file__).parents[1]
#: What users type of ours.
HEADS = r"(?:stormwatch|locust|pytest|make|python -m (?:harness|service|fixtures|scenarios)[\w.]*)(?=[ `]|$)"
INLINE = re.compile(rf"`\.?/?(?:\.venv/bin/)?({HEADS}[^`\n]*)`")
LINE = re.compile(rf"^(?:\s{{2,}}|\s*command: |\s*(?:- )?run: )((?!make [a-z]+ \S){HEADS}.*)$", re.MULTILINE)
FENCED = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
#: Words that stand for what a user puts there.
PLACEHOLDER = re.compile(r"^[A-Z][A-Z_]*$|\.\.\.|[<>{}$\[\]]")


def texts() -> Iterator[tuple[str, str]]:
    """Yield where a text stands, and the text."""
    for path in sorted(PROJECT.rglob("*")):
        inside = path.relative_to(PROJECT)
        if inside.parts[0].startswith(".") and inside.parts[0] != ".github":
            continue
        if "tests" in inside.parts or (inside.parts[0] == "reports" and inside.name != "README.md"):
            continue
        if path.suffix in {".md", ".yml"} and inside.name != "CHANGELOG.md":
            yield str(inside), path.read_text(encoding="utf-8")
        elif path.suffix == ".py":
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield f"{inside}:{node.lineno}", node.value


def documented() -> dict[str, str]:
    """Return command line -> where it stands first."""
    found: dict[str, str] = {}
    for where, text in texts():
        lines = [*INLINE.findall(text), *LINE.findall(text)]
        for block in FENCED.findall(text):
            lines += re.findall(rf"^({HEADS}.*)$", block, re.MULTILINE)
        for line in lines:
            # What follows two spaces tells what it does.
            command = re.split(r"\s{2,}|\s+#", line)[0].strip()
            found.setdefault(command, where)
    return found


DOCUMENTED = documented()


def words_of(line: str) -> list[str]:
    """Return the words of a command, up to what its shell does with it."""
    words = []
    lexer = shlex.shlex(line.replace("/--", " --"), posix=True, punctuation_chars="&|;<>")
    lexer.whitespace_split = True
    for word in lexer:
        if set(word) <= set("&|;<>"):
            break
        words.append(word)
    return words


@cache
def help_of(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command, "--help"],
        cwd=PROJECT,
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return done.stdout


def check_stormwatch(words: list[str]) -> None:
    if not words or words[0].startswith("-") or PLACEHOLDER.search(words[0]):
        return
    assert words[0] in COMMANDS, f"no command {words[0]}"
    command = main.get_command(click.Context(main), words[0])
    assert command is not None
    given = [word for word in words[1:] if not PLACEHOLDER.fullmatch(word)]
    own, _, load = " ".join(given).partition("-- ")
    if words[0] == "run":
        parse(command, words[0], own.split() if load else given)
        if load and "--help" not in load:
            load_parser().parse_args(load.split())
        return
    if words[0] == "system" and words[1:]:
        assert isinstance(command, click.Group)
        check = command.get_command(click.Context(command), words[1])
        assert check is not None
        parse(check, words[1], given[1:])
        return
    fault = next((word for word in given if ":" in word or word in {"mend", "random"}), None)
    if words[0] != "fault" or fault is None:
        parse(command, words[0], given)
        return
    assert isinstance(command, click.Group)
    place = given.index(fault)
    parse(command, "fault", [*given[:place], "mend"])
    kind = command.get_command(click.Context(command), fault)
    assert kind is not None
    parse(kind, fault, given[place + 1 :])


def parse(command: click.Command, name: str, given: list[str]) -> None:
    """Have click parse what was given; that something is left out in a sentence is no mistake."""
    try:
        command.make_context(name, list(given))
    except (click.exceptions.Exit, click.MissingParameter, click.exceptions.NoArgsIsHelpError):
        pass
    except click.BadOptionUsage as error:
        if "requires an argument" not in error.message:
            raise
    except click.BadParameter as error:
        if "does not exist" not in error.message:
            raise


def check_options(words: list[str], known: str) -> None:
    for word in words:
        if word.startswith("-") and word != "-":
            option = word.partition("=")[0]
            assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", known), f"no option {option}"


def check_files(words: list[str]) -> None:
    for word in words:
        path = word.rpartition("=")[2].partition("::")[0]
        is_ours = path.startswith(("scenarios/", "fixtures/", "harness/", "service/"))
        if is_ours and not PLACEHOLDER.search(path):
            assert (PROJECT / path).exists(), f"no file {path}"


@pytest.mark.parametrize("line", DOCUMENTED, ids=lambda line: f"{line} ({DOCUMENTED[line]})")
def test_a_documented_command_exists_with_its_options_and_files(line: str) -> None:
    head, *words = words_of(line)
    check_files(words)
    if head == "stormwatch":
        check_stormwatch(words)
    elif head == "locust":
        load_parser().parse_args([word for word in words if word not in {"-h", "--help"}])
    elif head == "pytest":
        check_options(words, help_of("pytest", "scenarios/failure"))
    elif head == "make":
        targets = set(
            re.findall(r"^([a-z]+):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
        )
        assert {word for word in words if "=" not in word} <= targets
    else:
        assert importlib.util.find_spec(words[1]), f"no module {words[1]}"
        if any(word.startswith("-") for word in words[2:]):
            check_options(words[2:], help_of(words[1]))


@pytest.mark.parametrize("line", ["stormwatch fault --list", "make help", "python -m service --help"])
def test_the_quick_ones_really_run(line: str) -> None:
    assert any(line.startswith(known) or known.startswith(line) for known in DOCUMENTED)
    head, *words = line.split()
    ours = {"stormwatch": [sys.executable, "-m", "harness.cli"], "python": [sys.executable]}
    subprocess.run([*ours.get(head, [head]), *words], cwd=PROJECT, capture_output=True, check=True)


def test_the_documentation_was_found() -> None:
    for known in ("make sla", "stormwatch down", "stormwatch calibrate", "python -m service --check"):
        assert known in DOCUMENTED
