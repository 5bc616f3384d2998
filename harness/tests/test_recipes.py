"""Each recipe of CONTRIBUTING.md is followed in a copy of the project, and touches no more than it says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.tests.test_layers import LAYERS, ROOT

PROJECT = ROOT.parent
#: A report to show.
FIRST = ROOT / "tests" / "golden" / "report-1.json"
GUIDE = PROJECT / "CONTRIBUTING.md"
#: Where each stage lives.
STAGES = {
    "drive": "load",
    "break": "faults",
    "record": "history",
    "check": "judge",
    "report": "report",
    "gate": "commands/gate.py",
}


class Copy:
    """A copy of the harness and its scenarios; knows which files were written into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.touched: set[str] = set()
        without = shutil.ignore_patterns("__pycache__", "tests")
        for name in ("harness", "scenarios"):
            shutil.copytree(PROJECT / name, folder / name, ignore=without)
        named = '[tool.stormwatch]\nsystem = "scenarios.systems.drawing_game:DrawingGame"\n'
        (folder / "pyproject.toml").write_text(named, encoding="utf-8")

    def write(self, name: str, text: str) -> None:
        self.touched.add(name)
        path = self.folder / name
        path.write_text(text, encoding="utf-8")

    def add(self, name: str, text: str) -> None:
        self.write(name, (self.folder / name).read_text(encoding="utf-8") + text)

    def replace(self, name: str, old: str, new: str) -> None:
        text = (self.folder / name).read_text(encoding="utf-8")
        assert old in text
        self.write(name, text.replace(old, new, 1))

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(self.folder)},
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def recipe(title: str) -> list[str]:
    """Return the blocks of code under a title of the guide."""
    _, _, rest = GUIDE.read_text(encoding="utf-8").partition(f"### {title}\n")
    assert rest, f"{GUIDE.name} has no recipe {title!r}"
    section = re.split(r"\n##+ ", rest)[0]
    return re.findall(r"```(?:python|toml)\n(.*?)```", section, re.DOTALL)


def test_a_fault_is_one_file(copy: Copy) -> None:
    (fault,) = recipe("A fault")
    copy.write("harness/faults/clock.py", fault)
    assert "clock:skew" in copy.run("-c", "from harness.faults import kinds; print(*kinds())")
    assert "--by" in copy.run("-m", "harness.cli", "fault", "clock:skew", "--help")
    assert len(copy.touched) == 1


def test_an_objective_of_a_known_metric_is_one_row_of_policy(copy: Copy) -> None:
    (row,) = recipe("An objective")
    copy.add("scenarios/sla.toml", row)
    found = copy.run("-c", "from harness.sla.policy import load_policy; print(*load_policy().objectives)")
    assert "broadcast_latency_p99" in found.split()
    assert len(copy.touched) == 1


def test_a_metric_is_one_function_and_one_row(copy: Copy) -> None:
    row, function = recipe("A metric")
    copy.add("harness/judge/metrics.py", "\n\n" + function)
    first = "METRICS: Final[Mapping[str, Metric]] = {\n"
    copy.replace("harness/sla/metrics.py", first, first + row)
    found = copy.run("-c", "from harness.judge.metrics import METRICS; print(*METRICS)")
    assert "ticks_answered" in found.split()
    assert len(copy.touched) == 2


def test_an_expectation_and_its_scenario_are_one_file(copy: Copy) -> None:
    (scenario,) = recipe("A scenario, and an expectation")
    copy.write("scenarios/failure/test_mine.py", scenario)
    shown = copy.run(
        "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "scenarios/failure/test_mine.py"
    )
    assert "test_mine.py::test_slow_network" in shown
    assert len(copy.touched) == 1


def test_a_view_is_one_function_and_one_line(copy: Copy) -> None:
    function, row = recipe("A view")
    copy.write("harness/report/csv.py", function)
    first = "VIEWS: Final[Mapping[str, Callable[[Report], str]]] = {\n"
    imported = "from harness.report.csv import render_csv\n\n"
    copy.replace("harness/report/write.py", "#: What is rendered", imported + "#: What is rendered")
    copy.replace("harness/report/write.py", first, first + row)
    show = (
        "from pathlib import Path; from harness.report.write import VIEWS; "
        "from harness.report import read_report; "
        f"print(VIEWS['objectives.csv'](read_report(Path({str(FIRST)!r}))))"
    )
    assert copy.run("-c", show).startswith("name,verdict\nmonitor_execution,inconclusive\n")
    assert len(copy.touched) == 2


def test_the_picture_of_the_stages_is_made_from_the_code() -> None:
    assert picture() in GUIDE.read_text(encoding="utf-8"), f"the picture should be:\n{picture()}"


def test_the_layers_are_told_as_they_are_held() -> None:
    told = "\n".join(" · ".join(f"`{name}`" for name in line) + "  " for line in LAYERS)
    assert told in GUIDE.read_text(encoding="utf-8"), f"the layers should be:\n{told}"


def picture() -> str:
    assert all((ROOT / place).exists() for place in STAGES.values())
    nodes = [f'    {stage}["{stage}<br/>harness/{place}"]' for stage, place in STAGES.items()]
    return "\n".join(["```mermaid", "flowchart LR", *nodes, "    " + " --> ".join(STAGES), "```"])
