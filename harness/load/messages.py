"""Messages between Locust's master and its workers, beside those of Locust itself."""

from typing import Final

BEGIN: Final = "stormwatch-begin"
BEGAN: Final = "stormwatch-began"
DRAIN: Final = "stormwatch-drain"
STATUS: Final = "stormwatch-status"
END: Final = "stormwatch-end"
ENDED: Final = "stormwatch-ended"
CLOCK: Final = "stormwatch-clock"
