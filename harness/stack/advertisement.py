"""The list of running stacks: one file a stack, for its user's eyes only, so that others find it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil

from harness.files import read_json
from harness.stack.folders import cache_folder

if TYPE_CHECKING:
    from harness.stack.stack import Stack

#: In the cache.
FOLDER: Final = "stacks"


class Advertisement:
    """The file that says where a stack is. It holds the stack's secrets: mode 0600."""

    def __init__(self, stack: Stack, control: Path) -> None:
        owner = psutil.Process()
        self.path = cache_folder(FOLDER) / f"{stack.id}.json"
        document = {
            "id": stack.id,
            "pid": owner.pid,
            "created": owner.create_time(),
            "started": time.time(),
            "environment": stack.environment(),
            "control": str(control),
            "parts": {
                name: {"pid": part.pid, "endpoint": part.endpoint, "log": str(part.log_path)}
                for name, part in stack.parts.items()
            },
        }
        fresh = self.path.with_suffix(f".{os.getpid()}")
        descriptor = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(document, file)
        fresh.replace(self.path)

    def remove(self) -> None:
        """Take the stack off the list."""
        self.path.unlink(missing_ok=True)


def running() -> list[dict[str, Any]]:
    """Return what is known of every stack that runs, oldest first; the files of others are removed."""
    found = []
    for path in cache_folder(FOLDER).glob("*.json"):
        try:
            document = read_json(path)
            alive = psutil.Process(document["pid"]).create_time() == document["created"]
        except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
            alive = False
        if alive:
            found.append(document)
        else:
            path.unlink(missing_ok=True)
    return sorted(found, key=lambda document: float(document["started"]))
