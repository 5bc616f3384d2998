"""Real parts for the integration scenarios: Postgres, the PubNub emulator, the service."""

from service.tests.parts import *  # noqa: F403 - fixtures, found by their names
