"""Routes of jobs and their steps."""

from __future__ import annotations

from quart import Blueprint, Response

from rapidflow_web.api import render, schemas
from rapidflow_web.api.lists import link_next
from rapidflow_web.api.operation import operation
from rapidflow_web.api.pipelines import started_by
from rapidflow_web.db import jobs
from rapidflow_web.db.models import Job, Step
from rapidflow_web.engine.timeline import Timeline
from rapidflow_web.errors import NotFound
from rapidflow_web.web import requests
from rapidflow_web.web.responses import json_response
from rapidflow_web.web.services import services

blueprint = Blueprint("jobs", __name__)


@blueprint.get("/jobs")
@operation(schemas.Jobs, query=schemas.AllJobsPage, listed=True)
async def list_jobs() -> Response:
    """List the builds of all pipelines, newest first."""
    page = requests.query(schemas.AllJobsPage)
    filters = page.model_dump(include={"status", "branch", "pipeline_id"}, exclude_none=True)
    found = await jobs.listed(before=page.before, limit=page.limit, **filters)
    return json_response([render.job(row) for row in found], headers=link_next(found, page))


@blueprint.get("/jobs/<job_id>")
@operation(schemas.Job, errors=(404,))
async def get_job(job_id: str) -> Response:
    """Get a job."""
    requests.query(schemas.NoQuery)
    return json_response(render.job(await existing_job(job_id)))


@blueprint.get("/jobs/<job_id>/details")
@operation(schemas.Details, errors=(404,))
async def get_job_details(job_id: str) -> Response:
    """Get a job with the pipeline that it ran, its steps and its environment."""
    requests.query(schemas.NoQuery)
    number = requests.identifier(job_id, "job")
    job = await jobs.with_definition(number)
    if job is None:
        raise NotFound(f"there is no job {number}")
    steps, environments = await jobs.steps_of(number), await jobs.environment_of(number)
    log = services().logs.open(number)
    return await render.response(
        {
            "job": render.job(job),
            "pipeline": render.snapshot(job),
            "steps": [render.step(row, log) for row in steps],
            "environments": [render.environment(row) for row in environments],
        }
    )


@blueprint.get("/jobs/<job_id>/logs")
@operation(schemas.JobLogs, errors=(404,))
async def get_job_logs(job_id: str) -> Response:
    """Get all logs of a job."""
    requests.query(schemas.NoQuery)
    job = await existing_job(job_id)
    steps, log = await jobs.steps_of(job.id), services().logs.open(job.id)
    entries = [render.step_log(row, log, with_job=False) for row in steps]
    return await render.response({"job_id": job.id, "status": job.status, "logs": entries})


@blueprint.get("/jobs/<job_id>/steps")
@operation(schemas.Steps, errors=(404,))
async def list_job_steps(job_id: str) -> Response:
    """List the steps of a job in their order."""
    requests.query(schemas.NoQuery)
    job = await existing_job(job_id)
    log = services().logs.open(job.id)
    return await render.response([render.step(row, log) for row in await jobs.steps_of(job.id)])


@blueprint.get("/jobs/<job_id>/timeline")
@operation(schemas.TimelinePhases, errors=(404,))
async def get_job_timeline(job_id: str) -> Response:
    """Get what happened before the first step: queued, image, source, container, with progress."""
    requests.query(schemas.NoQuery)
    job = await existing_job(job_id)
    execution = services().scheduler.execution(job.id)
    timeline = execution.timeline if execution else Timeline(job.timeline)
    if not timeline.phases:
        timeline = Timeline([])
        queued = timeline.begin("queued", job.created_at)
        queued.finished_at = job.finished_at
        queued.detail = services().scheduler.engine_problem if job.status == "pending" else None
    return json_response([render.phase(entry) for entry in timeline.phases])


@blueprint.post("/jobs/<job_id>/cancel")
@operation(schemas.Message, errors=(404,))
async def cancel_job(job_id: str) -> Response:
    """Cancel a job. Answers when the build is really stopped."""
    requests.query(schemas.NoQuery)
    await services().builds.cancel(requests.identifier(job_id, "job"))
    return json_response({"message": "job cancelled successfully"})


@blueprint.post("/jobs/<job_id>/retry")
@operation(schemas.Job, status=201, errors=(404,))
async def retry_job(job_id: str) -> Response:
    """Start a build again with all that it ran with: steps, environment, image, commit."""
    requests.query(schemas.NoQuery)
    job = await services().builds.retry(requests.identifier(job_id, "job"), started_by=started_by())
    return json_response(render.job(job), 201, {"Location": f"/jobs/{job.id}"})


@blueprint.get("/steps/<step_id>")
@operation(schemas.Step, errors=(404,))
async def get_step(step_id: str) -> Response:
    """Get a step."""
    requests.query(schemas.NoQuery)
    step = await _existing_step(step_id)
    return await render.response(render.step(step, services().logs.open(step.job_id)))


@blueprint.get("/steps/<step_id>/logs")
@operation(schemas.StepLog, errors=(404,))
async def get_step_logs(step_id: str) -> Response:
    """Get one step's log."""
    requests.query(schemas.NoQuery)
    step = await _existing_step(step_id)
    return await render.response(render.step_log(step, services().logs.open(step.job_id), with_job=True))


async def existing_job(job_id: str) -> Job:
    """The job that a path names. Raises `NotFound`."""
    number = requests.identifier(job_id, "job")
    job = await jobs.get(number)
    if job is None:
        raise NotFound(f"there is no job {number}")
    return job


async def _existing_step(step_id: str) -> Step:
    number = requests.identifier(step_id, "step")
    step = await jobs.get_step(number)
    if step is None:
        raise NotFound(f"there is no step {number}")
    return step
