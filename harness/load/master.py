"""What a Locust master is kept from: messages that can't be read, and waiting for ever for its workers."""

from __future__ import annotations

import argparse
import logging
from typing import Any, Final

import gevent
from locust.rpc import Message
from locust.runners import MasterRunner
from msgpack.exceptions import ExtraData

from harness.output import Exit

log = logging.getLogger(__name__)

#: How long a master waits for ``--expect-workers``, unless it is told otherwise.
EXPECTED_WITHIN_S: Final = 300


def refuse_garbage() -> None:
    """Have Locust log a message that can't be read, and go on: by itself it ends for most of them."""
    read = Message.unserialize

    def checked(data: bytes) -> Message:
        try:
            message: Message = read(data)  # type: ignore[no-untyped-call]  # Locust has no types there
        except Exception as error:
            raise ExtraData(None, data) from error  # that which Locust foresees
        if not _is_sane(message):
            raise ExtraData(None, data)
        return message

    Message.unserialize = staticmethod(checked)  # type: ignore[method-assign]  # there is no hook


def _is_sane(message: Message) -> bool:
    """Whether it is a message at all; what it holds is for whoever takes it."""
    named = isinstance(message.type, str) and isinstance(message.node_id, str)
    # Anybody may send the first message of a worker.
    return named and (message.type != "client_ready" or isinstance(message.data, str))


def end_without_workers(runner: MasterRunner, given: argparse.Namespace, end: Any) -> None:
    """Wait for the workers that are expected; after the limit, say how many came and end Locust.

    Locust's own limit would end it as if a promise was broken, and leave the stack.

    Parameters
    ----------
    end : puts away what was started.
    """
    limit_s, given.expect_workers_max_wait = given.expect_workers_max_wait or EXPECTED_WITHIN_S, 0
    with gevent.Timeout(limit_s, False):
        while len(runner.clients.ready) < given.expect_workers:
            gevent.sleep(0.5)
        return
    log.error(
        "%d of %d workers came within %g s (--expect-workers-max-wait): see that the others reach %s:%d "
        "(--master-bind-host), or expect fewer (--expect-workers)",
        len(runner.clients.ready),
        given.expect_workers,
        limit_s,
        given.master_bind_host,
        given.master_bind_port,
    )
    runner.quit()
    end()
    gevent.get_hub().handle_system_error(SystemExit, SystemExit(int(Exit.USAGE)))
