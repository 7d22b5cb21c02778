"""Answers with jobs, each with what it waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from quart import Response

from rapidflow_web.api import representations
from rapidflow_web.api.lists import list_response
from rapidflow_web.api.query_schemas import Page
from rapidflow_web.builds.waiting import running_before
from rapidflow_web.db.job_lists import JobRow
from rapidflow_web.db.models import Job
from rapidflow_web.web.responses import json_response


async def one(job: Job, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A job."""
    return json_response(representations.job(job, await running_before([job])), status, headers)


async def begun(job: Job) -> Response:
    """A job that the request has begun."""
    return await one(job, 201, {"Location": f"/jobs/{job.id}"})


async def listed(found: Sequence[JobRow], page: Page) -> Response:
    """A page of jobs; `found` has one more than belong on it where there are more."""
    running = await running_before(found)
    return list_response(found, page, lambda row: representations.job(row, running))
