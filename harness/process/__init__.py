"""A supervised child process and its line protocol: the one way to start anything."""

from harness.process.child import ChildProcess, ProcessSpec, answers_http, run_as, stop_all, wait_until_ready
from harness.process.errors import ProcessError
from harness.process.lines import LineProcess
from harness.process.reap import remove
from harness.process.reaper import Reaper
from harness.process.tool import run_tool

__all__ = [
    "ChildProcess",
    "LineProcess",
    "ProcessError",
    "ProcessSpec",
    "Reaper",
    "answers_http",
    "remove",
    "run_as",
    "run_tool",
    "stop_all",
    "wait_until_ready",
]
