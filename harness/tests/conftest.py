"""What the harness's tests start can be interrupted; what a command names to its children ends with it."""

import os
import signal
from collections.abc import Iterator

import pandas as pd
import pytest

from fixtures.synthetic_run import synthetic_rows
from harness.tests.isolation import SPARED

# A shell starts what it puts into the background with Ctrl-C ignored, and children would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _settings_as_they_were() -> Iterator[None]:
    """Take back the settings that a command, called within this process, made for those that it starts."""
    before = {name: value for name, value in os.environ.items() if name.startswith("STORMWATCH_")}
    yield
    for name in [name for name in os.environ if name.startswith("STORMWATCH_")]:
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="module")
def good(request: pytest.FixtureRequest) -> pd.DataFrame:
    """Return the rows of a run in which all is well, as large as the test file's ``SHAPE`` says."""
    return synthetic_rows(request.module.SHAPE)


@pytest.fixture
def rows(good: pd.DataFrame) -> pd.DataFrame:
    """Return a copy of them, to be spoiled."""
    return good.copy()


@pytest.fixture
def pytester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Give sessions within a test the options of all children again, which pytester takes away."""
    for name, value in SPARED.items():
        monkeypatch.setenv(name, value)
    return pytester
