"""No file is read or written in the locale's encoding: ruff's PLW1514, and what it does not see."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[3]
OPENERS = {"open", "fdopen", "NamedTemporaryFile", "TemporaryFile", "makefile"}


def in_text(call: ast.Call) -> bool:
    """Whether a call opens or reads something as text, as far as its own words tell."""
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    given = (named.get(key) for key in ("text", "universal_newlines"))
    if any(isinstance(value, ast.Constant) and value.value is True for value in given):
        return True
    if not isinstance(call.func, ast.Attribute):
        return False
    if call.func.attr == "read_text":
        return not call.args
    if call.func.attr == "write_text":
        return len(call.args) == 1
    words = [word.value for word in (*call.args, named.get("mode")) if isinstance(word, ast.Constant)]
    modes = [word for word in words if isinstance(word, str) and word and set(word) <= set("rwax+t")]
    return call.func.attr in OPENERS and bool(modes)


def without_encoding(source: str) -> Iterator[int]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and in_text(node) and "encoding" not in {k.arg for k in node.keywords}:
            yield node.lineno


def test_every_file_is_opened_with_its_encoding() -> None:
    found = [
        f"{path.relative_to(PROJECT)}:{line}"
        for folder in ("harness", "service", "fixtures", "scenarios")
        for path in sorted((PROJECT / folder).rglob("*.py"))
        for line in without_encoding(path.read_text(encoding="utf-8"))
    ]
    assert found == [], 'say encoding="utf-8"'


@pytest.mark.parametrize(
    "source",
    [
        "p.read_text()",
        "p.write_text('a')",
        "p.open('w')",
        "p.open(mode='a')",
        "os.fdopen(3, 'w')",
        "subprocess.run(['a'], text=True)",
    ],
)
def test_a_call_without_an_encoding_is_found(source: str) -> None:
    assert list(without_encoding(source)) == [1]


@pytest.mark.parametrize(
    "source",
    [
        "p.read_bytes()",
        "p.open('rb')",
        "session.open()",
        "refused(text='no')",
        "p.read_text(encoding='utf-8')",
    ],
)
def test_a_call_that_needs_none_is_left_alone(source: str) -> None:
    assert list(without_encoding(source)) == []
