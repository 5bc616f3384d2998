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
    names : name of a metric (of a counter: without its ``_total``) -> which reading it is. Those of one with
        labels are added up.

    Raises
    ------
    ValueError
        The text is not in Prometheus's format.
    """
    for family in text_string_to_metric_families(text):
        name = names.get(family.name)
        if name is None:
            continue
        values = [one.value for one in family.samples if one.name in {family.name, f"{family.name}_total"}]
        # A counter with labels has no samples before it counts for the first time.
        if values or family.type == "counter":
            yield reading(name, actor, sum(values), at_ns)
