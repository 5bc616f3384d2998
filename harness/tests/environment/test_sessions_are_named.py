"""Sessions of the harness at a database are opened in one place, which names them."""

import ast
from pathlib import Path

import harness

HARNESS = Path(harness.__file__).parent
#: What opens a session: asyncpg's, and clients of others.
OPENERS = {"connect", "create_pool", "connect_utils"}
CLIENTS = {"psycopg", "psycopg2", "pg8000", "aiopg"}


def opens_sessions(source: str) -> bool:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="asyncpg"), attr=attribute) if attribute in OPENERS:
                return True
            case ast.ImportFrom(module="asyncpg", names=names) if OPENERS & {name.name for name in names}:
                return True
            case ast.Import(names=names) if CLIENTS & {name.name.partition(".")[0] for name in names}:
                return True
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in CLIENTS:
                return True
    return False


def test_one_module_of_the_harness_opens_sessions() -> None:
    found = [
        str(path.relative_to(HARNESS))
        for path in sorted(HARNESS.rglob("*.py"))
        if "tests" not in path.parts and opens_sessions(path.read_text(encoding="utf-8"))
    ]
    assert found == ["target/sessions.py"], "open it with harness.target.sessions.open_session"
