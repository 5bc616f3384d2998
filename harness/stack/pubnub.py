"""The PubNub emulator as a process of the stack."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from harness.files import SHIPPED
from harness.process import ProcessSpec, answers_http

MODULE: Final = "fixtures.pubnub_emulator"


def spec(
    port: int,
    log_path: Path,
    environment: Mapping[str, str],
    *,
    control_token: str,
    hosts: Sequence[str] = (),
) -> ProcessSpec:
    """Return how the emulator is run on ``port`` of 127.0.0.1, and of what other ``hosts`` there are."""
    addresses = [word for host in dict.fromkeys(("127.0.0.1", *hosts)) for word in ("--host", host)]
    return ProcessSpec(
        name="pubnub",
        command=[sys.executable, "-m", MODULE, *addresses, "--port", str(port)],
        address=("127.0.0.1", port),
        log_path=log_path,
        is_ready=lambda: answers_http(port, "/time/0"),
        environment={**environment, "STORMWATCH_PUBNUB_CONTROL_TOKEN": control_token},
        way_out=f"see its log, or run it alone: cd {SHIPPED} && python -m {MODULE}",
        folder=SHIPPED,
    )
