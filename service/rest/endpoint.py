"""Serves `/rest/v1`: reads, inserts, updates, deletes, calls; Postgres's errors become PostgREST's."""

from __future__ import annotations

from typing import Any, Final, cast

import asyncpg
from starlette.requests import Request
from starlette.responses import Response

from service.database import Database
from service.http.errors import ApiError
from service.http.requests import parse_json
from service.logs import request_id
from service.rest import query as q
from service.rest.tables import Function, Table
from service.statements import statement

#: SQLSTATE (or its class) -> HTTP status, as in PostgREST's documentation.
_STATUS: Final = {
    "23503": 409,
    "23505": 409,
    "23": 400,
    "22": 400,
    "P0": 400,
    "42501": 403,
    "54": 413,
    "40": 409,
}
#: Rows of one insert, at most.
_INSERT_LIMIT: Final = 10_000


class Rest:
    """The tables and functions over HTTP."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, table: Table, request: Request) -> Response:
        """Answer a GET."""
        query = q.parse_query(table, request.query_params.multi_items())
        return _json(await self._run(q.select(query)), 200)

    async def insert(self, table: Table, request: Request) -> Response:
        """Answer a POST of a row or a list of rows: all of them or none are inserted."""
        query = self._returning_only(table, request)
        body = await request.body()
        value = parse_json(body)
        rows = value if isinstance(value, list) else [value]
        if len(rows) > _INSERT_LIMIT:
            raise ApiError(413, "54000", f"{len(rows)} rows are more than {_INSERT_LIMIT}", field="body")
        text = (
            await self._run(q.insert(query, rows, body.decode(), many=isinstance(value, list)))
            if rows
            else "[]"
        )
        return _json(text, 201) if _wants_rows(request) else Response(None, 201)

    async def update(self, table: Table, request: Request) -> Response:
        """Answer a PATCH of the rows that the filters choose."""
        query = self._filtered(table, request)
        body = await request.body()
        change = q.update(query, parse_json(body), body.decode())
        text = await self._run(change, noted=True)
        return _json(text, 200) if _wants_rows(request) else Response(None, 204)

    async def delete(self, table: Table, request: Request) -> Response:
        """Answer a DELETE of the rows that the filters choose."""
        text = await self._run(q.delete(self._filtered(table, request)))
        return _json(text, 200) if _wants_rows(request) else Response(None, 204)

    async def call(self, function: Function, request: Request) -> Response:
        """Answer a call of a function."""
        body = await request.body()
        given = parse_json(body) if body.strip() else {}
        text = await self._run(q.call(function, given, request_id.get()))
        return Response(None, 204) if function.returns == "void" else _json(text, 200)

    def _returning_only(self, table: Table, request: Request) -> q.Query:
        query = q.parse_query(table, request.query_params.multi_items())
        if query.filtered:
            raise ApiError(400, "PGRST100", "an insert takes no filters")
        return query

    def _filtered(self, table: Table, request: Request) -> q.Query:
        query = q.parse_query(table, request.query_params.multi_items())
        if not query.filtered:
            raise ApiError(
                400, "21000", f"{request.method} without a filter would change every row", hint="id=eq.x"
            )
        return query

    async def _run(self, found: q.Statement, *, noted: bool = False) -> str:
        """Run a statement within the time limit; ``noted``: with the request's id for what it moves."""
        limit_s = self._database.timeout_s
        try:
            if not noted:
                async with self._database.connection(limit_s=limit_s) as connection:
                    return str(await connection.fetchval(found.sql, *found.arguments))
            async with self._database.transaction(limit_s=limit_s) as connection:
                await connection.execute(statement("note_request"), request_id.get())
                return str(await connection.fetchval(found.sql, *found.arguments))
        except asyncpg.PostgresError as error:
            raise _as_api_error(error) from error


def _wants_rows(request: Request) -> bool:
    return "return=representation" in request.headers.get("prefer", "")


def _json(text: str, status: int) -> Response:
    return Response(text.encode(), status, media_type="application/json")


def _as_api_error(error: asyncpg.PostgresError) -> Exception:
    """Return what the caller is told of ``error``; an error that is not the caller's is returned as it is."""
    state = str(error.sqlstate)
    if state.startswith("PT") and state[2:].isdecimal():
        status: int | None = int(state[2:])
    else:
        status = _STATUS.get(state, _STATUS.get(state[:2]))
    if status is None:
        return cast(Exception, error)
    details: Any = getattr(error, "detail", None)
    field = getattr(error, "column_name", None) or getattr(error, "constraint_name", None)
    return ApiError(
        status, state, str(error.args[0]), field=field, details=details, hint=getattr(error, "hint", None)
    )
