"""Real parts for the service's tests, and a clock."""

import pytest

from service.tests.parts import *  # noqa: F403 - fixtures, found by their names
from service.tests.support import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()
