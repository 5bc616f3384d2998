"""The service, or one replica of it, as a process of the stack."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from harness.process import ProcessSpec, answers_http

MODULE: Final = "service"


def spec(
    name: str, port: int, log_path: Path, environment: Mapping[str, str], *, folder: Path
) -> ProcessSpec:
    """Return how a replica of the service is run on ``port`` of 127.0.0.1.

    It is ready once it answers `/health` at all: whether it is healthy is for the checks to judge.
    """
    return ProcessSpec(
        name=name,
        command=[sys.executable, "-m", MODULE, "--host", "127.0.0.1", "--port", str(port)],
        address=("127.0.0.1", port),
        log_path=log_path,
        is_ready=lambda: answers_http(port, "/health", timeout_s=2.0),
        environment=environment,
        way_out=f"see its log; `python -m {MODULE} --check` tests its settings and connections",
        folder=folder,
    )
