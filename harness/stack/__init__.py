"""The local processes: real Postgres, real Toxiproxy, the PubNub emulator and the service."""

from harness.stack.control import RemoteStack, find_stack, running_stacks
from harness.stack.errors import StackError
from harness.stack.postgres import Postgres
from harness.stack.process import StackProcess
from harness.stack.proxies import Proxies, ToxiproxyError
from harness.stack.stack import Stack, StackOptions, is_of_system, start_stack
from harness.stack.wiring import RealPubNub

__all__ = [
    "Postgres",
    "Proxies",
    "RealPubNub",
    "RemoteStack",
    "Stack",
    "StackError",
    "StackOptions",
    "StackProcess",
    "ToxiproxyError",
    "find_stack",
    "is_of_system",
    "running_stacks",
    "start_stack",
]
