"""Forges are told how builds end, whatever they answer, and whatever happens to the server."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rapidflow_web.db import claims, jobs, outbox, pipelines, statuses
from rapidflow_web.db.database import now_ms, sqlite_url
from rapidflow_web.db.models import Job, OutboxRow, Pipeline
from rapidflow_web.db.trigger_models import CommitStatus, Repository, Upload
from rapidflow_web.notify.sender import Sender
from rapidflow_web.notify.service import LISTENERS
from rapidflow_web.notify.statuses import LISTENER, StatusMessages, StatusReports
from rapidflow_web.pipeline.definition import StepDefinition
from rapidflow_web.secrets.keys import Keys
from rapidflow_web.secrets.vault import FORGE_TOKEN, Vault
from tests.support.databases import opened
from tests.support.receiver import Receiver, Reply, Request, receiving, reply
from tests.support.server import Server, wait_for

COMMIT = "c0ffee" * 6 + "beef"
TOKEN = "a-token-of-the-forge"


@pytest.fixture
def forge() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[None]:
    async with opened(sqlite_url(tmp_path / "rapidflow.db")):
        outbox.register(LISTENERS)
        yield
        outbox.register()


async def add_pipeline(url: str, name: str = "web") -> int:
    """A pipeline of a repository at a forge; returns its id."""
    pipeline = await pipelines.create(name, f"name: {name}\nsteps: ['true']")
    at = now_ms()
    repository = await Repository.create(
        url=url, forge="gitea", default_branch="main", hook_key=url, created_at=at, updated_at=at
    )
    await Pipeline.filter(id=pipeline.id).update(repository_id=repository.id, path=".rapidflow.yml")
    return pipeline.id


async def add_job(pipeline_id: int, commit: str | None = COMMIT, **fields: object) -> int:
    pipeline = await pipelines.existing(pipeline_id)
    columns = {
        "pipeline_id": pipeline_id, "definition_id": pipeline.definition_id, "started_by": "test",
        "commit": commit, **fields,
    }  # fmt: skip
    return (await jobs.create(columns, [StepDefinition("true")], {})).id


async def build(pipeline_id: int, status: str = "success", error: str | None = None) -> int:
    """A build that ended."""
    job_id = await add_job(pipeline_id)
    await claims.begin(job_id, 1000)
    await jobs.transition(job_id, "running", status, error=error, finished_at=66_000)
    return job_id


async def token_of(repository_id: int) -> str | None:
    return TOKEN


async def all_noted() -> None:
    """Reads the outbox to its end."""
    reports = StatusReports(token_of)
    for row in await outbox.Reader(LISTENER).rows():
        await reports.note(row.job_id)
        await outbox.Reader(LISTENER).acknowledge(row)


@asynccontextmanager
async def sending() -> AsyncIterator[Sender[int]]:
    sender = Sender(StatusMessages(token_of, "https://ci.example.com"))
    statuses.wake_on_change(sender.wake)
    task = asyncio.create_task(sender.run())
    yield sender
    task.cancel()
    await asyncio.wait({task})


async def until(condition: Callable[[], object], what: str) -> None:
    for _ in range(3000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"waited in vain until {what}")


async def until_sent() -> None:
    """Waits until nothing is to be sent."""
    for _ in range(3000):
        if not await statuses.waiting():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("something is still to be sent")


def states(forge: Receiver, path: str = "") -> list[str]:
    return [request.json["state"] for request in list(forge.received) if path in request.path]


@pytest.mark.usefixtures("database")
async def test_a_forge_is_told_of_a_build_from_its_creation_to_its_end(forge: Receiver) -> None:
    pipeline = await add_pipeline(f"{forge.url}/team/web")
    async with sending():
        job_id = await add_job(pipeline)
        await all_noted()
        await until_sent()
        await claims.begin(job_id, 1000)
        await all_noted()
        await until_sent()
        await jobs.transition(
            job_id, "running", "failed", error="\nstep 2 \x1b[31mbroke\nand more", finished_at=66_000
        )
        await all_noted()
        await until_sent()
    assert {request.path for request in forge.received} == {f"/api/v1/repos/team/web/statuses/{COMMIT}"}
    assert forge.received[0].headers["authorization"] == f"token {TOKEN}"
    assert [request.json for request in forge.received] == [
        {
            "state": state,
            "context": "rapidflow/web",
            "description": description,
            "target_url": f"https://ci.example.com/ui/jobs/{job_id}",
        }
        for state, description in [
            ("pending", "Queued"), ("pending", "Running"), ("failure", "step 2 [31mbroke"),
        ]
    ]  # fmt: skip


@pytest.mark.usefixtures("database")
async def test_the_final_state_arrives_once_after_a_forge_failed_and_asked_to_wait(forge: Receiver) -> None:
    answers = itertools.chain([reply(502), reply(403, Retry_After="600")], itertools.repeat(reply(201)))
    forge.judge = lambda request: next(answers)
    pipeline = await add_pipeline(f"{forge.url}/team/web")
    await build(pipeline)
    await all_noted()
    async with sending():
        await until(lambda: len(forge.received) == 2, "it is asked again after an error")
        (repository,) = await Repository.all()
        for _ in range(6000):
            row = await CommitStatus.get()
            if row.attempts == 2:
                break
            await asyncio.sleep(0.01)
        repository = await Repository.get(id=repository.id)
        # Nothing of this repository is sent before the time that it named, not even of other commits.
        assert repository.statuses_paused_until is not None and row.next_at is not None
        assert repository.statuses_paused_until > now_ms() + 500
        assert row.error is not None and "limits API calls; the next is allowed at" in row.error
        await add_job(pipeline, commit="d" * 40)
        await all_noted()
        assert await statuses.repositories_due(now_ms()) == []
        assert await statuses.due(repository.id, now_ms()) is None
        assert len(forge.received) == 2
        await statuses.retry_now(repository.id)
        await until_sent()
    assert states(forge, COMMIT) == ["success"] * 3
    assert states(forge, "d" * 40) == ["pending"]
    row = await CommitStatus.get(commit=COMMIT)
    assert (row.sent, row.serial, row.error, row.attempts) == (1, 1, None, 0)


@pytest.mark.usefixtures("database")
async def test_a_forge_that_hangs_delays_no_other(forge: Receiver) -> None:
    forge.judge = lambda request: forge.hang() if "/slow/" in request.path else reply(201)
    slow = [await add_pipeline(f"{forge.url}/slow/{number}") for number in range(3)]
    quick = await add_pipeline(f"{forge.url}/team/quick")
    for pipeline in (*slow, slow[0], quick):
        await build(pipeline)
    await add_job(slow[0], commit="e" * 40)
    await all_noted()
    async with sending():
        await until(lambda: len(forge.received) == 4, "each is asked once")
        assert states(forge, "/quick/") == ["success"]
        await build(quick, "failed")
        await all_noted()
        await until(lambda: states(forge, "/quick/") == ["success", "failure"], "it is told the next one")
        # One call at a time to each of those that hang.
        assert len(states(forge, "/slow/")) == 3


@pytest.mark.usefixtures("database")
async def test_what_changes_while_a_forge_is_down_is_sent_once(forge: Receiver) -> None:
    down = True
    taken: list[str] = []

    def judge(request: Request) -> Reply:
        if down:
            return reply(503)
        taken.append(request.json["state"])
        return reply(201)

    forge.judge = judge
    pipeline = await add_pipeline(f"{forge.url}/team/web")
    job_id = await add_job(pipeline)
    await all_noted()
    async with sending():
        await until(lambda: forge.received, "it is asked")
        await claims.begin(job_id, 1)
        await all_noted()
        await jobs.transition(job_id, "running", "success", finished_at=2)
        await all_noted()
        down = False
        await until_sent()
    assert taken == ["success"]


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.usefixtures("database")
async def test_a_refused_token_is_shown_and_the_new_one_is_used(forge: Receiver, status: int) -> None:
    forge.judge = lambda request: reply(status)
    pipeline = await add_pipeline(f"{forge.url}/team/web")
    for _ in range(5):
        await build(pipeline)
    await add_job(pipeline, commit="d" * 40)
    await all_noted()
    async with sending():
        await until(lambda: forge.received, "it is asked")
        for _ in range(500):
            repository = await Repository.get()
            if repository.statuses_paused_until is not None:
                break
            await asyncio.sleep(0.01)
        assert repository.statuses_paused_until is not None
        assert repository.statuses_paused_until > now_ms() + 3_000_000
        assert "token" in (await statuses.error_of(repository.id) or "")
        assert len(forge.received) == 1
        forge.judge = lambda request: reply(201)
        await statuses.retry_now(repository.id)
        await until_sent()
    assert states(forge, COMMIT)[-1] == "success"
    assert await statuses.error_of(repository.id) is None


@pytest.mark.usefixtures("database")
async def test_a_commit_that_a_forge_does_not_know_holds_no_other(forge: Receiver) -> None:
    forge.judge = lambda request: reply(422 if COMMIT in request.path else 201)
    pipeline = await add_pipeline(f"{forge.url}/team/web")
    await build(pipeline)
    await add_job(pipeline, commit="d" * 40)
    await all_noted()
    async with sending():
        await until_sent()
    assert len(states(forge, COMMIT)) == len(states(forge, "d" * 40)) == 1
    row = await CommitStatus.get(commit=COMMIT)
    assert (row.sent, row.next_at) == (0, None) and row.error is not None


@pytest.mark.usefixtures("database")
async def test_nothing_is_queued_without_a_token_a_commit_a_forge_or_a_repository(forge: Receiver) -> None:
    pipeline = await add_pipeline(f"{forge.url}/team/web")
    stored = await pipelines.create("stored", "name: stored\nsteps: ['true']")

    async def none(repository_id: int) -> str | None:
        return None

    await StatusReports(none).note(await build(pipeline))
    reports = StatusReports(token_of)
    await reports.note(await build(stored.id))
    job_id = await add_job(pipeline)
    await Job.filter(id=job_id).update(commit=None)
    await reports.note(job_id)
    await Repository.all().update(forge="git")
    await reports.note(await build(pipeline))
    await reports.note(999)
    assert await CommitStatus.all().count() == 0


@pytest.mark.usefixtures("database")
async def test_a_token_that_cannot_be_read_is_said_on_the_repository(forge: Receiver, tmp_path: Path) -> None:
    pipeline = await add_pipeline(f"{forge.url}/team/web")
    (repository,) = await Repository.all()
    vault = Vault(Keys(tmp_path, ()))
    await vault.put_of_repository(repository.id, FORGE_TOKEN, TOKEN, "test")
    (tmp_path / "secrets.key").unlink()

    async def unreadable(repository_id: int) -> str | None:
        return await vault.of_repository(repository_id, FORGE_TOKEN)

    await StatusReports(unreadable).note(await build(pipeline))
    messages = StatusMessages(unreadable, "")
    assert await messages.send_next(repository.id)
    assert "key" in (await statuses.error_of(repository.id) or "")
    assert forge.received == []


def test_a_build_of_a_killed_server_ends_at_the_forge_once(
    forge: Receiver, new_server: Callable[..., Server], tmp_path: Path
) -> None:
    server = new_server(executor="process").start()
    pipeline = server.pipeline(
        {"name": "web", "steps": [f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done"]}
    )
    first = server.start_build(pipeline)
    assert server.post(f"/jobs/{first}/cancel").status == 200
    server.stop()
    asyncio.run(_connect(server, pipeline, f"{forge.url}/team/web"))
    server.sql('UPDATE job SET "commit" = ? WHERE id = ?', COMMIT, first)
    # The forge takes the end, and the server is killed before it hears that.
    forge.judge = lambda request: forge.hang() if request.json["state"] == "success" else reply(201)
    server.start()
    job_id = server.post(f"/jobs/{first}/retry").json["id"]
    wait_for(lambda: "pending" in states(forge), "the forge is told that it waits or runs")
    server.kill()
    server.start()
    (tmp_path / "go").touch()
    server.wait_finished(job_id)
    wait_for(lambda: "success" in states(forge), "the forge is told")
    server.kill()
    forge.judge = lambda request: reply(201)
    server.start()
    wait_for(lambda: states(forge).count("success") == 2, "the forge is told again")
    server.stop()
    server.start()
    server.stop()
    assert states(forge)[-1] == "success" and states(forge).count("success") == 2


async def _connect(server: Server, pipeline_id: int, url: str) -> None:
    """Makes a pipeline of a stopped server one of a repository."""
    async with opened(sqlite_url(server.data / "rapidflow.db")):
        at = now_ms()
        repository = await Repository.create(
            url=url, forge="gitea", default_branch="main", hook_key="key", created_at=at, updated_at=at
        )
        await Pipeline.filter(id=pipeline_id).update(repository_id=repository.id)
        vault = Vault(Keys(server.data, ()))
        await vault.put_of_repository(repository.id, FORGE_TOKEN, TOKEN, "test")
        assert await OutboxRow.all().count() == 0


@pytest.mark.usefixtures("database")
async def test_a_status_that_the_server_fails_to_send_is_tried_again_later(forge: Receiver) -> None:
    await build(await add_pipeline(f"{forge.url}/team/web"))
    await all_noted()

    async def no_token(repository_id: int) -> str | None:
        raise KeyError(repository_id)

    messages = StatusMessages(no_token, "https://ci.example.com")
    (lane,) = await messages.lanes(now_ms())
    assert await messages.send_next(lane)
    row = await CommitStatus.get()
    assert row.error == "the server failed to send it: KeyError" and row.attempts == 1
    assert (await messages.lanes(row.changed_at)) == []
    assert row.description == "Succeeded in 1m05s"


@pytest.mark.usefixtures("database")
async def test_build_whose_commit_is_found_later_is_queued_at_the_forge(forge: Receiver) -> None:
    pipeline = await add_pipeline(f"{forge.url}/team/web")
    job_id = await add_job(pipeline, commit=None, unread=True)
    await all_noted()
    assert await CommitStatus.all().count() == 0
    assert await jobs.define(job_id, None, {}, commit=COMMIT, approval="waiting")
    await all_noted()
    (status,) = await CommitStatus.all()
    assert (status.commit, status.state, status.description) == (COMMIT, "pending", "Waits for an approval")


@pytest.mark.usefixtures("database")
async def test_change_that_an_earlier_version_stored_of_a_working_tree_is_not_told(forge: Receiver) -> None:
    pipeline = await add_pipeline(f"{forge.url}/team/web")
    upload = await Upload.create(pipeline_id=pipeline, owner="", size=1, created_at=now_ms())
    job_id = await add_job(pipeline, upload_id=upload.id)
    await OutboxRow.create(listener=LISTENER, job_id=job_id, status="pending", at=now_ms())
    await all_noted()
    assert await CommitStatus.all().count() == 0


@pytest.mark.usefixtures("database")
async def test_a_clock_that_is_set_back_keeps_nothing_from_being_sent(
    forge: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = now_ms()
    pipeline = await add_pipeline(f"{forge.url}/team/web")
    monkeypatch.setattr("rapidflow_web.notify.sender.now_ms", lambda: at + 3600_000)
    async with sending() as sender:
        await build(pipeline)
        await all_noted()
        await until_sent()
        # It failed while the clock was ahead.
        await CommitStatus.all().update(next_at=at + 7200_000, attempts=1, sent=0)
        monkeypatch.undo()
        sender.wake()
        await until_sent()
    assert states(forge) == ["success", "success"]
