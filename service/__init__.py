"""The reference service: timer monitoring and broadcasting for a drawing game."""

from typing import Final

#: Version of the service and of its events' envelope.
VERSION: Final = "2.0.0"
