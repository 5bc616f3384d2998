"""Connections that the kernel dropped because a process of ours did not accept them in time.

Linux counts them for each listening socket and tells by ``sock_diag(7)``; elsewhere nobody knows.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

#: Of linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h and the states of net/tcp_states.h.
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_REQUEST_DUMP: Final = 0x301
_DONE, _ERROR = 3, 2
_LISTEN: Final = 1 << 10
#: Attribute with the socket's memory, whose last number are the drops.
_SKMEMINFO: Final = 7
_HEADER: Final = struct.Struct("=IHHII")
_QUERY: Final = struct.Struct("=BBBBI48x")
_ATTRIBUTE: Final = struct.Struct("=HH")
#: ``struct inet_diag_msg``: its length, and where the inode stands.
_MESSAGE_BYTES: Final = 72
_INODE_AT: Final = 68
_DROPS_AT: Final = 8 * 4
_WITHIN_S: Final = 1.0


class AcceptQueues:
    """Counts what was dropped at the listening sockets of some processes, from when this was made."""

    def __init__(self) -> None:
        self._before = _drops()

    def dropped(self, pids: Mapping[str, int]) -> dict[str, int]:
        """Return process -> connections dropped since the last call, those that dropped none left out.

        Parameters
        ----------
        pids : name of a process -> its id.
        """
        now = _drops()
        more = {inode: drops - self._before.get(inode, 0) for inode, drops in now.items()}
        more = {inode: drops for inode, drops in more.items() if drops > 0}
        self._before = now
        if not more:
            return {}
        found = {name: sum(more.get(inode, 0) for inode in _sockets(pid)) for name, pid in pids.items()}
        return {name: drops for name, drops in found.items() if drops}


def _drops() -> dict[int, int]:
    """Return inode of a listening TCP socket of this machine -> connections dropped there."""
    if sys.platform != "linux":
        return {}
    try:
        return dict(_listeners(socket.AF_INET)) | dict(_listeners(socket.AF_INET6))
    except OSError:  # a sandbox that allows no netlink
        return {}


def _listeners(family: int) -> Iterator[tuple[int, int]]:
    """Yield inode and drops of each listening socket."""
    query = _QUERY.pack(family, socket.IPPROTO_TCP, 1 << (_SKMEMINFO - 1), 0, _LISTEN)
    header = _HEADER.pack(_HEADER.size + len(query), _SOCK_DIAG_BY_FAMILY, _REQUEST_DUMP, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(_WITHIN_S)
        netlink.send(header + query)
        while True:
            for kind, body in _messages(netlink.recv(1 << 16)):
                if kind in {_DONE, _ERROR}:
                    return
                (inode,) = struct.unpack_from("=I", body, _INODE_AT)
                yield int(inode), _drops_in(body[_MESSAGE_BYTES:])


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        yield kind, data[_HEADER.size : length]
        data = data[_aligned(length) :]


def _drops_in(attributes: bytes) -> int:
    while len(attributes) >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(attributes)
        if kind == _SKMEMINFO:
            (drops,) = struct.unpack_from("=I", attributes, _ATTRIBUTE.size + _DROPS_AT)
            return int(drops)
        attributes = attributes[_aligned(length) :]
    return 0


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _sockets(pid: int) -> Iterator[int]:
    """Yield the inodes of a process's sockets; none where it is gone or somebody else's."""
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                link = str(entry.readlink())
            except OSError:  # just closed
                continue
            if link.startswith("socket:["):
                yield int(link.removeprefix("socket:[").removesuffix("]"))
    except OSError:
        return
