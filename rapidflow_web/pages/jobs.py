"""Pages of jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from quart import Response, redirect, request
from werkzeug.wrappers import Response as WerkzeugResponse

from rapidflow_web.accounts.roles import Role
from rapidflow_web.builds import variables
from rapidflow_web.builds.activity import Activity, activity
from rapidflow_web.builds.execution import Execution
from rapidflow_web.builds.failures import is_awaited
from rapidflow_web.builds.waiting import holder, running_before, unheard
from rapidflow_web.db import jobs, parts, pipelines
from rapidflow_web.db.models import Job, Step
from rapidflow_web.db.related_builds import ahead, related
from rapidflow_web.errors import LogUnreadable
from rapidflow_web.logs.displayed_text import announced, displayed
from rapidflow_web.pages import commands, forms, named_secrets, start_forms
from rapidflow_web.pages.blueprint import blueprint, fragment
from rapidflow_web.pages.first_output import before_first_output
from rapidflow_web.pages.part_graph import graph
from rapidflow_web.pages.parts import overview
from rapidflow_web.pipeline.definition import ParsedPipeline
from rapidflow_web.public_url import name_of
from rapidflow_web.web.gate import audit_subject, may
from rapidflow_web.web.requests import cause
from rapidflow_web.web.response_cache import cacheable
from rapidflow_web.web.services import services
from rapidflow_web.web.templates import render

_TAIL_LINES = 200
_TAIL_BYTES = 64 * 1024
_MOST_AHEAD = 1_000
_MOST_POLLED = 16_384
"""Characters of a definition, and of a command, that every poll may carry; longer ones only the page has."""


@blueprint.get("/ui/jobs/<job_id>")
async def show_job(job_id: int) -> str:
    """A job with its live log."""
    state = await _state(job_id, polled=False)
    logged = state["failed_job"] if request.args.get("log") != "build" else None
    state["logged"] = logged = logged or state["job"]
    try:
        tail = await _tail(logged)
        # Nothing outside of the database changes the page of a build whose log is complete and can be read.
        if state["job"].log_size is not None and logged.log_size is not None:
            cacheable()
    except LogUnreadable as error:
        tail = str(error)
    return await render("job.html", tail=tail, **state)


@blueprint.get("/ui/jobs/<job_id>/state")
async def show_job_state(job_id: int) -> Response:
    """The part of a job's page that changes."""
    return await fragment("_job.html", **await _state(job_id, polled=True))


@blueprint.post("/ui/jobs/<job_id>/cancel")
async def cancel_job(job_id: int) -> WerkzeugResponse:
    """Cancels a job and shows it again."""
    await services().builds.cancel(job_id)
    return redirect(f"/ui/jobs/{job_id}", 303)


@blueprint.post("/ui/jobs/<job_id>/retry")
async def retry_job(job_id: int) -> WerkzeugResponse:
    """Starts a job again, or only what failed of it, and shows the new one."""
    only_failed = (await forms.fields()).get("only") == "failed"
    job = await services().beginning.retry(job_id, cause("web"), only_failed=only_failed)
    return redirect(f"/ui/jobs/{job.id}", 303)


@blueprint.post("/ui/jobs/<job_id>/approve")
async def approve_job(job_id: int) -> WerkzeugResponse:
    """Lets a build begin that waits for an approval of the commit that was shown, or a part of a build."""
    return await _decide(job_id, approved=True)


@blueprint.post("/ui/jobs/<job_id>/reject")
async def reject_job(job_id: int) -> WerkzeugResponse:
    """Ends a build that waits for an approval of the commit that was shown, or a part of a build."""
    return await _decide(job_id, approved=False)


async def _decide(job_id: int, *, approved: bool) -> WerkzeugResponse:
    fields = await forms.fields()
    if part := fields.get("part"):
        await services().builds.decide(job_id, part, cause("web").started_by, approved=approved)
        audit_subject(part)
    else:
        decide = services().triggers.approve if approved else services().triggers.reject
        commit = fields.get("commit", "")
        await decide(job_id, commit)
        audit_subject(commit)
    return redirect(f"/ui/jobs/{job_id}", 303)


async def _tail(job: Job) -> str:
    """The end of the log for those who read without JavaScript. Raises `LogUnreadable`."""
    log = services().logs.open(job.id)
    log.expect(job.log_size)
    tail = await log.read(max(await log.tail(_TAIL_LINES, 0), log.size - _TAIL_BYTES))
    # A line that moves the cursor about takes a while.
    return (await asyncio.to_thread(displayed, announced(tail))).decode("utf-8", "replace")


async def _state(job_id: int, *, polled: bool) -> dict[str, Any]:
    job, steps, environment = await jobs.with_all(job_id)
    execution = services().supervisor.execution(job_id)
    executions = services().supervisor.executions_of_parts(job_id) if execution is None else [execution]
    small = len(job.definition.config) <= _MOST_POLLED
    # What a job has before its own definition is read is the pipeline's.
    definition = None
    if not job.unread and (small or not polled):
        definition = await _definition(job)
    command = _command(job, steps, definition, {variable.key: variable.value for variable in environment})
    small = small and len(command or "") <= _MOST_POLLED
    phases, waits = services().supervisor.timeline(job).phases, await _waits(job)
    begun = any(step.started_at is not None for step in steps)
    several = await _several(job, steps)
    failed_job: Job | None = several["failed_job"]
    return {
        "job": job,
        "finished": job.status in jobs.FINISHED,
        "awaited": is_awaited(job) or (failed_job is not None and is_awaited(failed_job)),
        "lacking": None if begun and job.parts is None else await _lacking(job, definition),
        "steps": steps,
        "environment": environment,
        "secrets": definition.secrets if definition is not None else (),
        "services": _service_names(job, definition, execution),
        "phases": phases,
        "doing": [] if begun else before_first_output(job, phases, waits),
        "related": await related(job),
        "waits": waits,
        "fetch": services().triggers.fetch_for(job_id) if job.unread else None,
        "asks": job.status == "pending" and job.approval == "waiting" and not job.unread,
        "config": job.definition.config if small or not polled else None,
        "posting": job.cancelled and len(executions) > 0 and all(one.in_post for one in executions),
        "stall": await _stall(job, execution),
        "command": command if small or not polled else None,
        "command_polled": small,
        **several,
    }


def _service_names(job: Job, definition: ParsedPipeline | None, execution: Execution | None) -> Sequence[str]:
    if job.parts is not None:
        return ()  # its parts have them
    if execution is not None:
        return execution.service_names
    if definition is not None:
        return [service.name for service in definition.services]
    return services().logs.services(job.id)  # of a definition that is too long for a poll


async def _several(job: Job, steps: Sequence[Step]) -> dict[str, Any]:
    """What the page shows of a build of several jobs, or of the build that a job is a part of."""
    of_build = attempts = failed_job = lead = None
    if job.parts is not None and not job.unread:
        of_build = await overview(job, steps, await parts.attempts(job.id))
        failed = of_build.failed
        failed_job = await jobs.get(failed.row.job_id or 0) if failed is not None else None
    elif job.lead_id is not None:
        lead = await jobs.get(job.lead_id)
        attempts = await parts.attempts_of(job.lead_id, job.part or "")
    return {
        "overview": of_build,
        # In a thread: whoever writes a definition chooses how much there is to draw.
        "graph": await asyncio.to_thread(graph, of_build.jobs) if of_build is not None else None,
        "failed_job": failed_job,
        "lead": lead,
        "attempts": attempts,
    }


async def _definition(job: Job) -> ParsedPipeline | None:
    """What a job was made from: of a part its own job, of a build of several what all of them have."""
    definition = await start_forms.parsed(job.definition)
    if definition is None or job.part is None:
        return definition and definition.combined
    found = definition.part(job.part)
    return found[1].build if found is not None else None


async def _stall(job: Job, execution: Execution | None) -> Activity | None:
    """What a build that may hang does; None for one that does not."""
    now = await activity(execution, _unheard(job), ask_always=False) if execution is not None else None
    return now if now is not None and now.stalled else None


def _unheard(job: Job) -> str | None:
    return unheard(job, services().queue.nodes, services().health.engine_problem)


async def _waits(job: Job) -> str | None:
    """Why a job waits, in a sentence."""
    if job.status == "running":
        return _unheard(job)
    if job.status != "pending" or job.cancelled:
        return None
    if job.unread or job.approval == "waiting":
        return None  # the page has more to say of that
    if problem := services().health.engine_problem or services().supervisor.disk_problem:
        return problem
    if services().queue.draining:
        return "The server is shutting down; this build starts after the restart"
    group = job.concurrency_group or ""
    if other := holder(group, await running_before([job]), job.lead_id):
        group = group.partition(": ")[2]
        return f"Waiting for #{other} to end, which is in the same concurrency group, {group}"
    if job.parts is not None:
        return None  # it takes no slot, and begins in a moment
    if reason := services().queue.reason(job.on_node):
        return f"Waiting for a node: {reason}"
    slots, before = services().queue.slots, await ahead(job.id, _MOST_AHEAD)
    ahead_of = (
        f"{before} {'build is' if before == 1 else 'builds are'} ahead of it" if before else "it is next"
    )
    return f"Waiting for {'a free slot' if slots == 1 else f'one of {slots} slots'}; {ahead_of}"


async def _lacking(job: Job, definition: ParsedPipeline | None) -> named_secrets.Lacking | None:
    """The secrets that failed a build and are still not there, for those who may start it again.

    Also where the `definition` is too long for a poll: what a poll leaves out, the page loses.
    """
    if job.status != "failed" or job.unread or job.untrusted or not may(Role.BUILDER):
        return None
    if job.lead_id is not None:
        return None  # the page of the build asks for them, which is what can be started again
    pipeline = await pipelines.get(job.pipeline_id)
    definition = definition or await _definition(job)
    if pipeline is None or definition is None:
        return None
    return await named_secrets.lacking(pipeline, definition.secrets)


def _command(
    job: Job, steps: Sequence[Step], definition: ParsedPipeline | None, environment: dict[str, str]
) -> str | None:
    """What runs the build again on the reader's machine; None where it has no image."""
    if job.image is None or definition is None or job.parts is not None:
        return None
    left_out = {step.order_num for step in steps if step.skipped is not None}
    return commands.reproduce(
        job.image,
        # What the build left out may be what deploys.
        [step for number, step in enumerate(definition.steps, 1) if number not in left_out],
        # As the build saw them; the pipeline's own variables win. Only those with a value, because people
        # read the line.
        {name: value for name, value in variables.of_job(job).items() if value}
        | {"RAPIDFLOW_WORKSPACE": "/workspace"}
        | environment,
        definition.secrets,
        network=definition.network,
        repo_name=job.repo_name,
        commit=job.commit,
        folder=job.folder,
        uploaded=job.upload_id is not None,
    )


@blueprint.app_template_filter("with_other_host")
def with_other_host(address: str) -> str:
    """The address of a port of this machine by another name than this page has.

    Cookies know no ports: by the same name a browser would send the build the session of whoever looks.
    """
    host, _, port = address.rpartition(":")
    public = services().settings.public_url
    # A proxy in front need not pass on the host that the browser asked.
    taken = {name_of(request.host), public.name if public is not None else ""}
    other = next(name for name in (host, "localhost", "build.localhost") if name not in taken)
    return f"{other}:{port}"
