"""Who asks, while the database is away and while it changes."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from rapidflow_web.accounts import authentication
from rapidflow_web.accounts.authentication import Access
from rapidflow_web.accounts.roles import Role
from rapidflow_web.db import users
from rapidflow_web.db.database import close_database, open_database, sqlite_url
from rapidflow_web.db.models import Token
from rapidflow_web.errors import Unauthorized
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
    monkeypatch.setattr(authentication, "users", made)
    monkeypatch.setattr(authentication, "_CACHE_SECONDS", 0.0)
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


async def test_another_error_is_not_hidden(database: _Database) -> None:
    asked = Access(from_environment({}))
    await asked.is_open()
    database.error = TypeError("wrong")
    with pytest.raises(TypeError):
        await asked.is_open()


async def test_what_is_taken_from_somebody_is_gone_also_for_requests_that_were_on_their_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await open_database(sqlite_url(tmp_path / "rapidflow.db"))
    try:
        anna = await users.create("anna", "admin", None)
        assert anna is not None
        token, secret = await authentication.new_token(anna, "laptop", Role.ADMIN, None, None)
        asked, find, exist = Access(from_environment({})), users.of_token, users.any_exist

        async def revoked_meanwhile(digest: str) -> Token | None:
            found = await find(digest)
            await users.revoke(token.id)
            asked.clear_cache()
            return found

        async def added_meanwhile() -> bool:
            asked.clear_cache()
            return False

        monkeypatch.setattr(users, "of_token", revoked_meanwhile)
        monkeypatch.setattr(users, "any_exist", added_meanwhile)
        await asked.of_token(secret)
        await asked.is_open()
        monkeypatch.setattr(users, "of_token", find)
        monkeypatch.setattr(users, "any_exist", exist)
        with pytest.raises(Unauthorized):
            await asked.of_token(secret)
        assert not await asked.is_open()
    finally:
        await close_database()
