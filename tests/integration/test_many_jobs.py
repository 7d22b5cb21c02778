"""With many jobs stored, pages read what they show by index and pass over nothing else."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tortoise import connections

from bench import many_jobs
from rapidflow_web.db import build_lists, build_search, dashboard, jobs, pipeline_search, pipelines
from rapidflow_web.db.database import close_database, open_database, sqlite_url
from rapidflow_web.db.related_builds import ahead, related, streak
from tests.support.postgres import Postgres

JOBS = 20_000
QUERIES = {
    "newest": lambda: build_search.found(50),
    "of a pipeline": lambda: build_search.found(51, pipeline_id=1),
    "of a pipeline, a later page": lambda: build_search.found(51, pipeline_id=1, before=9_000),
    "of a pipeline and a status": lambda: build_search.found(51, pipeline_id=1, status="failed"),
    "of a pipeline and a branch": lambda: build_search.found(51, pipeline_id=1, branch="topic-310"),
    "of a pipeline without builds": lambda: build_search.found(51, pipeline_id=many_jobs.PIPELINES),
    "last of branches": lambda: build_search.last_of_branches(1, 51, status="failed", branch="topic"),
    "suggestions": lambda: build_search.suggestions(500),
    "suggestions of a pipeline": lambda: build_search.suggestions(500, 1),
    "pipelines": lambda: pipeline_search.found(""),
    "names of pipelines": lambda: pipelines.names(500),
    "since when it fails": lambda: _streak(19_007),
    "now": lambda: build_lists.now_and_recent(50, 20, 15),
    "bars": lambda: build_lists.bars_of_each(range(1, many_jobs.PIPELINES + 1), 30),
    "successful bars": lambda: build_lists.bars_of_each([1, 2], 10, successful=True),
    "waiting": lambda: dashboard.count_waiting(1_000),
    "progress": lambda: dashboard.progress([19_000, 19_001]),
    "ahead": lambda: ahead(19_000, 1_000),
}


async def _streak(job_id: int) -> None:
    job = await jobs.get(job_id)
    assert job is not None
    for ref in (None, "refs/pull/7/head"):
        job.status, job.branch, job.ref = "failed", None if ref else "main", ref
        await streak(job)
    job.branch = job.ref = job.repo_name = None
    await streak(job)
    job.branch, job.retry_of = "main", 9_000
    await streak(job)


class Plans:
    """Asks the database how it would answer each statement, besides the answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
        self.seen: list[str] = []
        connection = connections.get("default")
        execute = connection.execute_query

        async def explained(statement: str, values: Sequence[Any] | None = None) -> Any:
            _, rows = await execute(f"{prefix} {statement}", values)
            self.seen += [" ".join(str(value) for value in tuple(row)) for row in rows]
            return await execute(statement, values)

        monkeypatch.setattr(connection, "execute_query", explained)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with many jobs."""
    database = tmp_path_factory.mktemp("many") / "rapidflow.db"
    asyncio.run(make(sqlite_url(database)))
    many_jobs.fill(database, JOBS)
    return database


async def make(url: str) -> None:
    """Makes the tables."""
    await open_database(url)
    await close_database()


@pytest.fixture
async def sqlite(filled: Path) -> AsyncIterator[None]:
    """The filled database, open."""
    await open_database(sqlite_url(filled))
    yield
    await close_database()


@pytest.mark.parametrize("query", QUERIES)
async def test_sqlite_reads_by_index(sqlite: None, monkeypatch: pytest.MonkeyPatch, query: str):
    plans = Plans(monkeypatch, "EXPLAIN QUERY PLAN")
    await QUERIES[query]()
    assert plans.seen
    # Only what asks for the newest of all walks the table, and that from its end until it has enough.
    wrong = [
        line for line in plans.seen if re.search(r"\bSCAN (job|step|\"job\"|\"step\")|TEMP B-TREE", line)
    ]
    assert query in ("newest", "suggestions") or wrong == []


async def test_what_stands_beside_a_job_is_read_by_index(sqlite: None, monkeypatch: pytest.MonkeyPatch):
    job = await jobs.get(9_000)
    assert job is not None
    plans = Plans(monkeypatch, "EXPLAIN QUERY PLAN")
    found = await related(job)
    assert (found.previous, found.following) == (8_998, 9_002)
    assert not any(re.search(r"\bSCAN \"?job\b|TEMP B-TREE", line) for line in plans.seen)


async def test_bars_are_the_last_builds_oldest_first(sqlite: None):
    bars = await build_lists.bars_of_each([1, many_jobs.PIPELINES], 30)
    assert [bar.id for bar in bars[1]] == list(range(JOBS - 58, JOBS + 1, 2))
    assert bars[many_jobs.PIPELINES] == ()


async def test_postgres_reads_by_index(postgres: Postgres, monkeypatch: pytest.MonkeyPatch):
    await make(postgres.url)
    await asyncio.to_thread(many_jobs.fill, postgres.url, JOBS)
    await open_database(postgres.url)
    try:
        assert [bar.id for bar in (await build_lists.bars_of_each([1], 30))[1]] == list(
            range(JOBS - 58, JOBS + 1, 2)
        )
        plans = Plans(monkeypatch, "EXPLAIN")
        for query in QUERIES.values():
            await query()
        assert not any("Seq Scan on job" in line for line in plans.seen)
    finally:
        await close_database()
