"""Every change of a build's status is stored together with what its listeners are told, and counted once."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from tortoise import connections
from tortoise.exceptions import OperationalError

from rapidflow_web.builds.ending import Ending
from rapidflow_web.db import claims, job_steps, jobs, outbox, pipelines
from rapidflow_web.db.database import now_ms, sqlite_url
from rapidflow_web.db.models import Pipeline, Step
from rapidflow_web.db.sql import rows
from rapidflow_web.db.trigger_models import Repository, Upload
from rapidflow_web.logs.log import LogStore
from rapidflow_web.notify.service import LISTENERS
from rapidflow_web.pipeline.definition import StepDefinition
from rapidflow_web.secrets.keys import Keys
from rapidflow_web.secrets.vault import Vault
from tests.support.databases import opened
from tests.support.logs import everything

# The database refuses to store a row of the outbox.
_REFUSE = {
    "sqlite": [
        "CREATE TRIGGER refuse BEFORE INSERT ON outbox BEGIN SELECT RAISE(ABORT, 'refused'); END",
    ],
    "postgres": [
        "CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN RAISE 'refused'; END $$ LANGUAGE plpgsql",
        "CREATE TRIGGER refuse BEFORE INSERT ON outbox FOR EACH ROW EXECUTE FUNCTION refuse()",
    ],
}

# Starts and ends builds until it is killed; says when it has ended some.
_CHURN = """
import asyncio, sys
from rapidflow_web.db import claims, jobs, outbox, pipelines
from rapidflow_web.db.database import open_database
from rapidflow_web.pipeline.definition import StepDefinition

async def churn():
    outbox.register({"notify": "TRUE", "reports": "TRUE"})
    await open_database(sys.argv[1])
    pipeline = await pipelines.create("churned", "name: churned\\nsteps: ['true']")
    fields = {"pipeline_id": pipeline.id, "definition_id": pipeline.definition_id, "started_by": "test"}
    while True:
        job = await jobs.create(fields, [StepDefinition("true")], {})
        if job.id % 3 == 0:
            await jobs.cancel_pending(job.id)
        else:
            await claims.claim()
            await jobs.finish(job.id, "success", None)
        print(job.id, flush=True)

asyncio.run(churn())
"""


@pytest.fixture(params=["sqlite", "postgres"])
async def database(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """A database without listeners; gives its dialect."""
    dialect: str = request.param
    url = (
        sqlite_url(tmp_path / "rapidflow.db")
        if dialect == "sqlite"
        else request.getfixturevalue("postgres").url
    )
    async with opened(url):
        yield dialect
        outbox.register()
        if dialect == "postgres":
            await connections.get("default").execute_script("DROP FUNCTION IF EXISTS refuse CASCADE")
            await connections.get("default").execute_script("TRUNCATE pipeline CASCADE")


@pytest.fixture
def logs(tmp_path: Path) -> LogStore:
    return LogStore(tmp_path / "logs")


@pytest.fixture
def ending(tmp_path: Path, logs: LogStore) -> Ending:
    return Ending(Vault(Keys(tmp_path, ())), logs, tmp_path / "strays")


async def pending() -> int:
    """A job that waits."""
    pipeline = await pipelines.create("some", "name: some\nsteps: ['true']")
    fields = {"pipeline_id": pipeline.id, "definition_id": pipeline.definition_id, "started_by": "test"}
    return (await jobs.create(fields, [StepDefinition("true")], {})).id


async def running() -> int:
    """A job that was claimed, and whose step runs."""
    job_id = await pending()
    job = await claims.claim()
    assert job is not None and job.id == job_id
    await job_steps.begin((await job_steps.of_job(job_id))[0].id, 1)
    return job_id


async def steps_of(job_id: int) -> list[tuple[object, ...]]:
    return [
        (step.status, step.started_at, step.finished_at, step.exit_code, step.longest_silence)
        for step in await job_steps.of_job(job_id)
    ]


async def stored(listener: str = "notify") -> list[tuple[int, str]]:
    return [(row.job_id, row.status) for row in await outbox.Reader(listener).rows()]


def counted() -> dict[str, float]:
    """How many builds ended, by result."""
    results = ("success", "failed", "cancelled")
    return {one: REGISTRY.get_sample_value("rapidflow_builds_total", {"result": one}) or 0 for one in results}


def since(before: dict[str, float]) -> dict[str, float]:
    return {result: count - before[result] for result, count in counted().items() if count != before[result]}


@pytest.mark.usefixtures("database")
async def test_each_change_of_a_status_is_stored_once_for_each_listener(ending: Ending) -> None:
    outbox.register({"notify": "TRUE", "reports": "TRUE"})
    good, bad, stopped = await running(), await running(), await running()
    waited = await pending()
    await ending.ended(good, "success")
    await ending.ended(bad, "failed", "it broke")
    assert await jobs.request_cancel(stopped)
    await ending.ended(stopped, "success")
    assert await ending.cancelled_before_start(waited)
    assert not await ending.cancelled_before_start(waited)
    await ending.ended(good, "failed", "a second end")
    expected = [
        (good, "pending"), (good, "running"), (bad, "pending"), (bad, "running"), (stopped, "pending"),
        (stopped, "running"), (waited, "pending"), (good, "success"), (bad, "failed"), (stopped, "cancelled"),
        (waited, "cancelled"),
    ]  # fmt: skip
    assert await stored("notify") == expected
    assert await stored("reports") == expected


@pytest.mark.usefixtures("database")
async def test_nothing_is_stored_without_listeners(ending: Ending) -> None:
    await ending.ended(await running(), "success")
    await ending.cancelled_before_start(await pending())
    assert list(await rows("SELECT id FROM outbox")) == []


async def test_a_status_does_not_change_where_its_listeners_cannot_be_told(database: str) -> None:
    outbox.register({"notify": "TRUE"})
    job_id, waits = await running(), await pending()
    for statement in _REFUSE[database]:
        await connections.get("default").execute_script(statement)
    with pytest.raises(Exception, match="refused"):
        await jobs.transition(job_id, "running", "failed", error="it broke")
    with pytest.raises(Exception, match="refused"):
        await jobs.cancel_pending(waits)
    job, waiting = await jobs.get(job_id), await jobs.get(waits)
    assert job is not None and (job.status, job.error) == ("running", None)
    assert waiting is not None and (waiting.status, waiting.cancelled) == ("pending", False)
    assert await stored() == [(job_id, "pending"), (job_id, "running"), (waits, "pending")]


async def test_a_kill_never_separates_a_status_from_what_the_listeners_are_told(tmp_path: Path) -> None:
    url = sqlite_url(tmp_path / "killed.db")
    churn = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CHURN, url, stdout=asyncio.subprocess.PIPE
    )
    assert churn.stdout is not None
    while int(await churn.stdout.readline()) < 60:
        pass
    churn.kill()
    await churn.communicate()
    assert churn.returncode == -signal.SIGKILL
    async with opened(url):
        told: dict[str, dict[int, list[str]]] = {"notify": {}, "reports": {}}
        for listener, job_id, status in await rows("SELECT listener, job_id, status FROM outbox ORDER BY id"):
            told[listener].setdefault(job_id, []).append(status)
        paths = {
            "pending": ["pending"], "running": ["pending", "running"],
            "success": ["pending", "running", "success"], "cancelled": ["pending", "cancelled"],
        }  # fmt: skip
        found = await rows("SELECT id, status FROM job ORDER BY id")
        assert len(found) >= 60
        for changes in told.values():
            assert {job_id: changes.get(job_id, []) for job_id, _ in found} == {
                job_id: paths[status] for job_id, status in found
            }


@pytest.mark.usefixtures("database")
async def test_a_build_whose_log_cannot_be_sealed_at_first_counts_once(
    ending: Ending, logs: LogStore
) -> None:
    outbox.register({"notify": "TRUE"})
    before = counted()
    job_id = await running()
    logs.path(job_id).mkdir(parents=True)
    for _ in range(3):
        with pytest.raises(OSError):
            await ending.ended(job_id, "failed", "it broke")
    job = await jobs.get(job_id)
    assert job is not None and (job.status, job.log_size) == ("failed", None)
    logs.path(job_id).rmdir()
    # A later try gives another reason; the first one stays.
    await ending.ended(job_id, "failed", "the log broke")
    await ending.seal(job_id)
    job = await jobs.get(job_id)
    assert job is not None and (job.error, job.log_size) == ("it broke", logs.open(job_id).size)
    assert since(before) == {"failed": 1}
    assert await stored() == [(job_id, "pending"), (job_id, "running"), (job_id, "failed")]
    assert (await everything(logs.open(job_id))).count("it broke") == 1
    assert [step.status for step in await job_steps.of_job(job_id)] == ["failed"]


@pytest.mark.usefixtures("database")
async def test_a_build_that_was_killed_before_its_log_was_sealed_is_sealed_later(
    ending: Ending, logs: LogStore
) -> None:
    outbox.register({"notify": "TRUE"})
    job_id = await running()
    await jobs.finish(job_id, "success", None)
    assert [job.id for job in await jobs.unsealed()] == [job_id]
    before = counted()
    await ending.seal(job_id)
    await ending.seal(job_id)
    assert await jobs.unsealed() == []
    assert logs.open(job_id).sealed
    assert since(before) == {}
    assert await stored() == [(job_id, "pending"), (job_id, "running"), (job_id, "success")]


@pytest.mark.usefixtures("database")
async def test_a_listener_is_woken_and_reads_what_it_has_not_acknowledged() -> None:
    outbox.register({"notify": "TRUE", "reports": "TRUE"})
    reader = outbox.Reader("notify")
    waits = asyncio.ensure_future(reader.next())
    await asyncio.sleep(0)
    job_id = await running()
    first = (await waits)[0]
    await jobs.finish(job_id, "success", None)
    assert [row.status for row in await reader.next()] == ["pending", "running", "success"]
    assert [row.status for row in await reader.next(limit=1)] == ["pending"]
    await reader.acknowledge(first)
    await reader.acknowledge(first)
    # As after a restart.
    outbox.register({"notify": "TRUE", "reports": "TRUE"})
    assert [row.status for row in await outbox.Reader("notify").next()] == ["running", "success"]
    assert len(await stored("reports")) == 3


@pytest.mark.usefixtures("database")
async def test_only_jobs_that_concern_a_listener_are_stored_for_it() -> None:
    outbox.register(LISTENERS)
    now = now_ms()
    repository = await Repository.create(
        url="https://forge.example/a", forge="gitea", default_branch="main", hook_key="key", created_at=now
    )

    async def listeners_of_build(config: str, *, of_repository: bool = False, **fields: object) -> set[str]:
        pipeline = await pipelines.create("some", config)
        await Pipeline.filter(id=pipeline.id).update(repository_id=repository.id if of_repository else None)
        if "upload_id" in fields:
            upload = await Upload.create(pipeline_id=pipeline.id, owner="", size=1, created_at=now)
            fields["upload_id"] = upload.id
        columns = {"pipeline_id": pipeline.id, "definition_id": pipeline.definition_id, "started_by": "test"}
        job = await jobs.create({**columns, **fields}, [StepDefinition("true")], {})
        assert job.id == (await claims.claim() or job).id
        await jobs.finish(job.id, "failed", "broken")
        found = await rows("SELECT listener, status FROM outbox WHERE job_id = ?1 ORDER BY id", [job.id])
        told = {name: [status for listener, status in found if listener == name] for name, _ in found}
        assert told.get("statuses", changes) == changes and told.get("notifications", ["failed"]) == [
            "failed"
        ]
        return set(told)

    changes = ["pending", "running", "failed"]
    plain, telling = "steps: ['true']", "steps: ['true']\nnotify: [{mail: a@example.com}]"
    assert await listeners_of_build(plain) == set()
    assert await listeners_of_build(plain, commit="0" * 40) == set()
    assert await listeners_of_build(plain, of_repository=True) == set()
    assert await listeners_of_build(plain, of_repository=True, commit="0" * 40) == {"statuses"}
    assert await listeners_of_build(plain, of_repository=True, commit="0" * 40, upload_id=0) == set()
    assert await listeners_of_build(telling) == {"notifications"}
    assert await listeners_of_build('"\\x6eotify": [{mail: a@example.com}]') == {"notifications"}
    assert await listeners_of_build(telling, untrusted=True) == set()
    assert await listeners_of_build(telling, upload_id=0) == set()
    both = await listeners_of_build(telling, of_repository=True, commit="0" * 40)
    assert both == {"notifications", "statuses"}


async def test_a_step_ends_as_the_next_begins(database: str) -> None:
    pipeline = await pipelines.create("some", "name: some\nsteps: ['true']")
    fields = {"pipeline_id": pipeline.id, "definition_id": pipeline.definition_id, "started_by": "test"}
    job = await jobs.create(fields, [StepDefinition("true")] * 3, {})
    first, second, third = (step.id for step in await job_steps.of_job(job.id))
    await job_steps.begin(first, 10)
    waits = ("pending", None, None, None, None)
    for _ in range(2):  # safe to call again
        await job_steps.end(first, "failed", 3, 20, 5, second)
        assert await steps_of(job.id) == [("failed", 10, 20, 3, 5), ("running", 20, None, None, None), waits]
    await job_steps.end(second, "cancelled", None, 30)
    assert (await steps_of(job.id))[1:] == [("cancelled", 20, 30, None, None), waits]
    # What has ended does not begin again.
    await job_steps.end(third, "success", 0, 40, 0, second)
    assert (await steps_of(job.id))[1:] == [("cancelled", 20, 30, None, None), waits]


async def test_a_build_is_read_again_when_the_database_is_back(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await jobs.existing(await pending())
    errors = [OperationalError("away"), ConnectionRefusedError()]
    read = Step.raw

    def away(statement: str) -> Any:
        if errors:
            raise errors.pop()
        return read(statement)

    monkeypatch.setattr(Step, "raw", away)
    monkeypatch.setattr("rapidflow_web.db.database._RETRY_SECONDS", 0.01)
    steps, _ = await jobs.load(job)
    assert [step.job_id for step in steps] == [job.id] and not errors
