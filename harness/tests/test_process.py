"""One wrapper for child processes: started, told apart when they fail, talked with, never left behind."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.process import ChildProcess, LineProcess, ProcessError, ProcessSpec, Reaper
from harness.tests.helpers import eventually

#: Answers each line of its stdin, and ends with it.
ECHO = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)\nsys.exit(3)"


def python(code: str, folder: Path, **more: Any) -> ProcessSpec:
    return ProcessSpec("child", [sys.executable, "-c", code], folder / "logs" / "child.log", **more)


def test_one_that_ends_at_once_is_named_with_its_exit_code_and_the_end_of_its_log(tmp_path: Path) -> None:
    with Reaper() as reaper:
        spec = python("print('no luck'); exit(7)", tmp_path, is_ready=lambda: False)
        child = ChildProcess(spec, reaper).start()
        why = r"child ended at once \(exit code 7\); see its log\nthe end of child\.log:\n    no luck"
        with pytest.raises(ProcessError, match=why):
            child.wait_until_ready(20)
    assert child.exit_code == 7


def test_one_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    spec = ProcessSpec("child", ["/no/such/program"], tmp_path / "log", way_out="install it")
    with pytest.raises(ProcessError, match=r"child can't be started: .*no/such/program.*; install it"):
        ChildProcess(spec, None).start()


def test_one_that_is_not_ready_in_time_is_named_and_ended(tmp_path: Path) -> None:
    spec = python("import time; time.sleep(60)", tmp_path, is_ready=lambda: False)
    with (
        Reaper() as reaper,
        ChildProcess(spec, reaper).start() as child,
        pytest.raises(ProcessError, match=r"child was not ready within 0\.5 s; .*\nit wrote no log"),
    ):
        child.wait_until_ready(0.5)
    assert child.pid is None


def test_one_that_ignores_the_polite_end_is_killed(tmp_path: Path) -> None:
    stubborn = "import signal, time; signal.signal(15, 1); print('here', flush=True); time.sleep(60)"
    with Reaper() as reaper:
        child = ChildProcess(python(stubborn, tmp_path), reaper).start()
        eventually(child.tail)
        assert not child.stop(0.2)
        assert child.exit_code == -signal.SIGKILL
        assert child.start().pid is not None
        child.kill()


def test_it_outlives_ctrl_c_of_its_starters_terminal(tmp_path: Path) -> None:
    with (
        Reaper() as reaper,
        ChildProcess(python("import time; time.sleep(60)", tmp_path), reaper).start() as child,
    ):
        assert child.pid is not None
        assert os.getsid(child.pid) == child.pid


def test_messages_go_to_and_fro_until_its_stdin_is_closed(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []
    ended: list[int] = []
    child = LineProcess(python(ECHO, tmp_path), heard.append, ended.append).start()
    child.send({"n": 1})
    child.send({"n": 2})
    assert child.stop(20)
    eventually(lambda: ended)
    assert (heard, ended) == ([{"n": 1}, {"n": 2}], [3])


GEVENT = f"""
from gevent import monkey
monkey.patch_all()
import gevent, sys, time
from pathlib import Path
from harness.process import LineProcess, ProcessSpec

heard, ticks = [], []
spec = ProcessSpec("child", [sys.executable, "-c", {ECHO!r}], Path(sys.argv[1]))
child = LineProcess(spec, heard.append).start()
ticker = gevent.spawn(lambda: [ticks.append(gevent.sleep(0.01)) for _ in range(50)])
for n in range(3):
    child.send({{"n": n}})
    while len(heard) <= n:
        time.sleep(0.01)
print(child.stop(20), heard, child.exit_code, bool(ticks))
"""


def test_greenlets_go_on_while_a_child_is_talked_with(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", GEVENT, str(tmp_path / "log")],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )
    assert done.stdout == "True [{'n': 0}, {'n': 1}, {'n': 2}] 3 True\n", done.stderr


@pytest.mark.parametrize("kind", ["reaped", "lines"])
def test_kill_9_of_its_starter_ends_it(kind: str, tmp_path: Path) -> None:
    make = "ChildProcess(spec, Reaper())" if kind == "reaped" else "LineProcess(spec)"
    program = textwrap.dedent(f"""
        import os, signal, sys
        from pathlib import Path
        from harness.process import ChildProcess, LineProcess, ProcessSpec, Reaper
        code = "import time; time.sleep(60)" if {kind == "reaped"} else {ECHO!r}
        spec = ProcessSpec("child", [sys.executable, "-c", code], Path(sys.argv[1]))
        child = {make}.start()
        print(child.pid, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "log")],
        stdout=subprocess.PIPE,
        check=False,
        timeout=60,
    )
    eventually(lambda: not psutil.pid_exists(int(done.stdout)))
