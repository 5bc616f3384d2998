"""Turns requests in PostgREST's dialect into SQL: names are the tables' own, values are parameters."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from service.http.errors import ApiError
from service.rest.tables import Function, Table

#: Rows of an answer, at most.
ROW_LIMIT: Final = 1000
_OPERATORS: Final = {"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "like": "LIKE"}
_IS: Final = {"null": "NULL", "true": "TRUE", "false": "FALSE"}
_RESERVED: Final = frozenset({"select", "order", "limit", "offset"})
_ELEMENT: Final = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,"]*)')
_BIGINT: Final = 2**63


@dataclass
class Statement:
    """A statement that returns one text, the answer's JSON, and its arguments, all as texts."""

    sql: str = ""
    arguments: list[Any] = field(default_factory=list)

    def argument(self, value: Any, type_name: str) -> str:
        """Add an argument and return how the SQL names it: a text, cast by Postgres."""
        self.arguments.append(value)
        return f"${len(self.arguments)}::text::{type_name}"


@dataclass(frozen=True)
class Query:
    """The query string of a request, checked against a table."""

    table: Table
    columns: tuple[str, ...]
    conditions: str
    arguments: list[Any]
    order: str
    limit: int
    offset: int
    filtered: bool

    @property
    def selected(self) -> str:
        """The columns as SQL."""
        return ", ".join(self.columns)


def parse_query(table: Table, pairs: Sequence[tuple[str, str]]) -> Query:
    """Read ``select``, ``order``, ``limit``, ``offset`` and filters such as ``id=eq.x``.

    Raises
    ------
    ApiError
        400: it names what the table has not, or is malformed.
    """
    statement = Statement()
    conditions: list[str] = []
    reserved: dict[str, str] = {}
    for name, value in pairs:
        if "\0" in name or "\0" in value:
            raise _unreadable(name, value)
        if name in _RESERVED:
            if name in reserved:
                raise ApiError(400, "PGRST100", f"{name} is given twice", field=name)
            reserved[name] = value
        else:
            conditions.append(_condition(table, name, value, statement))
    return Query(
        table,
        _columns(table, reserved.get("select", "*")),
        " AND ".join(conditions) or "true",
        statement.arguments,
        _order(table, reserved.get("order", "")),
        min(_number("limit", reserved.get("limit", str(ROW_LIMIT))), ROW_LIMIT),
        _number("offset", reserved.get("offset", "0")),
        bool(conditions),
    )


def select(query: Query) -> Statement:
    """Return the statement of a GET."""
    return Statement(
        f"SELECT coalesce(json_agg(r), '[]')::text FROM (SELECT {query.selected} FROM {query.table.name} "
        f"WHERE {query.conditions} {query.order} LIMIT {query.limit} OFFSET {query.offset}) AS r",
        query.arguments,
    )


def insert(query: Query, rows: list[Any], body: str, *, many: bool) -> Statement:
    """Return the statement of a POST of ``rows``, whose JSON text is ``body``.

    Raises
    ------
    ApiError
        400: a row is no object, rows have different columns, or one can't be written.
    """
    columns = _written(rows, query.table, query.table.insertable)
    source = "$1::text::jsonb" if many else "jsonb_build_array($1::text::jsonb)"
    if columns:
        names = ", ".join(columns)
        values = f"({names}) SELECT {names} FROM jsonb_populate_recordset(NULL::{query.table.name}, {source})"
        arguments = [body]
    else:
        values, arguments = "DEFAULT VALUES", []
    return Statement(
        f"WITH r AS (INSERT INTO {query.table.name} {values} RETURNING {query.selected}) "
        "SELECT coalesce(json_agg(r), '[]')::text FROM r",
        arguments,
    )


def update(query: Query, row: Any, body: str) -> Statement:
    """Return the statement of a PATCH with ``row``, whose JSON text is ``body``.

    Raises
    ------
    ApiError
        400: it is no object, or a column can't be written.
    """
    table = query.table
    columns = _written([row], table, table.updatable)
    if not columns:
        return Statement("SELECT '[]'::text", [])
    arguments = [*query.arguments, body]
    names = ", ".join(columns)
    values = ", ".join(f"b.{name}" for name in columns)
    return Statement(
        f"WITH b AS (SELECT * FROM jsonb_populate_record(NULL::{table.name}, "
        f"${len(arguments)}::text::jsonb)), "
        f"r AS (UPDATE {table.name} SET ({names}) = (SELECT {values} FROM b) "
        f"WHERE {query.conditions} RETURNING {query.selected}) "
        "SELECT coalesce(json_agg(r), '[]')::text FROM r",
        arguments,
    )


def delete(query: Query) -> Statement:
    """Return the statement of a DELETE."""
    return Statement(
        f"WITH r AS (DELETE FROM {query.table.name} WHERE {query.conditions} RETURNING {query.selected}) "
        "SELECT coalesce(json_agg(r), '[]')::text FROM r",
        query.arguments,
    )


def call(function: Function, given: Any, request_id: str | None) -> Statement:
    """Return the statement of a call of ``function`` with the object ``given``.

    Raises
    ------
    ApiError
        400: it is no object, or a value is of a wrong type. 404: there is no function with these parameters.
    """
    if not isinstance(given, dict):
        raise ApiError(400, "PGRST102", "the body is no object of parameters", field="body")
    strange = sorted(set(given) - set(function.parameters))
    missing = sorted(function.required - set(given))
    if strange or missing:
        words = f"without {missing[0]}" if missing else f"with {strange[0][:80]!r}"
        raise ApiError(
            404,
            "PGRST202",
            f"there is no function {function.name} {words}",
            field=(missing or strange)[0][:80],
            hint=f"its parameters are {', '.join(function.parameters) or 'none'}",
        )
    statement = Statement()
    arguments = []
    for name, type_name in function.parameters.items():
        if name not in given:
            continue
        value = given[name]
        fits = value is None or (
            isinstance(value, str)
            if type_name == "text"
            else isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**31
        )
        if not fits or (isinstance(value, str) and "\0" in value):
            raise ApiError(400, "22P02", f"{name} is no {type_name}", field=name)
        arguments.append(f"{name} => {statement.argument(None if value is None else str(value), type_name)}")
    if function.request_id is not None:
        arguments.append(f"{function.request_id} => {statement.argument(request_id, 'text')}")
    called = f"{function.name}({', '.join(arguments)})"
    if function.returns == "rows":
        statement.sql = f"SELECT coalesce(json_agg(r), '[]')::text FROM {called} AS r"
    elif function.returns == "row":
        statement.sql = f"SELECT to_json(r)::text FROM {called} AS r"
    else:
        statement.sql = f"SELECT {called}::text"
    return statement


def _written(rows: list[Any], table: Table, writable: frozenset[str]) -> list[str]:
    if not all(isinstance(row, dict) for row in rows):
        raise ApiError(400, "PGRST102", "the body is neither an object nor a list of objects", field="body")
    names = set(rows[0]) if rows else set()
    if any(set(row) != names for row in rows):
        raise ApiError(400, "PGRST102", "All object keys must match", field="body")
    for name in sorted(names):
        if name not in table.columns:
            raise _no_column(table, name)
        if name not in writable:
            raise ApiError(400, "42501", f"column {name} of {table.name} can't be written", field=name)
    return sorted(names)


def _condition(table: Table, name: str, value: str, statement: Statement) -> str:
    if name not in table.columns:
        raise _no_column(table, name)
    negated = value.startswith("not.")
    operator, dot, operand = value.removeprefix("not.").partition(".")
    type_name = table.columns[name]
    if not dot:
        raise _unreadable(name, value)
    if operator == "is" and operand.lower() in _IS:
        word = _IS[operand.lower()]
        if word != "NULL" and type_name != "boolean":
            raise _unreadable(name, value)
        found = f"{name} IS {word}"
    elif operator == "in" and operand.startswith("(") and operand.endswith(")"):
        elements = _elements(operand[1:-1])
        found = (
            f"{name} IN ({', '.join(statement.argument(e, type_name) for e in elements)})"
            if elements
            else "false"
        )
    elif operator in _OPERATORS:
        if operator == "like":
            if type_name != "text":
                raise _unreadable(name, value)
            operand = operand.replace("*", "%")
        found = f"{name} {_OPERATORS[operator]} {statement.argument(operand, type_name)}"
    else:
        raise _unreadable(name, value)
    return f"NOT ({found})" if negated else found


def _elements(text: str) -> list[str]:
    if not text:
        return []
    found = []
    position = 0
    while True:
        match = _ELEMENT.match(text, position)
        assert match is not None
        quoted = match[1]
        found.append(re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else match[2])
        position = match.end()
        if position == len(text):
            return found[:ROW_LIMIT]
        if text[position] != ",":
            raise _unreadable("in", text)
        position += 1


def _columns(table: Table, text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",")]
    if names in (["*"], [""]):
        return tuple(table.columns)
    for name in names:
        if name not in table.columns:
            raise _no_column(table, name)
    return tuple(dict.fromkeys(names))


def _order(table: Table, text: str) -> str:
    if not text:
        return ""
    terms = []
    for term in text.split(","):
        name, *rest = term.split(".")
        if name not in table.columns:
            raise _no_column(table, name)
        words = {"asc": "ASC", "desc": "DESC", "nullsfirst": "NULLS FIRST", "nullslast": "NULLS LAST"}
        shapes: tuple[list[str], ...] = ([], ["asc"], ["desc"], ["nullsfirst"], ["nullslast"])
        if rest not in shapes and not (
            len(rest) == 2 and rest[0] in {"asc", "desc"} and rest[1] in {"nullsfirst", "nullslast"}
        ):
            raise _unreadable("order", text)
        terms.append(" ".join([name, *(words[word] for word in rest)]))
    return f"ORDER BY {', '.join(terms)}"


def _number(name: str, text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,19}", text) or int(text) >= _BIGINT:
        raise ApiError(400, "PGRST100", f"{name}={text[:80]!r} is no number from 0", field=name)
    return int(text)


def _no_column(table: Table, name: str) -> ApiError:
    return ApiError(
        400,
        "PGRST204",
        f"{table.name} has no column {name[:80]!r}",
        field=name[:80],
        hint=f"its columns are {', '.join(table.columns)}",
    )


def _unreadable(name: str, value: str) -> ApiError:
    return ApiError(
        400,
        "PGRST100",
        f"can't read {name[:80]}={value[:80]!r}",
        field=name[:80],
        hint="filters look like id=eq.x, id=in.(x,y), due_at=lt.2030-01-01, grace_until=is.null",
    )
