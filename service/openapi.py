"""The service's OpenAPI description: bodies that handlers read themselves, and every answer there is."""

from __future__ import annotations

from typing import Any, Final

from pydantic import BaseModel

from service.rest.tables import Function, Table

_STRING: Final = {"type": "string"}
_ERROR: Final = {
    "type": "object",
    "required": ["error", "requestId"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message"],
            "properties": {"code": _STRING, "message": _STRING, "field": _STRING},
        },
        "requestId": _STRING,
    },
}
_REST_ERROR: Final = {
    "type": "object",
    "required": ["code", "message", "details", "hint"],
    "properties": {
        "code": _STRING,
        "message": _STRING,
        "details": {"type": ["string", "null"]},
        "hint": {"type": ["string", "null"]},
        "requestId": _STRING,
    },
}
_WORDS: Final = {
    200: "Done",
    201: "Inserted",
    204: "Done, nothing to tell",
    400: "Malformed; the field is named",
    401: "The secret is missing or wrong",
    403: "Not allowed",
    404: "Unknown",
    405: "Wrong method",
    409: "In conflict with what there is",
    413: "Too large",
    500: "Failed",
    502: "PubNub refuses it",
    503: "Can't be served now; try again after Retry-After",
    504: "Took too long and was rolled back",
}
SCHEMES: Final = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "The service role key; for /metrics, /alerts, /health also WATCH_SECRET",
    },
    "apikey": {"type": "apiKey", "in": "header", "name": "apikey", "description": "The service role key"},
    "cron": {"type": "apiKey", "in": "header", "name": "x-cron-secret", "description": "The cron secret"},
}
_TYPES: Final[dict[str, dict[str, Any]]] = {
    "text": _STRING,
    "uuid": {"type": "string", "format": "uuid"},
    "integer": {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    "bigint": {"type": "integer"},
    "numeric": {"type": "number"},
    "boolean": {"type": "boolean"},
    "timestamptz": {"type": "string", "format": "date-time"},
    "jsonb": {},
}


def answers(
    success: dict[int, Any], *errors: int, rest: bool = False, same: tuple[int, ...] = ()
) -> dict[int | str, dict[str, Any]]:
    """Return a route's answers.

    Parameters
    ----------
    success : status -> JSON schema of the body (None: no body).
    errors : statuses whose body is an error.
    rest : whether errors are PostgREST's.
    same : statuses of errors whose body is that of a success (a failed tick, an unhealthy service).
    """
    shape = _REST_ERROR if rest else _ERROR
    described: dict[int | str, dict[str, Any]] = {}
    for status, schema in success.items():
        described[status] = {"description": _WORDS[status]}
        if schema is not None:
            described[status]["content"] = {"application/json": {"schema": schema}}
    first = next(iter(success.values()), None)
    for status in same:
        described[status] = {
            "description": _WORDS[status],
            "content": {"application/json": {"schema": {"anyOf": [first, shape]}}},
        }
    for status in errors:
        described[status] = {
            "description": _WORDS[status],
            "content": {"application/json": {"schema": shape}},
        }
    return described


def body(schema: dict[str, Any], *, required: bool = True, secured: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return a route's body and secrets, as FastAPI's ``openapi_extra``."""
    return {
        "requestBody": {"required": required, "content": {"application/json": {"schema": schema}}},
        **security(*secured),
    }


def security(*schemes: str) -> dict[str, Any]:
    """Return that a route wants all of these secrets."""
    return {"security": [{scheme: [] for scheme in schemes}]} if schemes else {}


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """Return a model's JSON schema with its definitions inside."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})

    def inline(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                return inline(definitions[value["$ref"].rsplit("/", 1)[-1]])
            return {key: inline(item) for key, item in value.items()}
        return [inline(item) for item in value] if isinstance(value, list) else value

    inlined: dict[str, Any] = inline(schema)
    return inlined


def row_schema(table: Table, columns: frozenset[str] | None = None) -> dict[str, Any]:
    """Return the schema of a table's row: as it is read, or with the ``columns`` that can be written."""
    if columns is None:
        properties = {
            name: {
                **_TYPES[kind],
                **({"type": [_TYPES[kind]["type"], "null"]} if "type" in _TYPES[kind] else {}),
            }
            for name, kind in table.columns.items()
        }
        return {"type": "object", "properties": properties, "additionalProperties": False}
    return {
        "type": "object",
        "properties": {name: _TYPES[table.columns[name]] for name in sorted(columns)},
        "additionalProperties": False,
    }


def query_parameters(table: Table, *, filters: bool) -> list[dict[str, Any]]:
    """Return the query parameters of a table's routes."""
    described = {
        "select": ("Columns, with commas between", {"type": "string"}),
        "order": ("Columns with .asc or .desc, with commas between", {"type": "string"}),
        "limit": ("Rows, at most", {"type": "integer", "minimum": 0, "maximum": 1000}),
        "offset": ("Rows to leave out first", {"type": "integer", "minimum": 0, "maximum": 1_000_000}),
    }
    if filters:
        for name in table.columns:
            described[name] = (f"Filter such as {name}=eq.x", {"type": "string"})
    return [
        {"name": name, "in": "query", "required": False, "description": words, "schema": schema}
        for name, (words, schema) in described.items()
    ]


def prefer_parameter() -> dict[str, Any]:
    """Return the header that asks for the written rows."""
    return {
        "name": "Prefer",
        "in": "header",
        "required": False,
        "schema": {"type": "string", "enum": ["return=representation", "return=minimal"]},
    }


def call_schema(function: Function) -> dict[str, Any]:
    """Return the schema of a function's parameters."""
    return {
        "type": "object",
        "properties": {name: _TYPES[kind] for name, kind in function.parameters.items()},
        "required": sorted(function.required),
        "additionalProperties": False,
    }
