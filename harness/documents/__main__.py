"""``python -m harness.documents``: writes the JSON Schema of each document into ``schemas/``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from harness.documents.base import Model
from harness.documents.calibration import Calibration
from harness.documents.live import Live
from harness.documents.report import Report
from harness.documents.rollout import RolloutDocument
from harness.documents.run import Run
from harness.documents.scenario import Scenario
from harness.documents.validation import Validation

FOLDER: Final = Path(__file__).with_name("schemas")
DOCUMENTS: Final[Mapping[str, type[Model]]] = {
    "calibration": Calibration,
    "live": Live,
    "report": Report,
    "rollout": RolloutDocument,
    "run": Run,
    "scenario": Scenario,
    "validation": Validation,
}


def schemas() -> dict[Path, str]:
    """Return the text of each schema by its file."""
    return {
        FOLDER / f"{name}.schema.json": _laid_out(model.model_json_schema(mode="serialization"))
        for name, model in DOCUMENTS.items()
    }


def _laid_out(schema: Mapping[str, Any]) -> str:
    """Return a schema as JSON with a line for each definition and each field."""
    parts = []
    for key, value in schema.items():
        if key in {"$defs", "properties"}:
            inner = ",\n".join(f"  {json.dumps(name)}: {json.dumps(one)}" for name, one in value.items())
            parts.append(f" {json.dumps(key)}: {{\n{inner}\n }}")
        else:
            parts.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for path, text in schemas().items():
        path.write_text(text, encoding="utf-8")
