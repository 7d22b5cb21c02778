"""Fills a database with as many jobs as a busy team makes in years; SQLite or Postgres."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import time
from pathlib import Path

import asyncpg

PIPELINES = 60
"""Pipelines there are afterwards; every second job is of the first one, the last one has none."""

_CONFIG = "name: many\nimage: alpine\nsteps:\n  - echo hello\n"

_STATEMENTS = (
    "INSERT INTO definition (id, name, config) "
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {pipelines}) "
    "SELECT i, 'Pipeline ' || i, '{config}' FROM n",
    "INSERT INTO pipeline (id, definition_id, created_at, updated_at) "
    "SELECT id, id, {now} - 90000000000, {now} - 90000000000 FROM definition",
    # 1 in 12 failed, 1 in 50 was cancelled; a build a minute.
    "INSERT INTO job (id, pipeline_id, definition_id, status, branch, repo_name, expose_ports, cancelled, "
    'created_at, started_at, finished_at, "commit", image, started_by, timeline, log_size, '
    "stored_size) "
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {jobs}) "
    "SELECT i, p, p, CASE WHEN i * 7919 % 1000 < 83 THEN 'failed' WHEN i * 104729 % 1000 < 20 "
    "THEN 'cancelled' ELSE 'success' END, "
    "CASE WHEN i % 5 = 0 THEN 'topic-' || (i * 31 % 5000) ELSE 'main' END, "
    "'https://example.com/team/many', {false}, {false}, at, at + 900, at + 900 + 20000 + i * 7919 % 90000, "
    "'0123456789abcdef0123456789abcdef01234567', 'alpine', 'api', '[]', 100, 100 FROM "
    "(SELECT i, CASE WHEN i % 2 = 0 THEN 1 ELSE 2 + i / 2 % ({pipelines} - 2) END AS p, "
    "{now} - ({jobs} - i) * CAST(60000 AS BIGINT) AS at FROM n) AS made",
    "INSERT INTO step (job_id, order_num, type, content, status, created_at, exit_code, started_at, "
    "finished_at) SELECT id, 1, 'bash', 'echo hello', status, created_at, 0, started_at, finished_at "
    "FROM job",
)


def fill(database: Path | str, jobs: int) -> None:
    """Adds `PIPELINES` pipelines and `jobs` jobs to an empty, migrated database: a file or a Postgres URL."""
    sqlite = isinstance(database, Path)
    statements = [
        statement.format(
            pipelines=PIPELINES,
            config=_CONFIG,
            jobs=jobs,
            now=int(time.time() * 1000),
            false="0" if sqlite else "FALSE",
        )
        for statement in _STATEMENTS
    ]
    if isinstance(database, Path):
        with contextlib.closing(sqlite3.connect(database)) as connection, connection:
            for statement in statements:
                connection.execute(statement)
    else:
        asyncio.run(_fill_postgres(database, statements))


async def _fill_postgres(url: str, statements: list[str]) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
        for table in ("definition", "pipeline", "job"):
            await connection.execute(
                f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))"
            )
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()
