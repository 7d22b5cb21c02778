"""Queries that only the dashboard asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tortoise.functions import Count, Lower

from rapidflow_web.db.database import uncancelled
from rapidflow_web.db.models import Job, Pipeline, Step
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
    rows = (
        await Pipeline.filter(deleted_at__isnull=True, **current().filters("id"))
        .annotate(lower=Lower("definition__name"))
        .order_by("lower", "id")
        .offset(offset)
        .limit(limit)
        .values_list("id", "definition__name", "restricted")
    )
    return [PipelineName(*row) for row in rows]
