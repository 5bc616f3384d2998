"""Reads requests' bodies."""

from __future__ import annotations

import json
import re
from typing import Any, Final, Never, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import Request

from service.http.errors import ApiError

M = TypeVar("M", bound=BaseModel)

#: PubNub takes no longer messages.
EVENT_LIMIT: Final = 32 * 1024
BODY_LIMIT: Final = 1024 * 1024
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")
_DEPTH_LIMIT: Final = 64


async def read_body(request: Request, limit: int = BODY_LIMIT) -> bytes:
    """Return the body, whatever its content type says (`curl -d` says it is a form).

    Raises
    ------
    ApiError
        413: it is longer than ``limit`` bytes.
    """
    told = request.headers.get("content-length", "")
    size = int(told) if told.isdecimal() else 0
    if 0 < size <= limit:
        return await request.body()  # the server sees to it that it is as long as it says
    parts: list[bytes] = []
    if size <= limit:
        size = 0
        async for part in request.stream():
            size += len(part)
            if size > limit:
                break
            parts.append(part)
    if size > limit:
        raise ApiError(413, "too_large", f"the body is over {limit} bytes", headers={"Connection": "close"})
    return b"".join(parts)


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


def validate(adapter: TypeAdapter[M], body: bytes) -> M:
    """Return the body as a model.

    Raises
    ------
    ApiError
        400: it is no JSON, or a field is missing or wrong; the first such field is named.
    """
    value = parse_json(body)
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in problem["loc"]) or "body"
        words = problem["msg"].removeprefix("Value error, ")
        raise ApiError(400, "invalid", f"{field}: {words}", field=field) from None


def is_name(text: str) -> bool:
    """Tell whether a text may be the id of a game or user: it becomes part of a channel's name."""
    return _NAME.fullmatch(text) is not None


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
