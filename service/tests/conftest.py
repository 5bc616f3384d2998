"""Real parts for the service's tests."""

from service.tests.parts import *  # noqa: F403 - fixtures, found by their names
