"""How late the harness itself may have been: by so much, at most, it made latencies longer than they were.

An event loop that is busy hands a message or an answer to whoever waits for it too late, and the time that is
recorded is that of the handing over. Lag is in what was measured, in one direction only: the truth lies
between the measured value less the lag, and the measured value. A pass is one whatever the lag; a fail holds
only where it is one with the lag taken off.
"""

from __future__ import annotations

from typing import Final

from harness.history.names import OBSERVER, Actor, Reading
from harness.judge.evidence import Evidence

#: Of the worst lags of each second, this share is no more than what is counted with.
QUANTILE: Final = 0.99

#: Actors whose event loops stamp what players hear: their SDK clients live there.
SUBSCRIBERS: Final = rf"^{OBSERVER.pattern}$"
#: The process that sends cron's ticks and stamps their answers.
CRON: Final = rf"^{Actor.LOAD}$"


def lag_s(evidence: Evidence, actors: str) -> float:
    """Return the bound of the lag of ``actors`` (a pattern) in steady state, in s; 0 if none is recorded.

    The worst of them counts. A reading is the worst lag of a second, and so a bound for all samples of it.
    """
    rows = evidence.steady_readings(Reading.LOOP_LAG, actors)
    if rows.empty:
        return 0.0
    highest = rows.groupby("actor", observed=True)["value"].quantile(QUANTILE, interpolation="higher")
    return max(float(highest.max()), 0.0) / 1000
