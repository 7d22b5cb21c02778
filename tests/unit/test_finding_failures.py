"""Why builds failed is found out for fresh ones first, and again where it could not be."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tortoise.exceptions import OperationalError

from rapidflow_web.builds import failures, reasons
from rapidflow_web.builds.failures import Failures
from rapidflow_web.db import jobs
from rapidflow_web.db.database import sqlite_url
from rapidflow_web.db.models import Definition, Job, Pipeline, Step
from rapidflow_web.errors import LogUnreadable, TooManyRequests
from rapidflow_web.logs import search
from rapidflow_web.logs.index import Span
from rapidflow_web.logs.log import Log, LogStore
from tests.support.databases import opened

PRINTED = b"=== Step 1\nbegins\nerror: out of paper\nends\n"


@pytest.fixture
async def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Failures]:
    """Ten builds that failed."""
    monkeypatch.setattr(failures, "_PAUSE", 0.0)
    async with opened(sqlite_url(tmp_path / "rapidflow.db")):
        definition = await Definition.create(name="Row", config="")
        pipeline = await Pipeline.create(definition=definition, created_at=1, updated_at=1)
        fixed: dict[str, Any] = {"started_by": "api", "created_at": 1, "status": "failed"}
        for number in range(1, 11):
            error = reasons.exited(1, "bash", 3)
            job = await Job.create(
                id=number, pipeline=pipeline, definition=definition, log_size=1, error=error, **fixed
            )
            await Step.create(
                id=number, job=job, order_num=1, type="bash", content="x", status="failed",
                created_at=1, exit_code=3,
            )  # fmt: skip
        yield Failures(LogStore(tmp_path / "logs"))


def printed(found: Failures, job_id: int, text: bytes) -> Log:
    """Has the build's only step have printed this after its header."""
    log = found.logs.open(job_id)
    log.path.parent.mkdir(parents=True, exist_ok=True)
    log.path.write_bytes(text)
    log.size = len(text)
    log.layout.spans.append(Span(job_id, 0, text.index(b"\n") + 1, 1, len(text), 3))
    return log


async def stored(job_id: int) -> Any:
    """What is found out of a build, once it is."""
    for _ in range(2_000):
        if (failure := (await Job.get(id=job_id)).failure) is not None:
            return failure
        await asyncio.sleep(0.01)
    return None


async def looking(found: Failures) -> asyncio.Task[None]:
    return asyncio.create_task(found.run())


async def test_fresh_builds_come_first_and_then_the_newest(found: Failures, monkeypatch: pytest.MonkeyPatch):
    seen: list[int] = []
    done = asyncio.Event()

    async def look(self: Failures, job_id: int, *, is_last: bool) -> None:
        seen.append(job_id)
        if job_id == 9:
            self.note(3)
        if len(seen) == 11:
            done.set()

    monkeypatch.setattr(Failures, "_look", look)
    task = await looking(found)
    await asyncio.wait_for(done.wait(), 20)
    task.cancel()
    assert seen == [10, 9, 3, 8, 7, 6, 5, 4, 3, 2, 1]


@pytest.mark.parametrize("problem", [TooManyRequests("wait", 1), search.SearchFailed("no"), OSError("no")])
async def test_what_could_not_be_looked_at_is_looked_at_again(
    found: Failures, monkeypatch: pytest.MonkeyPatch, problem: Exception
):
    log = printed(found, 7, PRINTED)
    really, asked = search.telling_line, 0

    async def telling_line(log: Log, step: int) -> dict[str, int] | None:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise problem
        return await really(log, step)

    await Job.exclude(id=7).update(failure={})
    monkeypatch.setattr(search, "telling_line", telling_line)
    task = await looking(found)
    assert await stored(7) == {
        "step": 1, "name": None, "code": 3, "message": "error: out of paper", "line": 2,
    }  # fmt: skip
    task.cancel()
    assert (asked, log.size) == (3, len(PRINTED))


@pytest.mark.parametrize(
    ("problem", "tries"),
    [
        (search.CannotSearch("it takes too long"), 1),
        (search.SearchFailed("no"), 3),
        (TooManyRequests("wait", 1), 3),
        (OSError("no"), 3),
        (RuntimeError("a fault"), 3),
    ],
)
async def test_what_can_not_be_looked_at_has_no_message_in_the_end(
    found: Failures,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    problem: Exception,
    tries: int,
):
    log = printed(found, 7, PRINTED)

    async def telling_line(log: Log, step: int) -> dict[str, int] | None:
        raise problem

    await Job.exclude(id=7).update(failure={})
    monkeypatch.setattr(search, "telling_line", telling_line)
    task = await looking(found)
    assert await stored(7) == {"step": 1, "name": None, "code": 3}
    task.cancel()
    assert log.size == len(PRINTED)
    told = [record for record in caplog.records if record.name == failures.__name__]
    assert [record.getMessage() for record in told] == [
        f"can't determine why job 7 failed: {problem}"
    ] * tries
    # Only a fault of the program has a traceback.
    assert all(bool(record.exc_info) == isinstance(problem, RuntimeError) for record in told)
    assert all(record.levelno == logging.WARNING for record in told)


@pytest.mark.parametrize("problem", [OperationalError("database is locked"), RuntimeError("a fault")])
async def test_what_an_earlier_server_left_is_looked_for_again(
    found: Failures, monkeypatch: pytest.MonkeyPatch, problem: Exception
):
    log = printed(found, 7, PRINTED)
    really, asked = jobs.unexplained, 0

    async def unexplained(most: int) -> list[int]:
        nonlocal asked
        asked += 1
        if asked < 5:
            raise problem
        return await really(most)

    await Job.exclude(id=7).update(failure={})
    monkeypatch.setattr(jobs, "unexplained", unexplained)
    task = await looking(found)
    assert (await stored(7))["message"] == "error: out of paper"
    task.cancel()
    assert (asked, log.size) == (5, len(PRINTED))


async def test_a_log_that_can_not_be_read_has_no_message(found: Failures):
    log = printed(found, 7, PRINTED)
    other = printed(found, 6, b"=== Step 1\nnothing that tells\nthe last line\n")
    await Job.exclude(id__in=[6, 7]).update(failure={})

    async def read(offset: int, limit: int = 0) -> bytes:
        raise LogUnreadable("it is damaged")

    log.read = read
    task = await looking(found)
    assert other.layout.span(6) is not None
    nothing = {"step": 1, "name": None, "code": 3}
    # Nor has one in which no line tells of an error: its last line may be anything.
    assert (await stored(7), await stored(6)) == (nothing, nothing)
    task.cancel()
