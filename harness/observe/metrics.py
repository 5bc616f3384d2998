"""Readings out of a system's Prometheus metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client.parser import text_string_to_metric_families

from harness.history import Row
from harness.history.names import Reading
from harness.observe.readings import reading


def readings_of(names: Mapping[str, Reading], actor: str, text: str, at_ns: int) -> Iterator[Row]:
    """Yield what a history wants of the metrics in ``text``; those without a name there are passed over.

    Parameters
    ----------
    names : name of a metric -> which reading it is.

    Raises
    ------
    ValueError
        The text is not in Prometheus's format.
    """
    for family in text_string_to_metric_families(text):
        name = names.get(family.name)
        if name is None:
            continue
        for sample in family.samples:
            if sample.name == family.name:
                yield reading(name, actor, sample.value, at_ns)
