"""The state of the database: changes are noticed, and asked for by few queries."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

from tortoise import connections
from tortoise.backends.sqlite.client import SqliteClient

from rapidflow_web.db import changes, pipelines
from rapidflow_web.db.database import sqlite_url
from tests.support.databases import opened


def _client() -> SqliteClient:
    client = connections.get("default")
    assert isinstance(client, SqliteClient)
    return client


async def test_those_who_ask_at_once_share_one_query(tmp_path: Path) -> None:
    async with opened(sqlite_url(tmp_path / "rapidflow.db")):
        await pipelines.create("new", "steps: [make]")
        asked: list[str] = []
        connection = _client()._connection  # pyright: ignore[reportPrivateUsage]
        assert connection is not None
        await connection.set_trace_callback(asked.append)
        states = await asyncio.gather(*(changes.state() for _ in range(20)))
        assert len(set(states)) == 1
        assert asked == ["PRAGMA data_version"]


async def test_one_who_gives_up_takes_the_answer_from_nobody(tmp_path: Path) -> None:
    async with opened(sqlite_url(tmp_path / "rapidflow.db")):
        first, second = (asyncio.create_task(changes.state()) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == await changes.state()


async def test_what_was_known_without_asking_is_not_taken_for_the_present_state(tmp_path: Path) -> None:
    async with opened(sqlite_url(tmp_path / "rapidflow.db")):
        assert changes.last_known() != await changes.state()
        assert changes.last_known() == await changes.state()
        await pipelines.create("new", "steps: [make]")
        assert changes.last_known() == await changes.state()


async def test_each_connection_has_states_of_its_own(tmp_path: Path) -> None:
    async with opened(sqlite_url(tmp_path / "rapidflow.db")):
        before = await changes.state()
        await _client().close()
        with sqlite3.connect(tmp_path / "rapidflow.db") as other:
            other.execute("CREATE TABLE something (number)")
        other.close()
        await _client().create_connection(with_db=True)
        assert await changes.state() != before
