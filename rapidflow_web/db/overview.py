"""Queries that only pages ask."""

from __future__ import annotations

from tortoise.functions import Max

from rapidflow_web.db.database import uncancelled
from rapidflow_web.db.jobs import FINISHED
from rapidflow_web.db.models import Job


@uncancelled
async def running() -> list[Job]:
    """The jobs that run, oldest first, with their definitions."""
    return await Job.filter(status="running").order_by("id").select_related("definition")


@uncancelled
async def waiting(limit: int) -> list[Job]:
    """The next jobs to run, with their definitions."""
    return await Job.filter(status="pending").order_by("id").limit(limit).select_related("definition")


@uncancelled
async def recent(limit: int) -> list[Job]:
    """The last jobs that finished, newest first, with their definitions."""
    return await Job.filter(status__in=FINISHED).order_by("-id").limit(limit).select_related("definition")


@uncancelled
async def of_pipeline(pipeline_id: int, *, before: int | None, limit: int) -> list[Job]:
    """A pipeline's jobs, newest first, with ids below `before`."""
    query = Job.filter(pipeline_id=pipeline_id)
    if before is not None:
        query = query.filter(id__lt=before)
    return await query.order_by("-id").limit(limit)


@uncancelled
async def last_jobs() -> dict[int, Job]:
    """Each pipeline's newest job, by the id of the pipeline."""
    newest = await Job.annotate(newest=Max("id")).group_by("pipeline_id").values_list("newest", flat=True)
    return {job.pipeline_id: job for job in await Job.filter(id__in=list(newest))}
