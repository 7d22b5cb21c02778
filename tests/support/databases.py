"""Databases that tests open in their own process, and the tables that new ones begin with."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tortoise.backends.base.executor import EXECUTOR_CACHE

from rapidflow_web.db.database import close_database, open_database, sqlite_path, sqlite_url, tortoise_config

_MIGRATE = """
import asyncio, sys
from rapidflow_web.db.database import close_database, open_database

async def migrate():
    await open_database(sys.argv[1])
    await close_database()

asyncio.run(migrate())
"""


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[None]:
    """The database at `url`, open. Tortoise keeps statements in the words of the one that it met first."""
    EXECUTOR_CACHE.clear()
    await open_with_tables(url)
    try:
        yield
    finally:
        await close_database()
        EXECUTOR_CACHE.clear()


async def open_with_tables(url: str) -> None:
    """Opens a database. A new SQLite file has its tables already."""
    if (path := sqlite_path(url)) is not None:
        make_tables(path)
    await open_database(url)


def make_tables(path: Path) -> None:
    """Makes an SQLite file as the migrations make it, unless there is one. They take half a second."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_bytes(_migrated())


@functools.cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rapidflow.db"
        # In a process of its own, because a test may have a database open in this one.
        subprocess.run([sys.executable, "-c", _MIGRATE, sqlite_url(path)], check=True)
        return path.read_bytes()


def downgrade(url: str, migration: str) -> None:
    """Brings the database at `url` back to what it was after `migration`."""
    from tortoise.migrations.api import migrate

    async def back() -> None:
        target = f"rapidflow.{migration}"
        try:
            await migrate(config=tortoise_config(url), direction="backward", target=target)
        finally:
            await close_database()

    asyncio.run(back())
