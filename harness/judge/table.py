"""The rows of a history as one table: few values as codes, many as numbers, repeated rows dropped."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from harness.history import KINDS, History, Kind

_TYPES: Final = {
    pa.int64(): pd.Int64Dtype(),
    pa.int16(): pd.Int16Dtype(),
    pa.bool_(): pd.BooleanDtype(),
}
#: Columns with few different values, and those with many.
_FEW: Final = ("kind", "name", "actor", "error", "place", "target")
MANY: Final = ("game", "event")
#: Columns that are kept as numbers.
_NUMBERED: Final = (*MANY, "said")


def encoded(history: History) -> tuple[pa.Table, dict[str, pa.Array], int]:
    """Return the rows, the different values of columns of numbers, and how many rows stood there twice."""
    columns: dict[str, pa.Array] = {}
    labels: dict[str, pa.Array] = {}
    for name in history.table.column_names:
        column = history.table[name]
        if name in _NUMBERED:
            # All chunks of one call share one dictionary; unifying them again would take ten times as long.
            chunks = column.dictionary_encode().chunks
            labels[name] = chunks[0].dictionary if chunks else pa.array([], pa.string())
            numbers = [pc.fill_null(chunk.indices, -1) for chunk in chunks]
            columns[name] = pa.concat_arrays(numbers) if numbers else pa.array([], pa.int32())
        elif name in _FEW:
            column = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
            columns[name] = _one_array(pa.table({name: column}).unify_dictionaries()[name])
        else:
            columns[name] = _one_array(column)
    files = np.repeat(np.arange(len(history.files), dtype=np.int16), [file.rows for file in history.files])
    table = pa.table(columns | {"file": files})
    twice = repeated(_fingerprints(table))
    duplicated = int(np.count_nonzero(twice))
    if duplicated:
        table = table.filter(pa.array(~twice)).combine_chunks()
    return table, labels, duplicated


def frame_of(table: pa.Table, kind: Kind) -> pd.DataFrame:
    """Return the rows of one kind."""
    frame: pd.DataFrame = table.filter(is_kind(table, kind)).to_pandas(types_mapper=_TYPES.get)
    return frame


def is_kind(table: pa.Table, kind: Kind) -> pa.Array:
    """Return which rows are of a kind."""
    return holds(table, "kind", kind)


def holds(table: pa.Table, column: str, value: str) -> pa.Array:
    """Return which rows hold ``value`` in a column with few different ones."""
    array = _one_array(table[column])
    return pc.equal(array.indices, pc.index(array.dictionary, value).as_py())


def unknown_kinds(table: pa.Table) -> int:
    """Return how many rows are of a kind that no check knows."""
    counts = pc.value_counts(table["kind"]).to_pylist()
    return sum(entry["counts"] for entry in counts if entry["values"] not in KINDS)


def repeated(keys: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which keys were there before."""
    ordered = np.sort(keys)
    if not (ordered[1:] == ordered[:-1]).any():  # as a rule, and five times faster to see than by hashing
        return np.zeros(len(keys), dtype=bool)
    return pd.Series(keys).duplicated().to_numpy()


def pair_key(first: pd.Series, second: pd.Series) -> NDArray[np.int64]:
    """Return one number for each pair of numbers."""
    return (first.to_numpy().astype(np.int64) << 32) | second.to_numpy().astype(np.int64)


def _fingerprints(table: pa.Table) -> NDArray[np.uint64]:
    """One number a row: rows agree in it when they agree in what tells rows apart.

    64 bits: two of ten million different rows meet with a probability of 3 in a million.
    """

    def numbers(name: str) -> NDArray[np.uint64]:
        column = _one_array(table[name])
        column = column.indices if pa.types.is_dictionary(column.type) else column
        plain: NDArray[np.int64] = pc.fill_null(column, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        return plain.view(np.uint64)

    low = np.uint64(0xFFFF)
    found = numbers("kind") << np.uint64(48) | (numbers("name") & low) << np.uint64(32) | numbers("actor")
    for pair in (("game", "event"), ("start_ns",), ("end_ns",)):
        for shift, name in enumerate(pair):
            found ^= numbers(name) << np.uint64(32 * shift)
        _mix(found)
    return found


def _mix(x: NDArray[np.uint64]) -> None:
    """The finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), in place."""
    x += np.uint64(0x9E3779B97F4A7C15)
    x ^= x >> np.uint64(30)
    x *= np.uint64(0xBF58476D1CE4E5B9)
    x ^= x >> np.uint64(27)
    x *= np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # no rows: pyarrow keeps an empty chunked array
        array = array.chunk(0) if array.num_chunks else pa.array([], column.type)
    return array
