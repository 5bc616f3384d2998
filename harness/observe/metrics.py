"""Readings out of a service's Prometheus metrics."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from harness.history import Row
from harness.history.names import Reading
from harness.observe.readings import reading

#: Name of a metric of the service -> name of the reading in the history.
READINGS: Final = {
    "db_pool_in_use": Reading.POOL_IN_USE,
    "db_pool_size": Reading.POOL_SIZE,
    "http_connections": Reading.HTTP_CONNECTIONS,
    "outbox_depth": Reading.OUTBOX_DEPTH,
    "outbox_age_seconds": Reading.OUTBOX_AGE,
    "breaker_state": Reading.BREAKER,
}


def readings_of(actor: str, text: str, at_ns: int) -> Iterator[Row]:
    """Yield what a history wants of the metrics in ``text``; names it does not know are passed over.

    Raises
    ------
    ValueError
        The text is not in Prometheus's format.
    """
    for family in text_string_to_metric_families(text):
        name = READINGS.get(family.name)
        if name is None:
            continue
        for sample in family.samples:
            if sample.name == family.name:
                yield reading(name, actor, sample.value, at_ns)
