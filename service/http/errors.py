"""Errors as callers see them: a JSON body with the request's id, in the shape of the API they called."""

from __future__ import annotations

import json
import math
from typing import Any

from pydantic import BaseModel
from starlette.responses import Response

from service.logs import request_id


class Problem(BaseModel):
    """What is wrong."""

    code: str
    message: str
    field: str = ""


class ErrorAnswer(BaseModel):
    """The body of an error of ``/functions/v1`` and all others but ``/rest/v1``."""

    error: Problem
    requestId: str


class RestErrorAnswer(BaseModel):
    """The body of an error of ``/rest/v1``: PostgREST's, and the request's id."""

    code: str
    message: str
    details: str | None
    hint: str | None
    requestId: str


def described_errors(*statuses: int, model: Any = ErrorAnswer) -> dict[int | str, dict[str, Any]]:
    """Return FastAPI's ``responses`` of a route's errors."""
    return {status: {"model": model} for status in statuses}


class ApiError(Exception):
    """A request can't be served; becomes an answer in the shape of the called API.

    Parameters
    ----------
    status : HTTP status.
    code : short and stable, for programs.
    message : for people: the thing, the value, the way out.
    field : what in the request is wrong.
    retry_after_s : when to try again.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        field: str | None = None,
        retry_after_s: float | None = None,
        details: Any = None,
        hint: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        self.details = details
        self.hint = hint
        self.headers = dict(headers or {})
        if retry_after_s is not None:
            self.headers["Retry-After"] = str(max(1, math.ceil(retry_after_s)))


def function_error(error: ApiError) -> Response:
    """Return the answer of ``/functions/v1`` and all others but ``/rest/v1``."""
    problem: dict[str, Any] = {"code": error.code, "message": error.message}
    if error.field is not None:
        problem["field"] = error.field
    return json_response({"error": problem, "requestId": request_id.get()}, error.status, error.headers)


def rest_error(error: ApiError) -> Response:
    """Return the answer of ``/rest/v1``: PostgREST's error body, and the request's id."""
    return json_response(
        {
            "code": error.code,
            "message": error.message,
            "details": error.details if error.details is not None else error.field,
            "hint": error.hint,
            "requestId": request_id.get(),
        },
        error.status,
        error.headers,
    )


def error_response(path: str, error: ApiError) -> Response:
    """Return ``error`` in the shape of the API that ``path`` belongs to."""
    return rest_error(error) if path.startswith("/rest/v1") else function_error(error)


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return an answer with a JSON body."""
    return Response(
        json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace"),
        status,
        headers,
        media_type="application/json",
    )
