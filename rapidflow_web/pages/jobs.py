"""Pages of jobs."""

from __future__ import annotations

from typing import Any

from quart import redirect, render_template
from werkzeug.wrappers import Response as WerkzeugResponse

from rapidflow_web.db import jobs
from rapidflow_web.engine.timeline import Timeline
from rapidflow_web.errors import NotFound
from rapidflow_web.pages.blueprint import blueprint
from rapidflow_web.web.requests import identifier
from rapidflow_web.web.services import services

_TAIL_LINES = 200
_STARTED_BY = "web"


@blueprint.get("/ui/jobs/<job_id>")
async def show_job(job_id: str) -> str:
    """A job with its live log."""
    state = await _state(job_id)
    log = services().logs.open(state["job"].id)
    # For those who read without JavaScript.
    tail = await log.read(await log.tail(_TAIL_LINES, 0))
    return await render_template("job.html", tail=tail.decode("utf-8", "replace"), **state)


@blueprint.get("/ui/jobs/<job_id>/state")
async def show_job_state(job_id: str) -> str:
    """The part of a job's page that changes."""
    return await render_template("_job.html", **await _state(job_id))


@blueprint.post("/ui/jobs/<job_id>/cancel")
async def cancel_job(job_id: str) -> WerkzeugResponse:
    """Cancels a job and shows it again."""
    number = identifier(job_id, "job")
    await services().builds.cancel(number)
    return redirect(f"/ui/jobs/{number}", 303)


@blueprint.post("/ui/jobs/<job_id>/retry")
async def retry_job(job_id: str) -> WerkzeugResponse:
    """Starts a job again and shows the new one."""
    job = await services().builds.retry(identifier(job_id, "job"), started_by=_STARTED_BY)
    return redirect(f"/ui/jobs/{job.id}", 303)


async def _state(job_id: str) -> dict[str, Any]:
    number = identifier(job_id, "job")
    job = await jobs.with_definition(number)
    if job is None:
        raise NotFound(f"there is no job {number}")
    execution = services().scheduler.execution(number)
    timeline = execution.timeline if execution else Timeline(job.timeline)
    return {
        "job": job,
        "finished": job.status in jobs.FINISHED,
        "steps": await jobs.steps_of(number),
        "environment": await jobs.environment_of(number),
        "phases": timeline.phases,
    }
