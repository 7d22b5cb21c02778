"""What is known of a stored job when filters and conditions are judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from rapidflow_web.db import jobs
from rapidflow_web.db.models import Job
from rapidflow_web.pipeline.triggers import Facts

_TAGS = "refs/tags/"


async def facts_of(job: Job, pipeline: str) -> Facts:
    """The facts of a job of the pipeline of this name. Which files have changed is not among them."""
    request = job.pull_request or {}
    return Facts(
        event=await _event(job),
        ref=job.ref,
        branch=job.branch,
        tag=(job.ref or "").partition(_TAGS)[2] or None,
        target=cast("str | None", request.get("target")),
        pipeline=pipeline,
        pull_request=cast("int | None", request.get("number")),
    )


def values_of(facts: Facts, cell: Mapping[str, str]) -> dict[str, str | None]:
    """What a condition can ask for, of a part with this combination of its matrix."""
    number = facts.pull_request
    return {
        "branch": facts.branch,
        "tag": facts.tag,
        "event": facts.event,
        "ref": facts.ref,
        "target": facts.target,
        "pull_request": None if number is None else str(number),
        "pipeline": facts.pipeline,
        **{f"matrix.{name}": value for name, value in cell.items()},
    }


async def _event(job: Job) -> str:
    """What started a job, or the first of those that it is a retry of."""
    while job.event == "retry" and job.retry_of is not None:
        first = await jobs.get(job.retry_of)
        if first is None:
            break  # it was pruned
        job = first
    return job.event
