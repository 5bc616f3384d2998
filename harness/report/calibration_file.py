"""``calibration.json``: written beside the record it was made of, found by the reports of later runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema

from harness import files
from harness.history import RunFolder
from harness.sla.verdict import worst

SCHEMA: Final = "stormwatch.calibration/1"
SCHEMA_FILE: Final = Path(__file__).with_name("calibration.schema.json")
NAME: Final = "calibration.json"

#: What of a machine has to be the same for a calibration to speak for it.
_MACHINE: Final = ("system", "architecture", "cores", "memory_bytes")


class DocumentError(Exception):
    """A calibration can't be read; the message names it and the way out."""


@cache
def schema() -> dict[str, Any]:
    """Return the JSON Schema of ``calibration.json``."""
    document: dict[str, Any] = files.read_json(SCHEMA_FILE)
    return document


def write(run: RunFolder, document: Mapping[str, Any]) -> Path:
    """Write the document of a calibration into its run folder and return where it is.

    Raises
    ------
    DocumentError
        It is none.
    OSError
        It can't be written.
    """
    path = run.path / NAME
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    _validate(json.loads(text), path)
    files.write_atomically(path, text)
    return path


def read(path: Path) -> dict[str, Any]:
    """Return the calibration at ``path``.

    Raises
    ------
    DocumentError
        It is missing, not JSON, of another schema, or its verdict does not follow from its rows.
    """
    try:
        document = files.read_json(path)
    except (OSError, files.DocumentError) as error:
        raise DocumentError(
            f"{path}: can't be read: {error}; make one with `stormwatch calibrate`"
        ) from error
    _validate(document, path)
    found: dict[str, Any] = document
    return found


def newest(reports: Path) -> dict[str, Any] | None:
    """Return the newest calibration among the runs under ``reports``, None if there is none to read."""
    found = []
    for path in reports.glob(f"*/{NAME}"):
        if path.parent.is_symlink():
            continue
        try:
            found.append(read(path))
        except DocumentError:
            continue  # a calibration of another version says nothing to us
    return max(found, key=lambda document: str(document["finished_at"]), default=None)


def in_report(document: Mapping[str, Any], machine: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what the report of a run on ``machine`` holds of a calibration."""
    same = all((machine or {}).get(key) == document["machine"].get(key) for key in _MACHINE)
    kept = ("run", "finished_at", "verdict", "doubts", "rows")
    return {key: document[key] for key in kept} | {"same_machine": same}


def derived_verdict(rows: Sequence[Mapping[str, Any]], doubts: Sequence[str]) -> str:
    """Return the verdict that rows and doubts amount to."""
    if not rows:
        return "inconclusive"
    return worst([*(row["verdict"] for row in rows), *("inconclusive" for _ in doubts)])


def _validate(document: Any, path: Path) -> None:
    found = document.get("schema") if isinstance(document, dict) else None
    if found != SCHEMA:
        raise DocumentError(
            f"{path}: schema is {found!r}, expected {SCHEMA!r}; run `stormwatch calibrate` again"
        )
    error = jsonschema.exceptions.best_match(_validator().iter_errors(document))
    if error is not None:
        raise DocumentError(f"{path}: {error.json_path}: {error.message[:300]}")
    derived = derived_verdict(document["rows"], document["doubts"])
    if document["verdict"] != derived:
        raise DocumentError(
            f"{path}: says {document['verdict']}, but its rows say {derived}; it was edited: "
            "run `stormwatch calibrate` again"
        )


@cache
def _validator() -> jsonschema.protocols.Validator:
    return jsonschema.Draft202012Validator(schema())
