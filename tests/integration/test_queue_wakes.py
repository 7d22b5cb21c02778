"""The queue looks again whenever another job may be next, without waiting for the supervisor's next look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rapidflow_web.builds.ending import Ending
from rapidflow_web.builds.health import Health
from rapidflow_web.builds.queue import Queue
from rapidflow_web.db import jobs, outbox, pipelines
from rapidflow_web.db.database import sqlite_url
from rapidflow_web.executors.process.executor import ProcessExecutor
from rapidflow_web.logs.log import LogStore
from rapidflow_web.pipeline.definition import StepDefinition
from rapidflow_web.secrets.keys import Keys
from rapidflow_web.secrets.vault import Vault
from tests.support.databases import opened


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[Queue]:
    """A queue with two slots that nobody wakes but changes of jobs."""
    async with opened(sqlite_url(tmp_path / "rapidflow.db")):
        made = Queue(2, Health(ProcessExecutor(tmp_path / "work"), tmp_path))
        outbox.register({"notify": "TRUE"}, lambda _: made.wake())
        yield made
        outbox.register()


async def created(**fields: Any) -> int:
    pipeline = await pipelines.create("some", "name: some\nsteps: ['true']")
    common = {"pipeline_id": pipeline.id, "definition_id": pipeline.definition_id, "started_by": "test"}
    return (await jobs.create({**common, **fields}, [StepDefinition("true")], {})).id


async def claims(queue: Queue) -> asyncio.Task[int]:
    """Waits for the next job, once the queue has looked in vain."""

    async def claimed() -> int:
        async with asyncio.timeout(30):
            return (await queue.next()).id

    task = asyncio.create_task(claimed())
    await asyncio.sleep(0.2)
    assert not task.done()
    return task


async def test_next_build_of_a_group_begins_when_the_one_before_has_ended(
    queue: Queue, tmp_path: Path
) -> None:
    first = await created(concurrency_group="one")
    second = await created(concurrency_group="one")
    assert (await queue.next()).id == first
    waiting = await claims(queue)
    ending = Ending(Vault(Keys(tmp_path, ())), LogStore(tmp_path / "logs"), tmp_path / "strays")

    await ending.ended(first, "success", None)

    assert await waiting == second


async def test_next_build_of_a_group_begins_when_the_one_before_is_cancelled(queue: Queue) -> None:
    first = await created(concurrency_group="one")
    second = await created(concurrency_group="one")
    assert (await queue.next()).id == first
    waiting = await claims(queue)
    await jobs.finish(first, "cancelled", None)
    assert await waiting == second


async def test_a_new_job_begins_at_once(queue: Queue) -> None:
    waiting = await claims(queue)
    job_id = await created()
    assert await waiting == job_id
