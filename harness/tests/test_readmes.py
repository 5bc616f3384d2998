"""READMEs: their tables are made from the code, their Python runs as printed, their links lead somewhere.

``UPDATE_GOLDEN=1`` writes the tables anew.
"""

import dataclasses
import inspect
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic.fields import FieldInfo

import harness.experiment
from fixtures.synthetic_run import Shape, synthetic_rows, write_run
from harness.commands._settings import settings_of
from harness.commands.run import command as run_command
from harness.faults import kinds, places
from harness.faults.pubnub import OPERATIONS
from harness.history.names import Kind
from harness.history.row import Row
from harness.history.schema import COLUMNS
from harness.judge.metrics import METRICS as MEASURES
from harness.sla.metrics import METRICS
from harness.sla.policy import load_policy
from harness.sla.promises import (
    Drift,
    MeasurementLimits,
    Objective,
    Policy,
    Profile,
    Recovery,
    Rollout,
    Tolerances,
)
from harness.sla.units import parse_duration, parse_share
from harness.stack.proxies import PROXIES
from harness.system import find_system
from harness.system.processes import Part
from scenarios.drawing_game.faults.flags import FLAGS

PROJECT = Path(harness.experiment.__file__).parents[2]
READMES = sorted(
    path
    for path in PROJECT.rglob("*.md")
    if not any(part.startswith(".") or part == "_bundled" for part in path.relative_to(PROJECT).parts)
)
TABLE = re.compile(r"(<!-- (\w+): made from the code -->\n)(.*?)(<!-- end -->)", re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
DATA = re.compile(r"^```(toml|json|yaml)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r'^```python(?: title="(\S+)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)
TOML = re.compile(r'^```toml title="sla\.toml"\n(.*?)^```', re.MULTILINE | re.DOTALL)


def table(head: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def first_sentence(thing: object) -> str:
    said = " ".join((inspect.getdoc(thing) or "").split("\n\n")[0].split())
    return said.replace("``", "`").replace("|", "\\|")


def faults() -> str:
    def given(kind: type) -> str:
        takes = inspect.signature(kind).parameters.values()
        shown = [f.name if f.default is inspect.Parameter.empty else f"{f.name}={f.default!r}" for f in takes]
        return f"`{kind.__name__}({', '.join(shown)})`"

    rows = (
        (f"`{name}`", f"`{kind.__module__}`", given(kind), first_sentence(kind))
        for name, kind in kinds(find_system()).items()
    )
    return table(("fault", "module", "in a scenario", "what it does"), rows)


def targets() -> str:
    named = {
        "network": sorted(PROXIES), "process": ["service-1", *get_args(Part)], "pubnub": ["all", *OPERATIONS],
        "service": FLAGS,
    }  # fmt: skip

    def rows() -> Iterator[tuple[str, ...]]:
        system = find_system()
        for place, about in places(system).items():
            of_place = [kind for kind in kinds(system).values() if kind.place == place]
            defaults = {inspect.signature(kind).parameters["target"].default for kind in of_place}
            found = [*sorted(defaults - {inspect.Parameter.empty}), *named.get(place, ())]
            said = about.replace("``", "`")
            yield f"`{place}`", ", ".join(f"`{one}`" for one in dict.fromkeys(found)), said

    return table(("place", "targets", "what is done there"), rows())


def expectations() -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for name in harness.experiment.__all__:
            kind = getattr(harness.experiment, name)
            if dataclasses.is_dataclass(kind) and hasattr(kind, "judge"):
                fields = [f for f in dataclasses.fields(kind) if f.init and not f.name.startswith("_")]
                given = ", ".join(
                    f.name if f.default is dataclasses.MISSING else f"{f.name}={f.default!r}" for f in fields
                )
                yield f"`{name}({given})`", first_sentence(kind)

    return table(("expectation", "what is expected"), rows())


def metrics() -> str:
    def rows() -> Iterator[tuple[str, ...]]:
        for name, metric in METRICS.items():
            unit = {"quantile": "seconds, a quantile", "rate": "a share", "census": "a share of all"}[
                metric.kind
            ]
            said = first_sentence(MEASURES[name]).removeprefix("Return ")
            yield f"`{name}`", unit, metric.comparison, said[0].upper() + said[1:]

    return table(("metric", "unit", "good", "what it is"), rows())


def columns() -> str:
    source = inspect.getsource(Row)

    def rows() -> Iterator[tuple[str, ...]]:
        for name, type_, _ in COLUMNS:
            comment = re.search(rf"((?:    #:.*\n)+)    {name}:", source)
            assert comment, f"Row.{name} is not explained"
            said = " ".join(line.strip().removeprefix("#:").strip() for line in comment[1].splitlines())
            said = re.sub(r":\w+:`~?([\w.]+)`", r"`\1`", said)
            said += f" {', '.join(get_args(Kind))}." if name == "kind" else ""
            yield f"`{name}`", str(getattr(type_, "value_type", type_)), said.replace("``", "`")

    return table(("column", "type", "what it holds"), rows())


#: Heading of a table of a policy -> what is in it.
POLICY = {
    "": Policy, "[objectives.NAME]": Objective, "[tolerances]": Tolerances, "[drift.NAME]": Drift,
    "[measurement]": MeasurementLimits, "[recovery]": Recovery, "[rollout]": Rollout,
    "[profiles.NAME]": Profile,
}  # fmt: skip


def default_of(field: FieldInfo, said: str) -> str:
    """How a policy writes the default of a field."""
    if field.is_required():
        return "" if "default:" in said else "needed"
    value = field.get_default(call_default_factory=True)
    if value in (None, "", [], {}) or isinstance(value, list):
        return ""
    reads = {getattr(one, "func", None) for one in field.metadata}
    written = f"{value:g}s" if parse_duration in reads else f"{value:.6%}" if parse_share in reads else value
    return f"`{re.sub(r'[.]?0+%', '%', json.dumps(written))}`"


def policy() -> str:
    inside = {re.match(r"\w+", heading.strip("[]"))[0] for heading in POLICY if heading}

    def rows() -> Iterator[tuple[str, ...]]:
        for heading, model in POLICY.items():
            source, place = inspect.getsource(model), f"`{heading}`" if heading else ""
            for name, field in model.model_fields.items():
                if model is Policy and name in inside:
                    continue
                comment = re.search(rf"((?:    #:.*\n)+)    {name}:", source)
                assert comment, f"{heading} {name} is not explained"
                said = " ".join(line.strip().removeprefix("#:").strip() for line in comment[1].splitlines())
                yield place, f"`{field.alias or name}`", default_of(field, said), said.replace("``", "`")
                place = ""

    return table(("table", "field", "default", "what it says"), rows())


TABLES: dict[str, Callable[[], str]] = {
    "faults": faults, "expectations": expectations, "metrics": metrics, "columns": columns, "policy": policy,
    "targets": targets,
}  # fmt: skip


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_tables_say_what_the_code_says(readme: Path) -> None:
    text = readme.read_text(encoding="utf-8")
    made = TABLE.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n{found[4]}", text)
    if os.environ.get("UPDATE_GOLDEN"):
        readme.write_text(made, encoding="utf-8")
    assert made == readme.read_text(encoding="utf-8"), "if that is meant, run with UPDATE_GOLDEN=1"


def anchors(text: str) -> set[str]:
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("readme", READMES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_lead_somewhere(readme: Path) -> None:
    for link in LINK.findall(readme.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        place, _, anchor = link.partition("#")
        target = (readme.parent / place).resolve() if place else readme
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), link


def test_the_first_readme_is_read_in_one_go() -> None:
    assert len((PROJECT / "README.md").read_text(encoding="utf-8").splitlines()) < 150


#: Lines of shell that take minutes, or a system of one's own. Each is tried elsewhere; that its options and
#: files are there is seen by test_documented_commands.py.
MINUTES = re.compile(r"(make|pip|locust|pytest|stormwatch (run|up|down|rollout|drill)|docker|kubectl)\b")


@pytest.mark.timeout(300)  # six commands one after the other, on a machine that may be busy
def test_lines_of_shell_run_as_printed_in_a_fresh_folder(tmp_path: Path) -> None:
    lines = [
        line
        for readme in READMES
        for block in SHELL.findall(readme.read_text(encoding="utf-8"))
        for line in block.splitlines()
        if line.strip() and not MINUTES.match(line)
    ]
    assert {line.split()[1] for line in lines} >= {"init", "fault", "gate", "report", "compare"}
    shape = Shape(games_at_once=10, seconds=30)
    runs = [write_run(tmp_path / "reports", synthetic_rows(shape), shape) for _ in range(2)]
    for name, run in zip(("old", "new"), runs, strict=True):
        (tmp_path / "reports" / name).symlink_to(run.path)
    (tmp_path / "reports" / "latest").symlink_to(runs[0].path)
    (tmp_path / "pyproject.toml").symlink_to(PROJECT / "pyproject.toml")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STORMWATCH_")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for line in sorted(lines, key=lambda line: "report" not in line):  # the others read what it writes
        done = subprocess.run(
            ["sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True,
            encoding="utf-8", check=False,
        )  # fmt: skip
        # The made-up runs are too short to pass: 3 says so.
        assert done.returncode in ({0, 3} if "reports" in line else {0}), (line, done.stdout + done.stderr)


def test_make_knows_what_is_printed() -> None:
    pages = [readme.read_text(encoding="utf-8") for readme in READMES]
    lines = [line for page in pages for line in re.findall(r"^(make .*)$", page, re.MULTILINE)]
    assert lines
    for line in lines:
        planned = ["sh", "-c", line.replace("make", "make -n", 1)]
        subprocess.run(planned, cwd=PROJECT, capture_output=True, check=True)


def test_data_that_is_shown_can_be_read(tmp_path: Path) -> None:
    read = {"toml": tomllib.loads, "json": json.loads, "yaml": yaml.safe_load}
    shown = [block for readme in READMES for block in DATA.findall(readme.read_text(encoding="utf-8"))]
    assert {kind for kind, _ in shown} >= {"toml", "json"}
    for kind, text in shown:
        read[kind](text)
        if "[tool.stormwatch]" in text:
            (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
            said = {one.name for one in settings_of(run_command, tmp_path) if one.source != "default"}
            assert said == set(tomllib.loads(text)["tool"]["stormwatch"])


def snippets() -> Iterator[tuple[Path, str, str]]:
    for readme in READMES:
        for title, code in PYTHON.findall(readme.read_text(encoding="utf-8")):
            yield readme, title, code


def test_what_reads_a_history_runs_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shape = Shape()
    run = write_run(tmp_path / "reports", synthetic_rows(shape), shape)
    (tmp_path / "reports" / "latest").symlink_to(run.path)
    monkeypatch.chdir(tmp_path)
    codes = [code for readme, _, code in snippets() if "read_history" in code]
    assert len(codes) == 2
    for code in codes:
        exec(compile(code, "README", "exec"), {})
        shown = capsys.readouterr().out
        assert "0.95" in shown or "delivery" in shown


#: Their code is taken step by step: test_recipes.py, test_walkthrough.py.
STEPWISE = {PROJECT / "CONTRIBUTING.md", PROJECT / "harness" / "system" / "README.md"}


def test_what_else_is_shown_runs_by_itself() -> None:
    others = [
        code for readme, title, code in snippets()
        if not title and readme not in STEPWISE and "read_history" not in code
    ]  # fmt: skip
    assert others
    for code in others:
        exec(compile(code, "README", "exec"), {})


def test_scenarios_that_are_shown_are_found_as_printed(tmp_path: Path) -> None:
    titled = {title: code for _, title, code in snippets() if title}
    assert {"busy_evening.py", "test_my_outage.py"} <= set(titled)
    for title, code in titled.items():
        (tmp_path / title).write_text(code, encoding="utf-8")
    collected = [sys.executable, "-m", "pytest", "--collect-only", "-q", "test_my_outage.py"]
    listed = [sys.executable, "-m", "locust", "-f", "busy_evening.py", "--list"]
    for command, told in ((collected, "test_refused"), (listed, "Evening")):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
        assert told in done.stdout + done.stderr, done.stderr
        assert done.returncode == 0, done.stderr


def test_a_policy_that_is_shown_is_one(tmp_path: Path) -> None:
    shown = [text for readme in READMES for text in TOML.findall(readme.read_text(encoding="utf-8"))]
    assert shown
    for text in shown:
        path = tmp_path / "sla.toml"
        path.write_text(text, encoding="utf-8")
        assert load_policy(path, profile="quick").objectives
