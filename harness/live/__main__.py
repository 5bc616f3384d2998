"""``python -m harness.live RUN``: keeps a run's live.json up to date until stdin is closed or SIGTERM."""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import os
import signal
import sys
import threading
from pathlib import Path

import pyarrow as pa

from harness.history import RunFolder
from harness.live.follow import LOOK_S, Follower


def main() -> None:
    """Follow the run that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m harness.live", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("--sla", type=Path, help="policy to judge by")
    parser.add_argument("--profile", help="profile of the policy; default: the run's own")
    parser.add_argument("--every", type=float, default=LOOK_S, help="least seconds between two judgements")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    _give_way()
    stop = threading.Event()
    # Ctrl-C is the starter's business.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_wait_for_starter, args=(stop,), daemon=True).start()
    Follower(RunFolder(given.run), given.sla, given.profile, given.every).follow(stop)


def _give_way() -> None:
    """Take the CPU only when nobody else wants it, and one core at most."""
    with contextlib.suppress(OSError):
        os.nice(19)
    pa.set_cpu_count(1)
    # What was imported stays: garbage is looked for among what a judgement leaves.
    gc.freeze()


def _wait_for_starter(stop: threading.Event) -> None:
    # Closed when it says so, and also when it was killed. Unbuffered: a thread that holds the buffer's
    # lock would be in the way of the interpreter's end.
    with contextlib.suppress(OSError):
        while os.read(sys.stdin.fileno(), 4096):
            pass
    stop.set()


if __name__ == "__main__":
    main()
