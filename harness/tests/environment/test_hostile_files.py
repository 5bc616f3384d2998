"""Files that are made to harm, or damaged, are refused in one line: quickly, and with exit code 4."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner

from harness.cli import main
from harness.files import MAX_BYTES, DocumentError, read_json, read_toml
from harness.history import SCHEMA, HistoryError, RunFolder, read_history
from harness.history.schema import META_RUN, META_VERSION, META_WRITER, SCHEMA_VERSION
from harness.sla.policy import DEFAULT_POLICY, PolicyError, load_policy
from harness.tests.environment.hostile import COMMAND, in_shell, surroundings

DEEP = "[" * 200_000 + "]" * 200_000


def write_batches(
    path: Path, compression: str | None, rows: int = 100_000, names: pa.Array | None = None
) -> None:
    names = pa.array(["http"] * rows) if names is None else names
    columns = [names if not field.nullable else pa.nulls(rows, field.type) for field in SCHEMA]
    schema = SCHEMA.with_metadata({META_VERSION: str(SCHEMA_VERSION), META_RUN: "run", META_WRITER: "load"})
    batch = pa.record_batch(
        [column.cast(field.type) for column, field in zip(columns, SCHEMA, strict=True)], schema=schema
    )
    with pa.ipc.new_stream(
        str(path), schema, options=pa.ipc.IpcWriteOptions(compression=compression)
    ) as stream:
        for _ in range(2):
            stream.write_batch(batch)


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_a_compressed_history_is_not_unpacked(tmp_path: Path, compression: str) -> None:
    write_batches(tmp_path / "load-1.arrow", compression)
    before = pa.total_allocated_bytes()
    with pytest.raises(HistoryError, match=r"load-1\.arrow: it is compressed"):
        read_history(tmp_path)
    assert pa.total_allocated_bytes() - before < 1 << 20


def test_a_history_as_we_write_it_is_read(tmp_path: Path) -> None:
    write_batches(tmp_path / "load-1.arrow", None, rows=10)
    assert read_history(tmp_path).table.num_rows == 20


def test_a_history_with_places_outside_of_it_is_damaged(tmp_path: Path) -> None:
    names = pa.DictionaryArray.from_arrays(pa.array([99], pa.int32()), pa.array(["http"]), safe=False)
    write_batches(tmp_path / "load-1.arrow", None, rows=1, names=names)
    with pytest.raises(HistoryError, match="damaged"):
        read_history(tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (DEEP, "nested deeper"),
        ("[" * 65 + "]" * 65, "nested deeper"),
        ("[NaN]", "NaN is no JSON"),
        ("[1" + "0" * 5000 + "]", "not JSON"),
        ("{", "not JSON"),
    ],
)
def test_what_no_document_of_ours_is_like_is_refused(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "a.json").write_text(content, encoding="utf-8")
    with pytest.raises(DocumentError, match=said):
        read_json(tmp_path / "a.json")


def test_a_document_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.json").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(DocumentError, match="larger than 32 MiB"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("key", [".".join("a" * 100_000) + " = 1", "[" + ".".join("a" * 100_000) + "]"])
def test_a_key_of_many_parts_takes_no_time(tmp_path: Path, key: str) -> None:
    (tmp_path / "a.toml").write_text(f"# a policy\n{key}\n", encoding="utf-8")
    begun = time.process_time()
    with pytest.raises(DocumentError, match="line 2 has a key of too many parts"):
        read_toml(tmp_path / "a.toml")
    assert time.process_time() - begun < 1


def test_a_byte_order_mark_is_no_part_of_a_document(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("\ufeff[1]", encoding="utf-8")
    assert read_json(tmp_path / "a.json") == [1]
    (tmp_path / "sla.toml").write_text(
        "\ufeff" + DEFAULT_POLICY.read_text(encoding="utf-8"), encoding="utf-8"
    )
    assert load_policy(tmp_path / "sla.toml") == load_policy()


def test_another_unicode_encoding_is_named(tmp_path: Path) -> None:
    (tmp_path / "sla.toml").write_text("[a]", encoding="utf-16")
    with pytest.raises(PolicyError, match="it is UTF-16; save it as UTF-8"):
        load_policy(tmp_path / "sla.toml")


def copied(run: RunFolder, to: Path) -> Path:
    return shutil.copytree(run.path, to / run.id)


def refused(command: str, run: Path) -> str:
    """What a command says of a run that it can't read."""
    both = [run] if command == "compare" else []
    done = CliRunner().invoke(main, [command, *map(str, [run, *both])])
    assert done.exit_code == 4, done.output
    (line,) = done.output.splitlines()
    assert line.startswith("Error: ")
    return line


@pytest.mark.parametrize(
    ("command", "name"), [("gate", "report.json"), ("report", "run.json"), ("compare", "run.json")]
)
def test_a_document_nested_deep_is_no_readable_report(
    passed: RunFolder, tmp_path: Path, command: str, name: str
) -> None:
    run = copied(passed, tmp_path)
    (run / name).write_text(DEEP, encoding="utf-8")
    assert refused(command, run) == f"Error: {run / name}: can't be read: it is nested deeper than 64 levels"


def test_a_run_with_byte_order_marks_is_judged_and_gated(passed: RunFolder, tmp_path: Path) -> None:
    run = copied(passed, tmp_path)
    for name in ("run.json", "scenarios/one/scenario.json", "report.json"):
        (run / name).write_text("\ufeff" + (run / name).read_text(encoding="utf-8"), encoding="utf-8")
    for command in ("gate", "report", "gate"):
        assert CliRunner().invoke(main, [command, str(run)]).exit_code == 0


@pytest.mark.parametrize("command", ["gate", "report", "compare"])
@pytest.mark.parametrize("name", ["x" * 300, "file/below", "file/run.json", "file/report.json"])
def test_a_path_that_can_not_be_is_no_readable_report(tmp_path: Path, command: str, name: str) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    assert name[-5:] in refused(command, tmp_path / name)


@pytest.mark.parametrize("command", ["gate", "report", "compare"])
def test_a_folder_that_may_not_be_entered_is_no_readable_report(
    passed: RunFolder, tmp_path: Path, command: str
) -> None:
    run = copied(passed, tmp_path / "closed")
    run.parent.chmod(0)
    done = subprocess.run(
        [*mere_mortal(), *COMMAND, command, run, *([run] if command == "compare" else [])],
        capture_output=True,
        check=False,
    )
    run.parent.chmod(0o700)
    assert done.returncode == 4
    assert b"Permission denied" in done.stderr
    assert b"Traceback" not in done.stderr


def test_reports_that_do_not_fit_leave_the_old_ones(passed: RunFolder, tmp_path: Path) -> None:
    run = copied(passed, tmp_path)
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    done = in_shell("ulimit -f 100; $STORMWATCH", "report", run)
    assert done.returncode == 4
    assert b"the old ones were kept" in done.stderr
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_a_cache_whose_folders_are_there_and_can_not_be_written_is_named(tmp_path: Path) -> None:
    for name in ("postgres", "toxiproxy"):
        (tmp_path / name).mkdir(mode=0o555)
    tmp_path.chmod(0o555)
    program = "from harness.stack.folders import cache_folder\ncache_folder('toxiproxy')"
    done = subprocess.run(
        [*mere_mortal(), sys.executable, "-c", program],
        capture_output=True,
        check=False,
        env=surroundings({"STORMWATCH_CACHE": str(tmp_path)}),
    )
    tmp_path.chmod(0o700)
    last = done.stderr.decode().splitlines()[-1]
    assert last.endswith(
        f"can't write to the cache folder {tmp_path}/toxiproxy: set STORMWATCH_CACHE to another place"
    )


def test_scenarios_in_a_folder_that_can_not_be_written_are_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "test_demo.py").write_text("def test_it(experiment): raise AssertionError", encoding="utf-8")
    tmp_path.chmod(0o555)
    done = subprocess.run(
        [*mere_mortal(), sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_demo.py"],
        capture_output=True,
        check=False,
        cwd=tmp_path,
    )
    tmp_path.chmod(0o700)
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "Permission denied; give a writable folder with --stormwatch-reports or STORMWATCH_REPORTS" in said
    assert "INTERNALERROR" not in said


def mere_mortal() -> list[str]:
    """What to put before a command so that permissions count for it, whoever runs the tests."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root may write to every folder, and there is no setpriv to take that from it")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
