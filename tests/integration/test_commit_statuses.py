"""What forges are to show at commits, as it is stored: the newest build counts, and nothing is sent twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tortoise import connections

from rapidflow_web.db import statuses
from rapidflow_web.db.database import now_ms, sqlite_url
from rapidflow_web.db.trigger_models import CommitStatus, Repository
from tests.support.databases import opened

COMMIT = "a" * 40
_HOUR = 3600 * 1000


@pytest.fixture(params=["sqlite", "postgres"])
async def repository(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[int]:
    """The id of a repository in an open database."""
    on_sqlite = request.param == "sqlite"
    url = sqlite_url(tmp_path / "rapidflow.db") if on_sqlite else request.getfixturevalue("postgres").url
    async with opened(url):
        yield await new_repository("first")
        statuses.wake_on_change(lambda: None)
        if not on_sqlite:
            await connections.get("default").execute_script("TRUNCATE repository CASCADE")


async def new_repository(key: str) -> int:
    at = now_ms()
    row = await Repository.create(
        url=f"https://git.example.com/{key}", forge="gitea", default_branch="main", hook_key=key,
        created_at=at, updated_at=at,
    )  # fmt: skip
    return row.id


async def report(
    repository: int, state: str, job_id: int | None, *, words: str = "", name: str = "a"
) -> None:
    await statuses.report(repository, COMMIT, statuses.context_of(name), state, words, job_id, 7)


async def only() -> CommitStatus:
    return await CommitStatus.get()


async def test_each_change_is_sent_and_a_repetition_is_not(repository: int) -> None:
    woken: list[None] = []
    statuses.wake_on_change(lambda: woken.append(None))
    await report(repository, "pending", 3)
    await report(repository, "pending", 3)
    first = await only()
    assert (first.context, first.state, first.serial, first.sent) == ("rapidflow/a", "pending", 1, 0)
    assert first.next_at is not None and woken
    await statuses.sent(first.id, 1)
    assert await statuses.due(repository, now_ms()) is None
    await report(repository, "pending", 3)
    assert await statuses.due(repository, now_ms()) is None
    await report(repository, "success", 3)
    assert (await only()).serial == 2
    assert await statuses.repositories_due(now_ms()) == [repository]


async def test_what_changed_while_it_was_sent_is_sent_again(repository: int) -> None:
    await report(repository, "running", 3)
    row = await only()
    await report(repository, "failure", 3)
    await statuses.sent(row.id, row.serial)
    now = await statuses.due(repository, now_ms())
    assert now is not None and (now.state, now.serial, now.sent) == ("failure", 2, 1)
    # The same with one that could not be told.
    await statuses.failed(row.id, row.serial, "away", now_ms() + 60_000)
    assert await statuses.due(repository, now_ms()) is not None


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        ([("success", 5), ("pending", 4), ("failure", 4)], ("success", 5)),
        ([("failure", 4), ("pending", 5)], ("pending", 5)),
        ([("failure", 4), ("failure", 5)], ("failure", 5)),
        ([("failure", 4), ("success", None)], ("failure", 4)),
        ([("success", None), ("pending", 4)], ("pending", 4)),
    ],
)
async def test_of_several_builds_of_a_commit_the_newest_counts(
    repository: int, reports: list[tuple[str, int | None]], expected: tuple[str, int]
) -> None:
    for state, job_id in reports:
        await report(repository, state, job_id)
    row = await only()
    assert (row.state, row.job_id) == expected


async def test_a_pipeline_that_is_renamed_ends_the_status_that_it_began(repository: int) -> None:
    await report(repository, "pending", 3, name="old")
    await report(repository, "success", 3, name="new")
    row = await only()
    assert (row.context, row.state) == ("rapidflow/old", "success")


async def test_a_pause_holds_one_repository_and_no_other(repository: int) -> None:
    other = await new_repository("second")
    await report(repository, "pending", 3)
    await report(other, "pending", 4)
    now = now_ms()
    await statuses.pause(repository, now + 60_000)
    assert await statuses.repositories_due(now) == [other]
    assert await statuses.due(repository, now) is None
    assert await statuses.next_after(now) == now + 60_000
    assert sorted(await statuses.repositories_due(now + 60_000)) == [repository, other]


async def test_a_new_token_sends_what_was_given_up_a_moment_ago(repository: int) -> None:
    await report(repository, "success", 3)
    row = await only()
    await statuses.failed(row.id, row.serial, "the token was refused", None)
    await statuses.pause(repository, now_ms() + 3_600_000)
    assert await statuses.waiting() == 0
    assert await statuses.error_of(repository) == "the token was refused"
    await statuses.retry_now(repository)
    assert await statuses.due(repository, now_ms()) is not None
    await statuses.sent(row.id, row.serial)
    assert await statuses.error_of(repository) is None


async def test_what_is_to_be_sent_is_not_forgotten(repository: int) -> None:
    await report(repository, "success", 3)
    await statuses.forget(now_ms() + 1000)
    row = await only()
    await statuses.sent(row.id, row.serial)
    await statuses.forget(now_ms() + 1000)
    assert await CommitStatus.all().count() == 0


@pytest.mark.parametrize("everything", [True, False])
async def test_what_a_clock_that_was_ahead_has_put_off_is_due(repository: int, everything: bool) -> None:
    now = now_ms()
    rows = {
        "asked to wait": (repository, now - _HOUR),
        "ahead": (await new_repository("second"), now + _HOUR),
    }
    for repository_id, changed_at in rows.values():
        await report(repository_id, "success", 3)
        await CommitStatus.filter(repository_id=repository_id).update(
            changed_at=changed_at, next_at=now + 2 * _HOUR, attempts=1
        )
        await statuses.pause(repository_id, now + 2 * _HOUR)
    assert await statuses.repositories_due(now) == []
    await statuses.clock_was_ahead(now, everything=everything)
    expected = [rows[name][0] for name in (rows if everything else ("ahead",))]
    assert sorted(await statuses.repositories_due(now)) == expected
