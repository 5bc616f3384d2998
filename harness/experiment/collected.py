"""A pytest plugin that tells which scenarios there are, how they are marked, and which ones are selected."""

from __future__ import annotations

import json
from typing import Final

import pytest

#: Begins the line that tells it, as a JSON list.
PREFIX: Final = "stormwatch scenarios: "

_ALL: Final = pytest.StashKey[list[pytest.Item]]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Note all there are, before any is deselected."""
    config.stash[_ALL] = list(items)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Tell them."""
    selected = set(session.items)
    found = [
        {
            "name": item.name,
            "title": _title(item),
            "markers": [marker.name for marker in item.iter_markers()],
            "selected": item in selected,
        }
        for item in session.config.stash.get(_ALL, [])
    ]
    print(f"\n{PREFIX}{json.dumps(found)}")


def _title(item: pytest.Item) -> str:
    """Return the first line of what a scenario says of itself."""
    return (getattr(getattr(item, "obj", None), "__doc__", None) or "").strip().partition("\n")[0]
