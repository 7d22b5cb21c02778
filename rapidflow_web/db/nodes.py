"""What runs on which machine."""

from __future__ import annotations

from rapidflow_web.db.database import uncancelled
from rapidflow_web.db.sql import rows
from rapidflow_web.db.visibility import current


@uncancelled
async def running() -> dict[str, list[int]]:
    """The jobs that run on each machine, by its id, of pipelines that may be seen; the oldest first."""
    conditions = ["status = 'running'", "node IS NOT NULL", *current().conditions("pipeline_id")]
    found = await rows(f"SELECT node, id FROM job WHERE {' AND '.join(conditions)} ORDER BY id")  # noqa: S608
    jobs: dict[str, list[int]] = {}
    for node, job_id in found:
        jobs.setdefault(node, []).append(job_id)
    return jobs
