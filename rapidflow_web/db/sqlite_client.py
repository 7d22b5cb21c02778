"""The client of SQLite with which Tortoise connects: its transactions write, and say so when they begin.

One that begins by reading can't write any more once another process has written, for example a `rapidflow`
command beside the server: SQLite refuses that at once, however long it may wait for locks.
"""

from __future__ import annotations

import sqlite3

from tortoise.backends.base.client import TransactionalDBClient, TransactionContext
from tortoise.backends.sqlite.client import (
    SqliteClient,
    SqliteTransactionContext,
    SqliteTransactionWrapper,
)
from tortoise.connection import get_connections
from tortoise.exceptions import OperationalError


class _Transaction(SqliteTransactionWrapper):
    async def begin(self) -> None:
        await self._connection.execute("BEGIN IMMEDIATE")


class _Context(SqliteTransactionContext):
    async def __aenter__(self) -> TransactionalDBClient:
        await self._trxlock.acquire()
        try:
            await self.ensure_connection()
            await self.connection.begin()
        except BaseException as error:
            # Nothing else would release it: a transaction that has not begun does not end.
            self._trxlock.release()
            if isinstance(error, sqlite3.OperationalError):
                # Also of a connection that is only made now.
                raise OperationalError(error) from error
            raise
        self.token = get_connections().set(self.connection_name, self.connection)
        return self.connection


class Client(SqliteClient):
    """Has one connection."""

    def _in_transaction(self) -> TransactionContext:
        return _Context(_Transaction(self), self._lock)


client_class = Client
