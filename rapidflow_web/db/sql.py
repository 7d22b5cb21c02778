"""Plain SQL, for what the ORM can't say or says slowly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tortoise import connections


def dialect() -> str:
    """`sqlite` or `postgres`."""
    return connections.get("default").capabilities.dialect


async def rows(statement: str, values: Sequence[Any] = ()) -> Sequence[Sequence[Any]]:
    """The rows of a statement whose values are ?1, ?2, … in its text."""
    return (await _execute(statement, values))[1]


async def changed(statement: str, values: Sequence[Any] = ()) -> int:
    """How many rows an UPDATE or a DELETE has changed; its values are ?1, ?2, … in its text."""
    return (await _execute(statement, values))[0]


async def _execute(statement: str, values: Sequence[Any]) -> tuple[int, Sequence[Sequence[Any]]]:
    if dialect() == "postgres":
        statement = statement.replace("?", "$")
    return await connections.get("default").execute_query(statement, list(values))
