"""The PubNub emulator as a process of the stack."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from harness.files import SHIPPED
from harness.process import ProcessSpec, answers_http

MODULE: Final = "fixtures.pubnub_emulator"


def spec(port: int, log_path: Path, environment: Mapping[str, str], *, control_token: str) -> ProcessSpec:
    """Return how the emulator is run on ``port`` of 127.0.0.1."""
    return ProcessSpec(
        name="pubnub",
        command=[sys.executable, "-m", MODULE, "--host", "127.0.0.1", "--port", str(port)],
        address=("127.0.0.1", port),
        log_path=log_path,
        is_ready=lambda: answers_http(port, "/time/0"),
        environment={**environment, "STORMWATCH_PUBNUB_CONTROL_TOKEN": control_token},
        way_out=f"see its log, or run it alone: cd {SHIPPED} && python -m {MODULE}",
        folder=SHIPPED,
    )
