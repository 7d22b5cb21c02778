"""Databases that tests open in their own process, and migrations."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tortoise.backends.base.executor import EXECUTOR_CACHE

from rapidflow_web.db.database import close_database, open_database, tortoise_config

_MIGRATE = """
import asyncio, sys
from rapidflow_web.db.database import close_database, open_database, tortoise_config
from tortoise.migrations import api

async def migrate():
    url, *target = sys.argv[1:]
    if target:
        await api.migrate(config=tortoise_config(url), target=target[0])
    else:
        await open_database(url)
    await close_database()

asyncio.run(migrate())
"""


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[None]:
    """The database at `url`, open. Tortoise keeps statements in the words of the one that it met first."""
    EXECUTOR_CACHE.clear()
    await open_database(url)
    try:
        yield
    finally:
        await close_database()
        EXECUTOR_CACHE.clear()


def migrate(url: str, migration: str = "") -> None:
    """Makes the tables of a database as they are now, or were after `migration`.

    In a process of its own: this one may have another open.
    """
    target = [f"rapidflow.{migration}"] if migration else []
    subprocess.run([sys.executable, "-c", _MIGRATE, url, *target], check=True)


def downgrade(url: str, migration: str) -> None:
    """Brings the database at `url` back to what it was after `migration`."""
    from tortoise.migrations import api

    async def back() -> None:
        target = f"rapidflow.{migration}"
        try:
            await api.migrate(config=tortoise_config(url), direction="backward", target=target)
        finally:
            await close_database()

    asyncio.run(back())
