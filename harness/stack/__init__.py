"""The local parts: real Postgres, real Toxiproxy, the PubNub emulator and the service, started and ended."""

from harness.stack.control import RemoteStack, find_stack, running_stacks
from harness.stack.errors import StackError
from harness.stack.part import Part
from harness.stack.postgres import Postgres
from harness.stack.proxies import Proxies, ToxiproxyError
from harness.stack.reaper import Reaper
from harness.stack.stack import RealPubNub, Stack, StackOptions, start_stack

__all__ = [
    "Part",
    "Postgres",
    "Proxies",
    "RealPubNub",
    "Reaper",
    "RemoteStack",
    "Stack",
    "StackError",
    "StackOptions",
    "ToxiproxyError",
    "find_stack",
    "running_stacks",
    "start_stack",
]
