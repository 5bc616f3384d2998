"""A run's folder: made whole, found again, never half written."""

import json
import os
from pathlib import Path

import pytest

from harness.files import DocumentError, write_atomically
from harness.history import create_run, open_run


def test_a_new_run_says_what_it_is(tmp_path: Path) -> None:
    run = create_run(tmp_path, "concurrent-games", options={"games": 3}, seed=7)
    document = open_run(run.path).read()
    assert document.id == run.id
    assert document.options == {"games": 3}
    assert document.versions["python"]
    assert document.machine["cores"] >= 1
    assert run.history.is_dir()


def test_two_runs_of_the_same_second_have_folders_of_their_own(tmp_path: Path) -> None:
    assert create_run(tmp_path, "a").path != create_run(tmp_path, "a").path


def test_latest_leads_to_the_newest(tmp_path: Path) -> None:
    for kind in ("first", "second"):
        run = create_run(tmp_path, kind)
        run.point_latest_here()
    assert open_run(tmp_path / "latest").id == run.id
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".latest")] == []


def test_latest_survives_a_folder_that_was_deleted(tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to("gone")
    run = create_run(tmp_path, "again")
    run.point_latest_here()
    assert open_run(tmp_path / "latest").id == run.id


@pytest.mark.parametrize("kind", ["folder", "file", "dangling", "elsewhere", "itself"])
def test_latest_leads_to_the_newest_whatever_it_was(tmp_path: Path, kind: str) -> None:
    latest, kept = tmp_path / "latest", tmp_path / "latest-1"
    if kind == "folder":
        create_run(tmp_path, "old").path.rename(latest)
    elif kind == "file":
        latest.write_text("notes", encoding="utf-8")
    else:
        latest.symlink_to({"dangling": "gone", "elsewhere": "/etc", "itself": "latest"}[kind])
    run = create_run(tmp_path, "new")
    run.point_latest_here()
    assert open_run(latest).id == run.id
    # What somebody put there is still there, under another name.
    assert kept.exists() == (kind in {"folder", "file"})
    if kind == "folder":
        assert open_run(kept).read().kind == "old"


def test_a_folder_that_was_moved_aside_before_is_kept_too(tmp_path: Path) -> None:
    for name in ("latest", "latest-1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "what").write_text(name, encoding="utf-8")
    create_run(tmp_path, "new").point_latest_here()
    assert [(tmp_path / f"latest-{n}" / "what").read_text(encoding="utf-8") for n in (1, 2)] == [
        "latest-1",
        "latest",
    ]


def test_a_latest_that_can_not_be_replaced_is_named_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run(tmp_path, "new")
    (tmp_path / "latest").mkdir()

    def refused(self: Path, target: Path) -> None:
        raise OSError(16, os.strerror(16))

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(DocumentError, match=r"latest can't be made to lead here: .*busy") as said:
        run.point_latest_here()
    assert "\n" not in str(said.value)
    with pytest.raises(DocumentError, match="can't write to"):
        create_run(tmp_path, "newer")
    assert list(tmp_path.glob(".latest*")) == []


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (None, "no run.json"),
        ("", "can't be read"),
        ("[]", "schema is 'list'"),
        ('{"schema": "stormwatch.run/9"}', "stormwatch.run/9"),
    ],
)
def test_what_is_no_run_is_named(tmp_path: Path, content: str | None, named: str) -> None:
    if content is not None:
        (tmp_path / "run.json").write_text(content, encoding="utf-8")
    with pytest.raises(DocumentError, match=named):
        open_run(tmp_path)


def test_a_reports_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(DocumentError, match=r"can't write to .*file"):
        create_run(tmp_path / "file", "x")


def test_an_update_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run.json"
    write_atomically(path, "old")

    def full_disk(self: Path, target: Path) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "replace", full_disk)
    with pytest.raises(OSError, match="space"):
        write_atomically(path, "new")
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_updates_keep_the_other_fields(tmp_path: Path) -> None:
    run = create_run(tmp_path, "x", seed=3)
    run.update(interrupted=True)
    assert json.loads((run.path / "run.json").read_text(encoding="utf-8"))["seed"] == 3
    assert run.read().interrupted is True
