"""Whether a login is needed while the database is away."""

from __future__ import annotations

import sqlite3

import pytest

from rapidflow_web.access import access
from rapidflow_web.access.access import Access
from rapidflow_web.settings import from_environment


class _Database:
    """Stands for the query that asks whether there are users."""

    def __init__(self) -> None:
        self.has_users = False
        self.error: Exception | None = None

    async def any_exist(self) -> bool:
        if self.error is not None:
            raise self.error
        return self.has_users


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> _Database:
    made = _Database()
    monkeypatch.setattr(access, "users", made)
    monkeypatch.setattr(access, "_KNOWN_SECONDS", 0.0)
    return made


AWAY = sqlite3.OperationalError("database is locked")


@pytest.mark.parametrize("has_users", [False, True])
async def test_what_was_known_holds_while_the_database_is_away(database: _Database, has_users: bool) -> None:
    asked = Access(from_environment({}))
    database.has_users = has_users
    assert await asked.is_open() is not has_users
    database.error, database.has_users = AWAY, not has_users
    assert await asked.is_open() is not has_users
    database.error = None
    assert await asked.is_open() is has_users


async def test_nobody_is_let_in_before_anything_is_known(database: _Database) -> None:
    asked = Access(from_environment({}))
    database.error = AWAY
    with pytest.raises(sqlite3.OperationalError):
        await asked.is_open()
    assert not asked.sees_all(None)


async def test_another_error_is_not_hidden(database: _Database) -> None:
    asked = Access(from_environment({}))
    await asked.is_open()
    database.error = TypeError("wrong")
    with pytest.raises(TypeError):
        await asked.is_open()
