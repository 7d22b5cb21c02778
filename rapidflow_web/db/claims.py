"""Which job begins next, and how it begins: no two of a concurrency group run at once."""

from __future__ import annotations

from tortoise.transactions import in_transaction

from rapidflow_web.db import jobs, outbox
from rapidflow_web.db.database import now_ms, uncancelled
from rapidflow_web.db.models import Job
from rapidflow_web.db.sql import dialect, rows

_CLAIMING_LOCK = 0x5261706A
"""Any number that nobody else takes."""

# Whether another build of a concurrency group runs is asked of the jobs themselves: nothing that is stored
# beside them could be left over by a server that was killed. The lead job of a part is no other build.
_READY = """FROM job WHERE status = 'pending' AND NOT cancelled AND NOT unread AND superseded_by IS NULL
AND (approval IS NULL OR approval <> 'waiting') AND (concurrency_group IS NULL OR NOT EXISTS (
    SELECT 1 FROM job AS other
    WHERE other.status = 'running' AND other.concurrency_group = job.concurrency_group
    AND (job.lead_id IS NULL OR other.id <> job.lead_id)
))"""
_CLAIMABLE = f"SELECT id {_READY} AND parts IS NULL ORDER BY id LIMIT 1"
_HAS_PARTS = "SELECT 1 FROM job WHERE status = 'pending' AND lead_id IS NOT NULL LIMIT 1"
# With parts of builds among them, the build that has the fewest running comes first. Within a group, they
# come in the order of their numbers; those whose own lead has the group wait for nobody that waits for it.
_FAIR = f"""SELECT id {_READY} AND parts IS NULL AND (concurrency_group IS NULL OR EXISTS (
    SELECT 1 FROM job AS lead WHERE lead.id = job.lead_id AND lead.concurrency_group = job.concurrency_group
) OR NOT EXISTS (
    SELECT 1 FROM job AS other
    WHERE other.status = 'pending' AND other.concurrency_group = job.concurrency_group
    AND other.id < job.id AND other.priority >= job.priority AND other.parts IS NULL
    AND NOT other.cancelled AND NOT other.unread AND other.superseded_by IS NULL
    AND (other.approval IS NULL OR other.approval <> 'waiting')
)) ORDER BY priority DESC, CASE WHEN lead_id IS NULL THEN 0 ELSE (
    SELECT COUNT(*) FROM job AS other WHERE other.lead_id = job.lead_id AND other.status = 'running'
) END, id LIMIT 1"""  # noqa: S608


@uncancelled
async def claim() -> Job | None:
    """Takes the oldest pending job, which is running from now on; None if there is none."""
    while True:
        found = await rows(_FAIR if await rows(_HAS_PARTS) else _CLAIMABLE)
        job = await Job.get_or_none(id=found[0][0]) if found else None
        if job is None:
            return None
        now = now_ms()
        if await begin(job.id, now):
            job.status, job.started_at = "running", now
            return job


@uncancelled
async def begin(job_id: int, at: int) -> bool:
    """Has a job run from now on, if nothing is in its way; False where something is. `at` is in ms."""
    async with in_transaction():
        if dialect() == "postgres":
            # Of two jobs of a concurrency group, transactions there might begin both.
            await rows(f"SELECT pg_advisory_xact_lock({_CLAIMING_LOCK})")
        if not await rows(f"SELECT 1 {_READY} AND id = ?1", [job_id]):
            return False
        if not await jobs.move(job_id, "pending", "running", started_at=at):
            return False
    outbox.wake(job_id)
    return True


@uncancelled
async def leads() -> list[tuple[int, str]]:
    """The lead jobs that wait or run, with their status, the oldest first. They take no slot."""
    found = await rows(
        "SELECT id, status FROM job WHERE status IN ('pending', 'running') AND parts IS NOT NULL ORDER BY id"
    )
    return [(row[0], row[1]) for row in found]
