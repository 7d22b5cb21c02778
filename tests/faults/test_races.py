"""Thousands of claims, cancels, ends and retries at once: no build twice, no forbidden change of a status.

`make torture` sets TORTURE_RACES to 10,000.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tortoise import connections

from rapidflow_web.db import claims, jobs, pipelines
from rapidflow_web.db.database import sqlite_url
from rapidflow_web.db.sql import rows
from rapidflow_web.pipeline.definition import StepDefinition
from tests.support.databases import opened

_OPERATIONS = int(os.environ.get("TORTURE_RACES", "500"))
_AT_ONCE = 50
_ALLOWED = {
    ("pending", "running"), ("pending", "cancelled"), ("running", "success"), ("running", "failed"),
    ("running", "cancelled"),
}  # fmt: skip

# The database itself writes down every change of a status.
_AUDIT = {
    "sqlite": [
        "CREATE TABLE audit (job BIGINT, old TEXT, new TEXT)",
        "CREATE TRIGGER changes AFTER UPDATE OF status ON job WHEN old.status <> new.status "
        "BEGIN INSERT INTO audit VALUES (new.id, old.status, new.status); END",
    ],
    "postgres": [
        "CREATE TABLE audit (job BIGINT, old TEXT, new TEXT)",
        "CREATE FUNCTION note() RETURNS trigger AS $$ BEGIN "
        "INSERT INTO audit VALUES (new.id, old.status, new.status); RETURN new; END $$ LANGUAGE plpgsql",
        "CREATE TRIGGER changes AFTER UPDATE OF status ON job FOR EACH ROW "
        "WHEN (old.status IS DISTINCT FROM new.status) EXECUTE FUNCTION note()",
    ],
}


@pytest.fixture(params=["sqlite", "postgres"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[None]:
    """An empty database whose job table is watched."""
    url = (
        sqlite_url(tmp_path / "rapidflow.db")
        if request.param == "sqlite"
        else request.getfixturevalue("postgres").url
    )
    async with opened(url):
        for statement in _AUDIT[request.param]:
            await connections.get("default").execute_script(statement)
        yield


class _Racers:
    def __init__(self, pipeline_id: int, definition_id: int) -> None:
        self.claimed: list[int] = []
        self.ends: list[tuple[int, str]] = []
        self.known: list[int] = []
        self._random = random.Random(7)
        self._fields = {"pipeline_id": pipeline_id, "definition_id": definition_id, "started_by": "test"}

    async def start(self, retry_of: int | None = None) -> None:
        job = await jobs.create(
            {**self._fields, "retry_of": retry_of},
            [StepDefinition("true"), StepDefinition("true")],
            {"A": "1"},
        )
        self.known.append(job.id)

    async def act(self) -> None:
        """One operation, as a server does it."""
        kind = self._random.choices(["claim", "cancel", "end", "retry"], [4, 3, 3, 2])[0]
        if kind == "claim":
            if (job := await claims.claim()) is not None:
                self.claimed.append(job.id)
        elif kind == "cancel":
            job_id = self._random.choice(self.known)
            if not await jobs.cancel_pending(job_id):
                await jobs.request_cancel(job_id)
        elif kind == "end" and self.claimed:
            # Also jobs that have ended already, and several times at once.
            job_id = self._random.choice(self.claimed[-30:])
            status = self._random.choice(["success", "failed"])
            ended = await jobs.finish(job_id, status, "x" if status == "failed" else None)
            self.ends.append((job_id, ended[0]))
        else:
            job_id = self._random.choice(self.known)
            job = await jobs.get(job_id)
            if job is not None and job.status in jobs.FINISHED:
                await self.start(retry_of=job_id)
            else:
                await self.start()


@pytest.mark.usefixtures("database")
async def test_no_build_is_claimed_twice_and_no_status_changes_in_a_forbidden_way() -> None:
    pipeline = await pipelines.create("raced", "name: raced\nsteps: ['true']")
    racers = _Racers(pipeline.id, pipeline.definition_id)
    for _ in range(20):
        await racers.start()
    left = iter(range(_OPERATIONS))

    async def race() -> None:
        for _ in left:
            await racers.act()

    await asyncio.gather(*(race() for _ in range(_AT_ONCE)))
    assert len(racers.claimed) > _OPERATIONS / 20
    assert len(racers.claimed) == len(set(racers.claimed))
    audit = await rows("SELECT job, old, new FROM audit")
    changes = [(row[1], row[2]) for row in audit]
    assert set(changes) == _ALLOWED
    ended = [row[0] for row in audit if row[2] in jobs.FINISHED]
    assert len(ended) == len(set(ended))
    began = [row[0] for row in audit if row[2] == "running"]
    assert sorted(began) == sorted(racers.claimed)
    # Whoever was told how a build ended was told the truth.
    final = {row[0]: row[1] for row in await rows("SELECT id, status FROM job")}
    assert all(final[job_id] == status for job_id, status in racers.ends)
    wrong = await rows(
        "SELECT COUNT(*) FROM step JOIN job ON job.id = step.job_id "
        "WHERE job.status = 'cancelled' AND step.status IN ('pending', 'running')"
    )
    assert wrong[0][0] == 0
    cancelled = await rows("SELECT COUNT(*) FROM job WHERE cancelled <> (status = 'cancelled') "
                           "AND status IN ('success', 'failed', 'cancelled')")  # fmt: skip
    assert cancelled[0][0] == 0
