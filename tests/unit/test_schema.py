"""The tables that a new database begins with."""

from __future__ import annotations

from pathlib import Path

import pytest
from tortoise.migrations import api

from rapidflow_web.db import database
from scripts.schema import schema


def test_new_databases_begin_with_what_the_migrations_make() -> None:
    assert database.SCHEMA.read_text() == schema(), "run 'python -m scripts.schema'"


async def test_a_new_database_needs_no_migration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def migrate(**_: object) -> None:
        raise AssertionError("a new database is migrated")

    monkeypatch.setattr(api, "migrate", migrate)
    url = database.sqlite_url(tmp_path / "rapidflow.db")
    await database.open_database(url)
    await database.close_database()
    # It refuses what is not up to date.
    async with database.connected(url):
        pass
