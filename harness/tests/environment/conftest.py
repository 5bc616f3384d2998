"""A run that passed and one that failed, for commands that read runs."""

from __future__ import annotations

import pytest

from harness.history import RunFolder
from harness.tests.environment.hostile import ESCAPES, small_run


@pytest.fixture(scope="session")
def passed(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return small_run(tmp_path_factory.mktemp("passed"))


@pytest.fixture(scope="session")
def failed(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Its service answered with escape sequences, and with signs that few encodings have."""
    return small_run(tmp_path_factory.mktemp("failed"), "failed", message=f"503 {ESCAPES} – 日本 ✓ é")
