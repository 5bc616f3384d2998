"""Messages between Locust's master and its workers, beside those of Locust itself."""

from typing import Final

#: A worker listens: what it was sent before is lost.
READY: Final = "stormwatch-ready"
BEGIN: Final = "stormwatch-begin"
BEGAN: Final = "stormwatch-began"
DRAIN: Final = "stormwatch-drain"
STATUS: Final = "stormwatch-status"
END: Final = "stormwatch-end"
ENDED: Final = "stormwatch-ended"
CLOCK: Final = "stormwatch-clock"
#: A chunk of a worker's record, and how much of its file the master has.
CARRY: Final = "stormwatch-carry"
CARRIED: Final = "stormwatch-carried"
