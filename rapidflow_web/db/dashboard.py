"""Queries that only the dashboard asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tortoise.functions import Count

from rapidflow_web.db.database import uncancelled
from rapidflow_web.db.models import Job, Step
from rapidflow_web.db.sql import rows
from rapidflow_web.db.visibility import current


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a running build is. `step` is None before its first step."""

    steps: int
    step: int | None
    title: str


@uncancelled
async def progress(job_ids: Sequence[int]) -> dict[int, Progress]:
    """Where running builds are, by the id of the job."""
    if not job_ids:
        return {}
    counts = (
        await Step.filter(job_id__in=job_ids)
        .annotate(count=Count("id"))
        .group_by("job_id")
        .values("job_id", "count")
    )
    found = {row["job_id"]: Progress(row["count"], None, "") for row in counts}
    for step in await Step.filter(job_id__in=job_ids, status="running"):
        title = step.name or step.content.strip().partition("\n")[0]
        found[step.job_id] = Progress(found[step.job_id].steps, step.order_num, title)
    return found


@uncancelled
async def count_waiting(most: int) -> int:
    """How many jobs are pending; no more than `most` are counted."""
    waiting = Job.filter(status="pending", **current().filters("pipeline_id"))
    return len(await waiting.order_by("id").limit(most).values_list("id", flat=True))


@dataclass(frozen=True, slots=True)
class PipelineName:
    """A pipeline that is not deleted."""

    id: int
    name: str
    restricted: bool = False


@uncancelled
async def pipelines(limit: int, offset: int) -> list[PipelineName]:
    """Up to `limit` pipelines in the order of their names, without the first `offset`."""
    conditions = ["pipeline.deleted_at IS NULL", *current().conditions("pipeline.id")]
    found = await rows(
        "SELECT pipeline.id, definition.name, pipeline.restricted FROM pipeline "  # noqa: S608, no value is in it
        "JOIN definition ON definition.id = pipeline.definition_id "
        f"WHERE {' AND '.join(conditions)} ORDER BY LOWER(definition.name), pipeline.id LIMIT ?1 OFFSET ?2",
        [limit, offset],
    )
    return [PipelineName(number, name, bool(restricted)) for number, name, restricted in found]
