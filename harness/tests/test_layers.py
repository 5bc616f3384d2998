"""Imports go one way, from commands down to files: lazy and type-checking ones counted."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import harness

ROOT = Path(harness.__file__).parent

#: Topmost first. A package imports from lower lines only, not from its neighbours on the same line.
LAYERS = (
    ("cli", "pytest_plugin"),
    ("commands",),
    ("calibrate", "drills", "rollout", "validate"),
    ("experiment", "load"),
    ("live",),
    ("faults", "report"),
    ("observe",),
    ("judge", "stack"),
    ("system",),
    ("target",),
    ("history", "process"),
    ("sla",),
    ("documents",),
    ("files", "limits", "load_options", "output", "web_proxies"),
)


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written out in full"
            yield from (
                [f"harness.{a.name}" for a in node.names] if node.module == "harness" else [node.module or ""]
            )


@cache
def arrows() -> frozenset[tuple[str, str, str]]:
    """Return (package, the one that it imports from, file) of every import between two packages."""
    found = set()
    for file in ROOT.rglob("*.py"):
        path = file.relative_to(ROOT)
        if path.parts[0] in {"tests", "__init__.py"}:
            continue
        package = path.parts[0].removesuffix(".py")
        for module in imported(ast.parse(file.read_text(encoding="utf-8"))):
            first, _, rest = module.partition(".")
            other = rest.partition(".")[0]
            if first == "harness" and other not in {"", package}:
                found.add((package, other, path.as_posix()))
    return frozenset(found)


def wrong() -> set[tuple[str, str]]:
    height = {package: -line for line, packages in enumerate(LAYERS) for package in packages}
    return {(file, other) for package, other, file in arrows() if height.get(other, 0) >= height[package]}


def test_every_package_has_its_layer() -> None:
    packages = {
        p.name.removesuffix(".py")
        for p in ROOT.iterdir()
        if p.suffix == ".py" or (p / "__init__.py").exists()
    }
    assert packages - {"tests", "__init__"} == {package for packages in LAYERS for package in packages}


def test_imports_go_one_way() -> None:
    assert not wrong(), f"these import from a layer that is not below theirs: {sorted(wrong())}"


def test_the_harness_imports_nothing_of_what_it_tests() -> None:
    found = set()
    for file in ROOT.rglob("*.py"):
        if "tests" not in file.relative_to(ROOT).parts:
            tree = ast.parse(file.read_text(encoding="utf-8"))
            found |= {
                (file.relative_to(ROOT).as_posix(), module)
                for module in imported(tree)
                if module.partition(".")[0] in {"service", "fixtures", "scenarios"}
            }
    assert not found
