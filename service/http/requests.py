"""Reads and describes requests' bodies."""

from __future__ import annotations

import json
from typing import Any, Final, Never, TypeVar

from fastapi import Depends
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import Request

from service.http.errors import ApiError

M = TypeVar("M", bound=BaseModel)

#: PubNub takes no longer messages.
EVENT_LIMIT: Final = 32 * 1024
BODY_LIMIT: Final = 1024 * 1024
_DEPTH_LIMIT: Final = 64


def parse_json(body: bytes) -> Any:
    """Return the value of a JSON text as Postgres and PubNub would take it.

    Raises
    ------
    ApiError
        400: it is none.
    """
    if not body.strip():
        raise ApiError(400, "bad_json", "the body is empty, expected JSON", field="body")
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse_constant)
        if b"\\u" in body:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # half of a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        words = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ApiError(400, "bad_json", f"the body is not JSON: {words}", field="body") from None
    if _depth_over(value, _DEPTH_LIMIT):
        raise ApiError(400, "bad_json", f"the body is nested over {_DEPTH_LIMIT} levels", field="body")
    return value


def body_of(model: type[M]) -> Any:
    """Return the dependency that reads a body as ``model``, whatever its content type says.

    A dependency, as FastAPI reads a body of its own before it looks at the caller's secret.
    """

    async def read(request: Request) -> M:
        return validate(model, parse_json(await request.body()))

    return Depends(read)


def validate(model: type[M], value: Any) -> M:
    """Return ``value`` as a model.

    Raises
    ------
    ApiError
        400: a field is missing or wrong; the first such field is named.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in problem["loc"]) or "body"
        words = problem["msg"].removeprefix("Value error, ")
        raise ApiError(400, "invalid", f"{field}: {words}", field=field) from None


def described_body(*models: Any, required: bool = True) -> dict[str, Any]:
    """Return FastAPI's ``openapi_extra`` of a body that is one of ``models``."""
    schemas = [TypeAdapter(model).json_schema() for model in models]
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return {"requestBody": {"required": required, "content": {"application/json": {"schema": schema}}}}


def _refuse_constant(word: str) -> Never:
    raise ValueError(f"{word} is not a JSON number")


def _depth_over(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit):
        nested: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                nested += item.values()
            elif isinstance(item, list):
                nested += item
        if not nested:
            return False
        level = nested
    return True
