"""Stores what an occurrence was judged to mean: an event, decisions and jobs, in one transaction."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from tortoise.transactions import in_transaction

from rapidflow_web.builds import concurrency
from rapidflow_web.builds.beginning import Beginning, Cause
from rapidflow_web.db import events, outbox, pipelines, repositories, statuses
from rapidflow_web.db.database import uncancelled
from rapidflow_web.db.models import Job
from rapidflow_web.db.trigger_models import Event, Repository
from rapidflow_web.errors import BuildError
from rapidflow_web.forges.base import PullRequest
from rapidflow_web.triggers import sync
from rapidflow_web.triggers.access import can_tell
from rapidflow_web.triggers.judging import Build, Judgement, Verdict


@uncancelled
async def store(
    repository: Repository,
    judgement: Judgement,
    beginning: Beginning,
    then: Callable[[], Awaitable[object]] | None = None,
) -> Event:
    """Stores the event, and does what comes `then` in the same transaction.

    The builds wait in the queue, which the caller wakes.
    """
    occurrence, commit = judgement.occurrence, judgement.commit
    async with in_transaction():
        if await repositories.get(repository.id) is None:
            raise BuildError("the repository was removed meanwhile")
        tells = judgement.commit is not None and not judgement.untrusted and await can_tell(repository)
        event = await events.create(
            repository_id=repository.id,
            delivery_id=occurrence.delivery_id,
            kind=occurrence.kind,
            ref=occurrence.ref,
            before=occurrence.before,
            after=commit.id if commit is not None else occurrence.after,
            source=occurrence.source,
            sender=occurrence.sender,
            title=commit.title if commit is not None else occurrence.title,
            pull_request=pull_request(occurrence.pull_request),
        )
        made: Mapping[str, int] = {}
        if judgement.files is not None and not judgement.untrusted and occurrence.kind == "push":
            of_default = occurrence.branch == repository.default_branch and judgement.is_newer
            made = await sync.apply(repository, judgement.files, judgement.verdicts, whole=of_default)
        for verdict in judgement.verdicts:
            pipeline_id = verdict.pipeline_id
            if pipeline_id is None:
                pipeline_id = made[verdict.file.path] if verdict.file is not None else 0
            job_id = verdict.job_id
            if verdict.build is not None:
                job = await _begin(repository, judgement, verdict, verdict.build, pipeline_id, beginning)
                job_id = job.id
            await events.decide(event.id, pipeline_id, verdict.outcome, verdict.reason, job_id)
            if tells:
                await _tell(repository, judgement, verdict, pipeline_id)
        if occurrence.kind == "delete":
            await repositories.saw(repository.id, occurrence.ref, None)
        elif commit is not None and judgement.is_newer and occurrence.kind != "schedule":
            await repositories.saw(repository.id, occurrence.ref, commit.id)
        elif judgement.is_no_commit:
            await repositories.saw(repository.id, occurrence.ref, occurrence.after)
        if then is not None:
            await then()
    outbox.wake()
    return event


async def _tell(repository: Repository, judgement: Judgement, verdict: Verdict, pipeline_id: int) -> None:
    """Has the forge show what no build tells: an invalid definition, or a pipeline that `paths` left out."""
    if judgement.commit is None or (verdict.outcome != "failed" and not verdict.left_out):
        return
    state = "success" if verdict.left_out else "failure"
    name = verdict.file.parsed.name if verdict.file is not None and verdict.file.parsed else None
    context = statuses.context_of(name or await pipelines.name_of(pipeline_id))
    await statuses.report(
        repository.id, judgement.commit.id, context, state, verdict.reason, None, pipeline_id
    )


async def _begin(
    repository: Repository,
    judgement: Judgement,
    verdict: Verdict,
    build: Build,
    pipeline_id: int,
    beginning: Beginning,
) -> Job:
    occurrence, commit, parsed = judgement.occurrence, judgement.commit, build.parsed
    if commit is None:
        raise ValueError("without a commit nothing is built")
    scope = repository.id if build.file.path else None
    group = concurrency.group_of(parsed, build.facts, scope, untrusted=judgement.untrusted)
    fields: dict[str, Any] = {
        "pipeline_id": pipeline_id,
        "definition_id": await pipelines.definition_for(pipeline_id, parsed.name, build.file.text),
        "repo_name": repository.url,
        "branch": occurrence.branch,
        "commit": commit.id,
        "ref": occurrence.ref,
        "title": commit.title,
        "author": commit.author,
        "pull_request": pull_request(occurrence.pull_request),
        "before": occurrence.before,
        "base": build.base,
        "untrusted": judgement.untrusted,
        "approval": "waiting" if verdict.outcome == "waiting" else None,
        "concurrency_group": group,
    }
    job = await beginning.add(fields, Cause(occurrence.source, occurrence.kind), parsed, build.steps)
    await concurrency.take_turn(parsed, group, job.id)
    return job


def pull_request(request: PullRequest | None) -> dict[str, Any] | None:
    """A pull request as jobs and events have it."""
    names = "number", "title", "url", "source", "target", "fork"
    return None if request is None else {name: getattr(request, name) for name in names}
