"""Databases that tests open in their own process, and the tables that new ones begin with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tortoise.backends.base.executor import EXECUTOR_CACHE

from rapidflow_web.db.database import close_database, open_database, tortoise_config


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
