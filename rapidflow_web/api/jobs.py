"""Routes of jobs and their steps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from quart import Blueprint, Response

from rapidflow_web.api import job_answers, output, query_schemas, representations, schemas
from rapidflow_web.api.openapi import operation
from rapidflow_web.api.repository_schemas import Approved
from rapidflow_web.builds import part_lines
from rapidflow_web.builds.activity import activity
from rapidflow_web.builds.waiting import unheard
from rapidflow_web.db import job_lists, job_steps, jobs
from rapidflow_web.db.models import Job, Step
from rapidflow_web.errors import Invalid, Problem
from rapidflow_web.logs.log import Log
from rapidflow_web.web import requests
from rapidflow_web.web.gate import audit_subject, reader
from rapidflow_web.web.response_cache import cacheable
from rapidflow_web.web.responses import encoded, encoded_response, json_response
from rapidflow_web.web.services import services
from rapidflow_web.web.streaming import LongBody

blueprint = Blueprint("jobs", __name__)


@blueprint.get("/jobs")
@operation(schemas.Jobs, query=query_schemas.AllJobsPage, listed=True)
async def list_jobs(page: query_schemas.AllJobsPage) -> Response:
    """List the builds of all pipelines, newest first."""
    filters = page.model_dump(include={"status", "branch", "pipeline_id", "lead_id"}, exclude_none=True)
    cacheable()
    found = await job_lists.listed(before=page.before, limit=page.limit + 1, **filters)
    return await job_answers.listed(found, page)


@blueprint.get("/jobs/<job_id>")
@operation(schemas.Job)
async def get_job(job_id: int) -> Response:
    """Get a job."""
    job = await jobs.existing(job_id)
    body = encoded(await job_answers.described(job))
    cacheable(final=_is_final(job))
    return encoded_response(body)


@blueprint.get("/jobs/<job_id>/details")
@operation(schemas.Details)
async def get_job_details(job_id: int) -> Response:
    """Get a job with its pipeline, steps and environment."""
    job, steps, environments = await jobs.with_all(job_id)
    log = services().logs.open(job_id)
    log.expect(job.log_size)
    lines = await _lines(job, steps, log)
    body = await output.encoded(
        {
            "job": await job_answers.described(job),
            "pipeline": representations.snapshot(job),
            "steps": [representations.step(row, log, lines) for row in steps],
            "environments": [representations.environment(row) for row in environments],
        }
    )
    # A build that runs also has output, which is not in the database.
    if _is_final(job):
        cacheable(final=True)
    return _sent(body, job.pipeline_id)


@blueprint.get("/jobs/<job_id>/logs")
@operation(schemas.JobLogs)
async def get_job_logs(job_id: int) -> Response:
    """Get the logs of all steps of a job."""
    job = await jobs.existing(job_id)
    steps, log = await job_steps.of_job(job_id), services().logs.open(job_id)
    log.expect(job.log_size)
    lines = await _lines(job, steps, log)
    entries = [representations.step_log(row, log, lines, with_job=False) for row in steps]
    answer = {"job_id": job.id, "status": job.status, "logs": entries}
    return _sent(await output.encoded(answer), job.pipeline_id)


@blueprint.get("/jobs/<job_id>/steps")
@operation(schemas.Steps)
async def list_job_steps(job_id: int) -> Response:
    """List the steps of a job, in order."""
    job = await jobs.existing(job_id)
    steps, log = await job_steps.of_job(job_id), services().logs.open(job_id)
    log.expect(job.log_size)
    lines = await _lines(job, steps, log)
    body = await output.encoded([representations.step(row, log, lines) for row in steps])
    return _sent(body, job.pipeline_id)


@blueprint.get("/jobs/<job_id>/timeline")
@operation(schemas.TimelinePhases)
async def get_job_timeline(job_id: int) -> Response:
    """Get the phases before the first step, with progress: queued, image, source, container, services."""
    timeline = services().supervisor.timeline(await jobs.existing(job_id))
    return json_response([representations.phase(entry) for entry in timeline.phases])


@blueprint.get("/jobs/<job_id>/activity")
@operation(schemas.Activity)
async def get_job_activity(job_id: int) -> Response:
    """Get the current activity of a build: the time since its last output, and its processes."""
    job = await jobs.existing(job_id)
    execution = services().supervisor.execution(job_id)
    why = unheard(job, services().queue.nodes, services().health.engine_problem)
    now = await activity(execution, why, ask_always=True) if execution is not None else None
    return json_response(representations.activity(job_id, now, why))


@blueprint.post("/jobs/<job_id>/cancel")
@operation(schemas.Message)
async def cancel_job(job_id: int) -> Response:
    """Cancel a job. Responds once the build has stopped."""
    await services().builds.cancel(job_id)
    return json_response({"message": "job cancelled successfully"})


@blueprint.post("/jobs/<job_id>/retry")
@operation(schemas.Job, body=schemas.Retry, status=201, throttled=True)
async def retry_job(job_id: int) -> Response:
    """Run a build again with the same steps, environment, image and commit."""
    only_failed = (await requests.body(schemas.Retry)).only is not None
    begun = await services().beginning.retry(job_id, requests.cause(), only_failed=only_failed)
    return await job_answers.begun(begun)


@blueprint.post("/jobs/<job_id>/approve")
@operation(schemas.Job, body=Approved, conflict=True)
async def approve_job(job_id: int) -> Response:
    """Approve a waiting build, or a part of a build that waits."""
    return await _decided(job_id, approved=True)


@blueprint.post("/jobs/<job_id>/reject")
@operation(schemas.Job, body=Approved, conflict=True)
async def reject_job(job_id: int) -> Response:
    """Reject a waiting build, or a part of a build that waits."""
    return await _decided(job_id, approved=False)


async def _decided(job_id: int, *, approved: bool) -> Response:
    wanted = await requests.body(Approved)
    if (wanted.commit is None) == (wanted.part is None):
        raise Invalid([Problem("commit", "give either 'commit' or 'part'")])
    if wanted.part is not None:
        by = requests.cause().started_by
        await services().builds.decide(job_id, wanted.part, by, approved=approved)
        audit_subject(wanted.part)
        return await job_answers.one(await jobs.existing(job_id))
    decide = services().triggers.approve if approved else services().triggers.reject
    job = await decide(job_id, wanted.commit or "")
    audit_subject(wanted.commit or "")
    return await job_answers.one(job)


@blueprint.get("/steps/<step_id>")
@operation(schemas.Step)
async def get_step(step_id: int) -> Response:
    """Get a step."""
    step = await job_steps.existing(step_id)
    log = await _log_of(step)
    return _sent(
        await output.encoded(representations.step(step, log, await _lines(step.job, [step], log))),
        step.job.pipeline_id,
    )


@blueprint.get("/steps/<step_id>/logs")
@operation(schemas.StepLog)
async def get_step_logs(step_id: int) -> Response:
    """Get the log of a step."""
    step = await job_steps.existing(step_id)
    log = await _log_of(step)
    return _sent(
        await output.encoded(
            representations.step_log(step, log, await _lines(step.job, [step], log), with_job=True)
        ),
        step.job.pipeline_id,
    )


async def _lines(job: Job, steps: Sequence[Step], log: Log) -> dict[str, bytes] | None:
    """The lines about each part of a build of several jobs; None for another job."""
    if job.parts is None:
        return None
    return part_lines.by_part(await part_lines.text_of(log), [step.content for step in steps])


def _sent(body: bytes | AsyncIterator[bytes], pipeline_id: int) -> Response:
    if isinstance(body, bytes):
        return encoded_response(body)
    return encoded_response(LongBody(services().streams, reader(pipeline_id), body))


async def _log_of(step: Step) -> Log:
    log = services().logs.open(step.job_id)
    if not log.size:
        log.expect((await jobs.existing(step.job_id)).log_size)
    return log


def _is_final(job: Job) -> bool:
    # Nothing of a job changes once the size of its log is stored, the last of all that is.
    return job.log_size is not None
