"""Builds begin in one place, with a cause, and without a request or a logged-in user."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rapidflow_web.builds.beginning import Beginning, Cause
from rapidflow_web.db import claims, jobs, outbox, pipelines
from rapidflow_web.db.database import sqlite_url
from rapidflow_web.db.models import Job, Pipeline
from rapidflow_web.db.trigger_models import Repository
from rapidflow_web.errors import BadRequest, Invalid, NotFound, TooManyRequests
from rapidflow_web.settings import from_environment
from tests.support.databases import opened

_REPOSITORY = "name: some\nrepo_name: https://example.com/team/service\nbranch: main\nsteps: ['true']"
_COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Queue:
    """Counts how often it is told that another job may be next."""

    told = 0

    def wake(self, _: int | None) -> None:
        self.told += 1


@pytest.fixture
def queue() -> _Queue:
    return _Queue()


@pytest.fixture
async def beginning(tmp_path: Path, queue: _Queue) -> AsyncIterator[Beginning]:
    settings = from_environment(
        {"RAPIDFLOW_DATA": str(tmp_path / "data"), "RAPIDFLOW_WAITING_BUILDS_PER_USER": "2"}
    )
    async with opened(sqlite_url(tmp_path / "rapidflow.db")):
        outbox.register({}, queue.wake)
        yield Beginning(settings)
        outbox.register()


async def test_build_starts_without_a_request_and_says_its_cause(beginning: Beginning, queue: _Queue) -> None:
    pipeline = await pipelines.create("some", _REPOSITORY)

    job = await beginning.start(pipeline.id, Cause("schedule"))

    stored = await jobs.existing(job.id)
    assert (stored.status, stored.started_by, stored.commit) == ("pending", "schedule", None)
    assert queue.told > 0


async def _of_repository() -> Pipeline:
    """A pipeline whose definition stands in a repository."""
    pipeline, url = await pipelines.create("some", _REPOSITORY), "https://example.com/team/service"
    repository = await Repository.create(
        url=url, forge="git", default_branch="main", hook_key=url, created_at=0, updated_at=0
    )
    await Pipeline.filter(id=pipeline.id).update(repository_id=repository.id, path=".rapidflow.yml")
    return pipeline


async def test_build_of_a_commit_has_the_commit_from_the_start(beginning: Beginning) -> None:
    pipeline = await _of_repository()

    job = await beginning.start(pipeline.id, Cause("push"), branch="topic", commit=_COMMIT)

    stored = await jobs.existing(job.id)
    assert (stored.branch, stored.commit) == ("topic", _COMMIT)


@pytest.mark.parametrize("commit", ["", "main", "-x", _COMMIT[:12], _COMMIT.upper(), f"{_COMMIT}\n"])
async def test_commit_that_is_no_full_hash_is_refused(
    beginning: Beginning, queue: _Queue, commit: str
) -> None:
    pipeline = await _of_repository()

    with pytest.raises(Invalid) as raised:
        await beginning.start(pipeline.id, Cause("push"), commit=commit)

    assert [problem.field for problem in raised.value.problems] == ["commit"]
    assert queue.told == 0


@pytest.mark.parametrize("source", [{"commit": _COMMIT}, {"tag": "v1"}])
async def test_stored_pipeline_builds_neither_commits_nor_tags(
    beginning: Beginning, source: dict[str, str]
) -> None:
    pipeline = await pipelines.create("some", _REPOSITORY)

    with pytest.raises(Invalid, match=f"can build a {next(iter(source))}; give a branch"):
        await beginning.start(pipeline.id, Cause("push"), branch=None, environment=None, **source)


async def test_retry_keeps_the_commit_and_has_a_cause_of_its_own(beginning: Beginning, queue: _Queue) -> None:
    pipeline = await _of_repository()
    job = await beginning.start(pipeline.id, Cause("push"), commit=_COMMIT)
    await Job.filter(id=job.id).update(unread=False)
    with pytest.raises(BadRequest, match="it can be retried when it has finished"):
        await beginning.retry(job.id, Cause("anna"))
    await claims.claim()
    await jobs.finish(job.id, "failed", "some reason")
    queue.told = 0

    again = await jobs.existing((await beginning.retry(job.id, Cause("anna"))).id)

    assert (again.retry_of, again.commit, again.started_by) == (job.id, _COMMIT, "anna")
    assert queue.told > 0


async def test_builds_that_wait_are_bounded_for_each_cause(beginning: Beginning, queue: _Queue) -> None:
    pipeline = await pipelines.create("some", _REPOSITORY)
    for _ in range(2):
        await beginning.start(pipeline.id, Cause("push"))

    with pytest.raises(TooManyRequests):
        await beginning.start(pipeline.id, Cause("push"))

    queue.told = 0
    await beginning.start(pipeline.id, Cause("schedule"))
    assert queue.told > 0


async def test_what_is_not_there_can_not_begin(beginning: Beginning) -> None:
    with pytest.raises(NotFound, match="there is no pipeline 7"):
        await beginning.start(7, Cause("api"))
    with pytest.raises(NotFound, match="there is no job 7"):
        await beginning.retry(7, Cause("api"))
