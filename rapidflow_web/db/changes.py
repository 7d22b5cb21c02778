"""Whether the database has changed, known without asking it each time."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from aiosqlite import Connection
from tortoise import connections
from tortoise.backends.sqlite.client import SqliteClient

from rapidflow_web.db.sql import rows

_OTHERS_SECONDS = 1.0
"""For how long changes of other processes, such as `rapidflow user`, may stay unnoticed."""


@dataclass(slots=True)
class _Others:
    """What is known of changes by other processes. SQLite numbers them anew for each connection."""

    connection: Connection | None = None
    connections: int = 0
    version: int | None = None
    asked_at: float = 0.0
    asking: asyncio.Task[None] | None = None


_others = _Others()


async def state() -> object:
    """Something that is equal as long as nothing in the database has changed.

    What is read between two calls that give the same is what the database says: changes count when they are
    made, and nobody else reads before the transaction that they belong to has ended. On PostgreSQL, where
    neither is so, no two are the same.
    """
    if not isinstance(connections.get("default"), SqliteClient):
        return object()
    _connection()  # notices a new one
    if _others.version is None or time.monotonic() - _others.asked_at > _OTHERS_SECONDS:
        # Once for all who ask now. It goes on for the others when one of them gives up.
        if _others.asking is None or _others.asking.done():
            _others.asking = asyncio.create_task(_ask())
        await asyncio.shield(_others.asking)
    known = last_known()
    return known if _others.version is not None else object()


def last_known() -> object:
    """The state as far as it is known without a query: that at the last call of `state`, and later changes by
    this process.

    What is read after this call is as new as that or newer; where it is newer, `state` will say so.
    """
    connection = _connection()
    if connection is None:
        return object()
    return _others.connections, _others.version, connection.total_changes


def _connection() -> Connection | None:
    """The connection to an SQLite database, if there is one now."""
    client = connections.get("default")
    connection = client._connection if isinstance(client, SqliteClient) else None  # pyright: ignore[reportPrivateUsage]
    if connection is not _others.connection:
        _others.connection, _others.connections = connection, _others.connections + 1
        _others.version = None
    return connection


async def _ask() -> None:
    asked_at, before = time.monotonic(), _connection()
    version: int = (await rows("PRAGMA data_version"))[0][0]
    # The query itself makes the first connection.
    if _connection() is before or before is None:
        _others.version, _others.asked_at = version, asked_at
