"""Writes `rapidflow_web/db/schema.sql`, the tables that a new SQLite database begins with.

They are what the migrations make of an empty database; to run all of these takes seconds and memory.
"""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from tortoise.migrations.api import migrate

from rapidflow_web.db import database

_HEAD = "-- What the migrations make of an empty SQLite database. Written by `python -m scripts.schema`.\n"
_LONG_AGO = "1970-01-01 00:00:00+00:00"


def schema() -> str:
    """The text of that file, as it must be."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rapidflow.db"
        asyncio.run(_migrate(path))
        with closing(sqlite3.connect(path)) as made:
            made.execute("UPDATE tortoise_migrations SET applied_at = ?", [_LONG_AGO])
            return _HEAD + "".join(f"{statement}\n" for statement in made.iterdump())


async def _migrate(path: Path) -> None:
    # Without foreign keys, as at each start after an upgrade.
    config = database.tortoise_config(f"sqlite://{path}?foreign_keys=OFF")
    await migrate(config=config, direction="forward")
    await database.close_database()


if __name__ == "__main__":
    database.SCHEMA.write_text(schema())
