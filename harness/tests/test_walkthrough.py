"""The steps of harness/system/README.md, from an empty file to a verdict, taken one after the other."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import harness
from harness.system import SystemFileError, find_system

HARNESS = Path(harness.__file__).parent
PAGE = (HARNESS / "system" / "README.md").read_text(encoding="utf-8")
STEPS = PAGE[PAGE.index("## From an empty file") : PAGE.index("## Members")]
#: Its code and what is said after it, in their order.
BLOCKS = re.findall(r"^```(python|text)\n(.*?)^```", STEPS, re.MULTILINE | re.DOTALL)
*SAID, TABLE = [text for kind, text in BLOCKS if kind == "text"]


def code(blocks: list[tuple[str, str]]) -> str:
    """The file so far: what follows the first block belongs into its class."""
    first, *inside = [text for kind, text in blocks if kind == "python"] or [""]
    return "\n".join([first, *(textwrap.indent(text, "    ") for text in inside)])


@pytest.mark.parametrize("step", range(len(SAID)))
def test_what_is_missing_yet_is_said_as_the_page_has_it(step: int, tmp_path: Path) -> None:
    number = [text for _, text in BLOCKS].index(SAID[step])
    path = tmp_path / "quiz.py"
    path.write_text(code(BLOCKS[:number]), encoding="utf-8")
    with pytest.raises(SystemFileError) as refused:
        find_system(str(path))
    assert str(refused.value).replace(f"{tmp_path}/", "") == SAID[step].strip()


def test_at_its_end_a_round_is_played_and_seen_as_the_page_has_it(tmp_path: Path) -> None:
    shutil.copy(HARNESS / "commands" / "starter" / "example_service.py", tmp_path)
    (tmp_path / "quiz.py").write_text(code(BLOCKS), encoding="utf-8")
    check = [sys.executable, "-m", "harness.cli", "system", "check", "quiz.py", "--json"]
    done = subprocess.run(check, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    rows = {row["part"]: (row["state"], row["what"]) for row in json.loads(done.stdout)}
    for line in TABLE.splitlines():
        part, mark, what = re.split(r"\s{2,}", line, maxsplit=2)
        state, told = rows[part]
        assert (state, without_bound(told)) == ({"yes": "seen", "–": "absent"}[mark], without_bound(what))


def without_bound(what: str) -> str:
    """How finely is seen differs from run to run."""
    return re.sub(r"± [\d.]+", "±", what)
