"""Transactions of the server, beside another process that writes to the same SQLite database."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tortoise.exceptions import OperationalError
from tortoise.transactions import in_transaction

from rapidflow_web.db import users
from rapidflow_web.db.database import close_database, open_database, sqlite_url
from rapidflow_web.db.models import User


@pytest.fixture
async def path(tmp_path: Path) -> AsyncIterator[Path]:
    path = tmp_path / "rapidflow.db"
    await open_database(sqlite_url(path).replace("busy_timeout=5000", "busy_timeout=50"))
    yield path
    await close_database()


@pytest.fixture
def other(path: Path) -> Iterator[sqlite3.Connection]:
    """Another process, which does not wait for locks."""
    with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
        yield connection


def rename(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE user_account SET name = name || '2'")


async def test_nobody_else_writes_between_what_a_transaction_reads_and_writes(other: sqlite3.Connection):
    await users.create("anna", "admin", None)
    async with in_transaction():
        anna = await User.get(name="anna")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            rename(other)
        await User.filter(id=anna.id).update(role="viewer")
    rename(other)
    assert await User.all().values_list("name", "role") == [("anna2", "viewer")]


async def test_a_transaction_that_can_not_begin_holds_up_no_other(other: sqlite3.Connection):
    other.execute("BEGIN IMMEDIATE")
    for _ in range(2):
        with pytest.raises(OperationalError, match="locked"):
            await users.create("anna", "admin", None)
    assert await User.all().count() == 0
    other.execute("COMMIT")
    await users.create("anna", "admin", None)
    assert await User.all().values_list("name", flat=True) == ["anna"]


async def test_a_transaction_within_another_ends_with_it(other: sqlite3.Connection):
    with pytest.raises(RuntimeError):
        async with in_transaction():
            await users.create("anna", "admin", None)
            raise RuntimeError
    assert other.execute("SELECT * FROM user_account").fetchall() == []
