"""Which job begins next, and how it begins: no two of a concurrency group run at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tortoise.transactions import in_transaction

from rapidflow_web.db import jobs, outbox
from rapidflow_web.db.database import now_ms, uncancelled
from rapidflow_web.db.models import Job
from rapidflow_web.db.sql import changed, dialect, rows

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
# Within a group, they come in the order of their numbers, builds of several jobs and others alike; parts
# whose own lead has the group wait for nobody that waits for it.
_IN_TURN = """(concurrency_group IS NULL OR EXISTS (
    SELECT 1 FROM job AS lead WHERE lead.id = job.lead_id AND lead.concurrency_group = job.concurrency_group
) OR NOT EXISTS (
    SELECT 1 FROM job AS other
    WHERE other.status = 'pending' AND other.concurrency_group = job.concurrency_group
    AND other.id < job.id AND other.priority >= job.priority
    AND NOT other.cancelled AND NOT other.unread AND other.superseded_by IS NULL
    AND (other.approval IS NULL OR other.approval <> 'waiting')
))"""
# The oldest that can begin, and whether it may be another's turn: lead jobs, which begin without a slot, and
# parts of builds are among those that wait.
_OLDEST = f"""SELECT (SELECT id {_READY} AND parts IS NULL ORDER BY id LIMIT 1),
EXISTS (SELECT 1 FROM job WHERE status = 'pending'
AND (lead_id IS NOT NULL OR (parts IS NOT NULL AND concurrency_group IS NOT NULL)))"""  # noqa: S608


# With parts of builds among them, the build that has the fewest running comes first.
def _fair(condition: str = "") -> str:
    return f"""SELECT id {_READY} AND parts IS NULL{condition} AND {_IN_TURN}
ORDER BY priority DESC, CASE WHEN lead_id IS NULL THEN 0 ELSE (
    SELECT COUNT(*) FROM job AS other WHERE other.lead_id = job.lead_id AND other.status = 'running'
) END, id LIMIT 1"""  # noqa: S608


_FAIR = _fair()


@uncancelled
async def claim() -> Job | None:
    """Takes the oldest pending job, which is running from now on; None if there is none."""
    while True:
        job_id, has_others = (await rows(_OLDEST))[0]
        if job_id is not None and has_others:
            found = await rows(_FAIR)
            job_id = found[0][0] if found else None
        job = await jobs.unchecked(job_id) if job_id is not None else None
        if job is None:
            return None
        now = now_ms()
        if await begin(job.id, now):
            job.status, job.started_at = "running", now
            return job


@uncancelled
async def wanted_nodes() -> list[str | None]:
    """The labels that jobs which may wait for a node ask for, each combination once."""
    statement = "SELECT DISTINCT on_node FROM job WHERE status = 'pending' AND parts IS NULL"
    return [row[0] for row in await rows(statement)]


@uncancelled
async def claim_on_node(
    on_nodes: Sequence[str | None], place: Callable[[str | None, str | None], tuple[str, str] | None]
) -> Job | None:
    """As `claim`, among the jobs that ask for one of these combinations of labels.

    `place` gives the id and the name of the node for such labels and an image, which is None where it is not
    known yet. They are stored as the job begins: before anything of it can be on the node.
    """
    while True:
        marks = ", ".join(f"?{number}" for number in range(1, len(on_nodes) + 1))
        statement = _fair(f" AND COALESCE(on_node, '') IN ({marks})")
        found = await rows(statement, [one or "" for one in on_nodes])
        job = await jobs.unchecked(found[0][0]) if found else None
        node = place(job.on_node, job.image) if job is not None else None
        if job is None or node is None:
            return None
        now = now_ms()
        if await begin(job.id, now, node=node[0], node_name=node[1]):
            job.status, job.started_at = "running", now
            job.node, job.node_name = node
            return job


@uncancelled
async def begin(job_id: int, at: int, **fields: Any) -> bool:
    """Has a job run from now on, if nothing is in its way; False where something is. `at` is in ms.

    `fields` are further columns that it has from then on.
    """
    async with in_transaction():
        if dialect() == "postgres":
            # Of two jobs of a concurrency group, transactions there might begin both.
            await rows(f"SELECT pg_advisory_xact_lock({_CLAIMING_LOCK})")
        values = {"started_at": at, **fields}
        more = "".join(f", {name} = ?{number}" for number, name in enumerate(values, 2))
        # Status and cancel are asked for twice: what another transaction changes meanwhile, PostgreSQL only
        # sees in the row itself.
        statement = (
            f"UPDATE job SET status = 'running'{more} WHERE id = ?1 AND status = 'pending' AND NOT cancelled "  # noqa: S608
            f"AND id IN (SELECT id {_READY} AND id = ?1 AND {_IN_TURN})"
        )
        if not await changed(statement, [job_id, *values.values()]):
            return False
        if outbox.has_listeners():
            await outbox.add(job_id, "running")
    outbox.wake(job_id)
    return True


@uncancelled
async def parts_behind_leads() -> list[tuple[int, int, int]]:
    """The parts that wait for the concurrency group of another build of several jobs, which runs.

    Each is the lead job of the part, the job of the part, and the lead job that has the group.
    """
    found = await rows(
        "SELECT job.lead_id, job.id, other.id FROM job JOIN job AS other ON other.status = 'running' "
        "AND other.concurrency_group = job.concurrency_group AND other.id <> job.lead_id "
        "WHERE job.status = 'pending' AND job.lead_id IS NOT NULL AND other.parts IS NOT NULL "
        "AND NOT job.cancelled AND NOT other.cancelled ORDER BY job.id"
    )
    return [(row[0], row[1], row[2]) for row in found]


@uncancelled
async def leads() -> list[tuple[int, str]]:
    """The lead jobs that wait or run, with their status, the oldest first. They take no slot."""
    found = await rows(
        "SELECT id, status FROM job WHERE status IN ('pending', 'running') AND parts IS NOT NULL ORDER BY id"
    )
    return [(row[0], row[1]) for row in found]
