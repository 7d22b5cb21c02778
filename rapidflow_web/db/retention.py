"""Queries on builds that have been finished for a while: what may go, what is at rest."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from rapidflow_web.db.database import uncancelled
from rapidflow_web.db.models import Job, Step
from rapidflow_web.db.parts import part_row
from rapidflow_web.db.sql import rows

_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Finished:
    """A build that is wholly finished. `finished_at` is in ms, `size` in bytes of its log on the disk."""

    id: int
    pipeline_id: int
    finished_at: int
    size: int


_SELECT = (
    "SELECT id, pipeline_id, finished_at, COALESCE(stored_size, log_size) + CASE WHEN parts IS NULL THEN 0 "
    "ELSE (SELECT CAST(COALESCE(SUM(COALESCE(part.stored_size, part.log_size)), 0) AS BIGINT) "
    "FROM job AS part WHERE part.lead_id = job.id) END FROM job"
)
# What ended a moment ago may still have something to do: the size of its log comes last of all.
_WHOLLY = "finished_at IS NOT NULL AND log_size IS NOT NULL"
_BUILD = f"lead_id IS NULL AND {_WHOLLY}"
"""Parts of builds go with these."""


@uncancelled
async def last_successes() -> set[int]:
    """The last successful build of each pipeline; builds of working trees do not count."""
    found = await rows(
        "SELECT (SELECT MAX(id) FROM job WHERE pipeline_id = pipeline.id AND status = 'success' "
        "AND upload_id IS NULL AND lead_id IS NULL) FROM pipeline"
    )
    return {row[0] for row in found if row[0] is not None}


@uncancelled
async def taken_over() -> set[int]:
    """The builds whose parts a retry that is still there has taken over."""
    retries = Step.filter(
        type="job", status="success", started_at__isnull=True, job__retry_of__not_isnull=True
    )
    parts = [part_row(step).job_id for step in await retries]
    found: set[int] = set()
    for start in range(0, len(parts), _BATCH):
        some = [job_id for job_id in parts[start : start + _BATCH] if job_id is not None]
        found.update(job.lead_id or 0 for job in await Job.filter(id__in=some).only("id", "lead_id"))
    return found


async def oldest_first() -> AsyncIterator[Finished]:
    """All finished builds, in the order in which they ended."""
    at, last = 0, 0
    while batch := await _after(at, last):
        for build in batch:
            yield build
        at, last = batch[-1].finished_at, batch[-1].id


@uncancelled
async def _after(at: int, last: int) -> list[Finished]:
    statement = (
        f"{_SELECT} WHERE (finished_at, id) > (?1, ?2) AND {_BUILD} ORDER BY finished_at, id LIMIT {_BATCH}"
    )
    return [Finished(*row) for row in await rows(statement, [at, last])]


@uncancelled
async def beyond(count: int) -> list[Finished]:
    """The finished builds of each pipeline without the newest `count`; those of uploads are counted apart."""
    found: list[Finished] = []
    for kind in ("upload_id IS NULL", "upload_id IS NOT NULL"):
        newest = (
            "SELECT id, (SELECT id FROM job WHERE pipeline_id = pipeline.id AND finished_at IS NOT NULL "  # noqa: S608
            f"AND lead_id IS NULL AND {kind} ORDER BY id DESC LIMIT 1 OFFSET ?1) FROM pipeline"
        )
        for pipeline_id, first_that_goes in await rows(newest, [count]):
            if first_that_goes is not None:
                statement = (
                    f"{_SELECT} WHERE pipeline_id = ?1 AND id <= ?2 AND {kind} AND {_BUILD} ORDER BY id"
                )
                found += [Finished(*row) for row in await rows(statement, [pipeline_id, first_that_goes])]
    return found


@uncancelled
async def total_size() -> int:
    """Bytes that all logs that are at rest take on the disk."""
    found = await rows("SELECT COALESCE(SUM(stored_size), 0) FROM job WHERE stored_size IS NOT NULL")
    return int(found[0][0])


@uncancelled
async def stored_logs() -> list[tuple[int, str, str | None, int]]:
    """All jobs that are wholly finished: id, status, error, and the size of the log in bytes."""
    statement = f"SELECT id, status, error, log_size FROM job WHERE {_WHOLLY}"  # noqa: S608
    return [(row[0], row[1], row[2], row[3]) for row in await rows(statement)]


@uncancelled
async def with_running_steps() -> list[tuple[int, str]]:
    """The id and status of jobs that are wholly finished, and yet have a step that is running."""
    found = await rows(
        "SELECT DISTINCT job.id, job.status FROM step JOIN job ON job.id = step.job_id "
        "WHERE step.status = 'running' AND job.finished_at IS NOT NULL AND job.log_size IS NOT NULL"
    )
    return [(row[0], row[1]) for row in found]


_ENDED = "'success', 'failed', 'cancelled'"


@uncancelled
async def sealed_but_unfinished() -> list[tuple[int, str]]:
    """The id and status of jobs whose log has ended, and that yet have not, or have a status that is none."""
    found = await rows(
        f"SELECT id, status FROM job WHERE log_size IS NOT NULL AND status NOT IN ({_ENDED}) ORDER BY id"  # noqa: S608
    )
    return [(row[0], row[1]) for row in found]


@uncancelled
async def finished_without_time() -> list[int]:
    """Jobs that have ended, at no time."""
    found = await rows(
        f"SELECT id FROM job WHERE finished_at IS NULL AND status IN ({_ENDED}) ORDER BY id"  # noqa: S608
    )
    return [row[0] for row in found]


@uncancelled
async def set_end(job_id: int, status: str, error: str | None) -> None:
    """Sets how a job ended whose row is damaged."""
    await Job.filter(id=job_id).update(status=status, error=error, cancelled=status == "cancelled")
    if await Job.filter(id=job_id, finished_at__isnull=True).exists():
        await give_a_time(job_id)


@uncancelled
async def give_a_time(job_id: int) -> None:
    """Sets when a job ended by what else is known of it."""
    steps = "SELECT MAX(finished_at) FROM step WHERE job_id = ?1"
    await rows(
        f"UPDATE job SET finished_at = COALESCE(({steps}), started_at, created_at) WHERE id = ?1",  # noqa: S608
        [job_id],
    )


@uncancelled
async def with_parts(job_ids: Sequence[int]) -> list[int]:
    """These builds and the jobs of their parts, which come first."""
    numbers = ", ".join(str(int(number)) for number in job_ids) or "NULL"
    found = await rows(f"SELECT id FROM job WHERE lead_id IN ({numbers}) ORDER BY id")  # noqa: S608
    return [*(row[0] for row in found), *job_ids]


@uncancelled
async def delete(job_ids: Sequence[int]) -> None:
    """Deletes finished builds with their steps and variables. Others are left alone."""
    await Job.filter(id__in=job_ids, finished_at__isnull=False, log_size__isnull=False).delete()


@uncancelled
async def uncompressed_logs(before: int, after: int, limit: int) -> list[int]:
    """Up to `limit` builds with ids above `after`, that ended before a time in ms, with logs not at rest."""
    statement = (
        "SELECT id FROM job WHERE stored_size IS NULL AND id > ?1 AND finished_at < ?2 "
        "AND log_size IS NOT NULL ORDER BY id LIMIT ?3"
    )
    return [row[0] for row in await rows(statement, [after, before, limit])]
