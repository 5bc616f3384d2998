"""Files of runs are their owner's, and documents are read in one place."""

from __future__ import annotations

import ast
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.files import (
    UMASK_VARIABLE,
    DocumentError,
    make_folder,
    open_log,
    write_atomically,
    write_together,
)
from harness.history import HistoryWriter, create_run
from harness.tests.environment.hostile import small_run

HARNESS = Path(__file__).parents[1]


@pytest.fixture(params=[0o022, 0o177])
def any_umask(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever the process's own umask is."""
    before = os.umask(request.param)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, str]:
    """The permissions of all that lies in a folder, and of itself."""
    paths = [folder, *folder.rglob("*")]
    return {path.name: f"{stat.S_IMODE(path.stat().st_mode):o}" for path in paths if not path.is_symlink()}


@pytest.mark.usefixtures("any_umask")
@pytest.mark.parametrize(
    ("umask", "folders", "files"), [(None, "700", "600"), ("027", "750", "640"), ("022", "755", "644")]
)
def test_a_run_is_readable_by_its_owner_alone_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: str | None, folders: str, files: str
) -> None:
    if umask is not None:
        monkeypatch.setenv(UMASK_VARIABLE, umask)
    run = create_run(tmp_path / "reports", "failure")
    with HistoryWriter(run.history, "load", run.id) as history, open_log(run.logs / "load.log"):
        write_atomically(run.path / "report.json", "{}")
    assert modes(tmp_path / "reports") == {
        "reports": folders, run.id: folders, "history": folders, "logs": folders,
        "run.json": files, "report.json": files, history.path.name: files, "load.log": files,
    }  # fmt: skip


def test_every_file_of_a_report_is_its_owners(tmp_path: Path) -> None:
    run = small_run(tmp_path / "reports")
    found = modes(run.path)
    assert {found[name] for name in ("report.json", "report.html", "report.md", "junit.xml")} == {"600"}


@pytest.mark.parametrize("umask", ["rw", "0o22", "700", "8", "0177777"])
def test_a_setting_that_is_no_umask_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, umask: str
) -> None:
    monkeypatch.setenv(UMASK_VARIABLE, umask)
    with pytest.raises(DocumentError, match=f"{UMASK_VARIABLE}='{umask}' is not an octal umask"):
        create_run(tmp_path, "failure")


def test_a_log_of_another_run_is_appended_to(tmp_path: Path) -> None:
    for line in (b"one\n", b"two\n"):
        with open_log(tmp_path / "logs" / "a.log") as log:
            log.write(line)
    assert (tmp_path / "logs" / "a.log").read_bytes() == b"one\ntwo\n"


def test_what_is_there_already_keeps_its_mode(tmp_path: Path) -> None:
    before = Path(os.devnull).stat().st_mode
    with open_log(Path(os.devnull)):
        assert Path(os.devnull).stat().st_mode == before
    (tmp_path / "shared.log").touch(0o664)
    (tmp_path / "shared.log").chmod(0o664)
    with open_log(tmp_path / "shared.log"):
        assert modes(tmp_path)["shared.log"] == "664"


def test_files_are_replaced_together_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old", encoding="utf-8")
    make_folder(tmp_path / "b")
    with pytest.raises(IsADirectoryError):
        write_together({tmp_path / "a": "new", tmp_path / "b": "new"})
    assert (tmp_path / "a").read_text(encoding="utf-8") == "old"
    assert len(list(tmp_path.iterdir())) == 2


def test_documents_are_read_in_one_place() -> None:
    found = []
    for path in HARNESS.rglob("*.py"):
        if "tests" in path.parts or path == HARNESS / "files.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            text = ast.unparse(node) if isinstance(node, ast.Call | ast.Import | ast.ImportFrom) else ""
            if text.startswith(("json.load(", "import tomllib")) or (
                text.startswith("json.loads(") and "read_text(" in text
            ):
                found.append(f"{path.relative_to(HARNESS)}:{node.lineno}")
    assert found == [], "use harness.files.read_json and read_toml"
