"""What all documents share: strict frozen models, and errors that name file, field, value and way out."""

from __future__ import annotations

import math
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    Strict,
    ValidationError,
    WithJsonSchema,
)

from harness.files import DocumentError, read_json

T = TypeVar("T")
M = TypeVar("M", bound="Document")

#: How JSON, which has no infinity, writes one.
INFINITY: Final = "infinity"


class Model(BaseModel):
    """A part of a document: frozen, without fields that are not its own, every number finite."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        defer_build=True,
        serialize_by_alias=True,
    )


class Document(Model):
    """A document of its own file, whose ``schema`` names what it is."""

    #: Replaced by each document.
    schema_id: str = Field(alias="schema")

    def text(self) -> str:
        """Return the document as its file holds it."""
        return self.model_dump_json(indent=2) + "\n"


def _moment(text: str) -> str:
    datetime.fromisoformat(text)
    return text


def _unbounded(value: Any) -> Any:
    return math.inf if value == INFINITY else value


def _no_nan(value: float) -> float:
    if math.isnan(value) or value == -math.inf:
        raise ValueError("must be a number, null or “infinity”")
    return value


def _plain(value: float | None) -> float | str | None:
    return INFINITY if value == math.inf else value


#: A sequence, in JSON an array.
Many = Annotated[tuple[T, ...], Strict(False)]
#: A time as RFC 3339.
Moment = Annotated[str, AfterValidator(_moment)]
Count = Annotated[int, Field(ge=0)]
#: None: not known. Infinite: it never happened, or is not bounded.
Number = Annotated[
    Annotated[float, Field(allow_inf_nan=True), AfterValidator(_no_nan)] | None,
    BeforeValidator(_unbounded),
    PlainSerializer(_plain, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "null"}, {"const": INFINITY}]}),
]
Interval = Annotated[tuple[Number, Number], Strict(False)]
#: One of what broke a rule, or of the worst: names and plain values.
Example = dict[str, str | int | float | bool | None]


def read_document(path: Path, model: type[M], way_out: str) -> M:
    """Return the document at ``path``.

    Raises
    ------
    DocumentError
        It is missing, can't be read, or is not what the model says.
    """
    try:
        content = read_json(path)
    except FileNotFoundError:
        raise DocumentError("there is none", path, way_out) from None
    return parse_document(content, model, path, way_out)


def read_all(reports: Path, name: str, model: type[M]) -> list[M]:
    """Return the documents called ``name`` of all runs under ``reports``; what can't be read is left out."""
    found = []
    for path in reports.glob(f"*/{name}"):
        try:
            if not path.parent.is_symlink():
                found.append(read_document(path, model, ""))
        except DocumentError:
            continue  # one of another version says nothing to us
    return found


def parse_document(content: Any, model: type[M], path: Path, way_out: str = "") -> M:
    """Return the document that JSON amounts to; raises what :func:`read_document` raises."""
    known = model.model_fields["schema_id"].default
    found = content.get("schema") if isinstance(content, dict) else type(content).__name__
    if found != known:
        raise DocumentError(f"schema is {found!r}, expected {known!r}", path, way_out)
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise DocumentError(first_error(error), path, way_out) from error


def first_error(error: ValidationError) -> str:
    """Return the first thing that is wrong: field, value and why."""
    first = error.errors(include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or "the whole"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{place}: {message}"
    return f"{place}: {message}, found {str(first['input'])[:100]!r}"
