"""Answers with jobs, each with what it waits for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from quart import Response

from rapidflow_web.api import representations
from rapidflow_web.api.lists import list_response
from rapidflow_web.api.query_schemas import Page
from rapidflow_web.builds.waiting import running_before
from rapidflow_web.db.job_lists import JobRow
from rapidflow_web.db.models import Job
from rapidflow_web.web.responses import json_response
from rapidflow_web.web.services import services


async def one(job: Job, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A job."""
    return json_response(await described(job), status, headers)


async def described(job: Job) -> dict[str, Any]:
    """A job as answers have it."""
    return representations.job(job, await running_before([job]), services().queue.reason)


async def begun(job: Job) -> Response:
    """A job that the request has begun."""
    return await one(job, 201, {"Location": f"/jobs/{job.id}"})


async def listed(found: Sequence[JobRow], page: Page) -> Response:
    """A page of jobs; `found` has one more than belong on it where there are more."""
    running, reason = await running_before(found), services().queue.reason
    return list_response(found, page, lambda row: representations.job(row, running, reason))
