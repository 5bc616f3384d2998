"""A Locust master does not end for what a stranger sends it, nor wait for ever for workers."""

from __future__ import annotations

import time
from pathlib import Path

import msgpack
import zmq

from harness.tests.helpers import eventually
from harness.tests.test_load_runs import SHORT, Locust, free_port

GARBAGE = (
    b"",
    b"\xc1",
    b"\xff\xff",
    b"\x93\x01",
    b"GET / HTTP/1.1",
    msgpack.dumps(7),
    msgpack.dumps(("client_ready", 5, "one")),
    msgpack.dumps(("client_ready", "2.47.0", None)),
    msgpack.dumps(("stormwatch-carry", None, "one")),
    msgpack.dumps(("stormwatch-ended", {}, "one")),
)


def test_garbage_ends_no_master_and_workers_that_never_come_are_named_after_the_limit(tmp_path: Path) -> None:
    port = free_port()
    options = ("--expect-workers=2", "--expect-workers-max-wait=8", f"--master-bind-port={port}")
    with Locust(tmp_path / "reports", {}, "--headless", "--master", *SHORT, *options) as master:
        began = time.monotonic()
        send(port, *GARBAGE)
        eventually(lambda: master.output.count("Unrecognized message detected") >= 5, 30)
        assert master.wait() == 2, master.output
        assert time.monotonic() - began < 30
        assert master.nobody_is_left()
    assert "Traceback" not in master.output
    told = [line for line in master.output.splitlines() if "0 of 2 workers came within 8 s" in line]
    assert len(told) == 1
    assert list((tmp_path / "reports").glob("*")) == []


def send(port: int, *messages: bytes) -> None:
    with zmq.Context() as context:
        for number, message in enumerate(messages):
            with context.socket(zmq.DEALER) as line:
                line.setsockopt(zmq.IDENTITY, b"stranger-%d" % number)
                line.connect(f"tcp://127.0.0.1:{port}")
                line.send(message)
