"""The one place where a build begins: from a pipeline and a cause to a job that waits in the queue.

Life: `start` or `retry` checks what the build was asked for, stores the job with its steps and variables in
one transaction, and wakes the queue. Nothing here needs a request or a logged-in user: the cause says who or
what starts the build.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tortoise.transactions import in_transaction

from rapidflow_web.builds import concurrency, definitions, part_rules
from rapidflow_web.db import job_steps, jobs, outbox, parts, pipelines, repositories, uploads
from rapidflow_web.db.models import Job, Pipeline, Step
from rapidflow_web.db.parts import PartRow
from rapidflow_web.db.trigger_models import Upload
from rapidflow_web.errors import BadRequest, Invalid, Problem, TooManyRequests
from rapidflow_web.pipeline import node_labels, parser
from rapidflow_web.pipeline import repositories as repository_rules
from rapidflow_web.pipeline.definition import ParsedPipeline, StepDefinition, judged
from rapidflow_web.pipeline.triggers import NO_FAILURE, Facts
from rapidflow_web.pipeline.variables import (
    HIDDEN,
    MAX_ENVIRONMENT,
    MAX_VARIABLES,
    check_env_key,
    check_env_value,
    has_power,
)
from rapidflow_web.settings import Settings
from rapidflow_web.shielding import to_the_end

_WAIT_FOR_THE_QUEUE = 30.0
_PART_OF_HASH = re.compile("[0-9a-f]{4,39}")
_COPIED = (
    "pipeline_id", "definition_id", "branch", "repo_name", "language", "version", "folder",
    "expose_ports", "image", "commit", "ref", "title", "author", "pull_request", "before", "base",
    "untrusted", "approval", "concurrency_group", "upload_id", "on_node",
)  # fmt: skip
"""The columns that a retry takes from the job that ran."""


@dataclass(frozen=True, slots=True)
class Cause:
    """What starts a build. `started_by` is what the job and its page say of it.

    For a person that is the user's name, and for a request of nobody in particular its means: "api", "cli" or
    "web". Whatever else starts builds gives its own name. All builds that wait with the same `started_by`
    count as one user's. `event` is that of the job.
    """

    started_by: str
    event: str = "manual"


class Beginning:
    """Begins builds."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._wake_reader: Callable[[], None] = lambda: None

    def on_unread(self, wake: Callable[[], None]) -> None:
        """Has `wake` told of jobs whose definition is still to be read."""
        self._wake_reader = wake

    async def start(
        self,
        pipeline_id: int,
        cause: Cause,
        *,
        branch: str | None = None,
        commit: str | None = None,
        tag: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Job:
        """Starts a build; `branch` and `environment` override the pipeline's own.

        Where the definition stands in a repository, a `commit` by its full hash or a `tag` can be built, too,
        and the definition is read from the commit as the first thing that the job does.
        Raises `NotFound`, `Invalid`, and `TooManyRequests` where too many wait already.
        """
        pipeline = await pipelines.existing(pipeline_id)
        if pipeline.path is not None:
            return await self._start_unread(pipeline, cause, branch, commit, tag, environment or {})
        # Forges serve commits of forks by their hash, and nothing would tell these from the repository's own.
        for name, value in (("commit", commit), ("tag", tag)):
            if value is not None:
                said = f"only a pipeline whose definition stands in a repository can build a {name}"
                raise Invalid([Problem(name, f"{said}; give a branch")])
        settings, definition = self._settings, pipeline.definition
        parsed = await definitions.parse(settings, definition.config, definition.name)
        variables = {**parsed.env, **(environment or {})}
        if problems := [*_of_source(branch), *check_variables(parsed, variables, pipeline_id)]:
            raise Invalid(problems[: parser.MAX_PROBLEMS])
        branch = branch or parsed.branch
        ref = repository_rules.ref_of(branch)
        fields = {
            **columns_of(parsed),
            "pipeline_id": pipeline.id,
            "definition_id": pipeline.definition_id,
            "branch": branch,
            "ref": ref,
            "repo_name": parsed.repo_name,
        }
        facts = Facts(event=cause.event, ref=ref, branch=branch, pipeline=parsed.name)
        fields["concurrency_group"] = concurrency.group_of(parsed, facts)
        steps = judged(parsed, facts)
        environment = variables | dict.fromkeys(parsed.combined.secrets, HIDDEN)

        return await self._begin(fields, cause, steps, environment, parsed)

    async def _start_unread(
        self,
        pipeline: Pipeline,
        cause: Cause,
        branch: str | None,
        commit: str | None,
        tag: str | None,
        environment: Mapping[str, str],
    ) -> Job:
        """Starts a build whose definition is read later, which checks the variables."""
        if problems := [*_of_source(branch, commit, tag), *_of_values(environment)]:
            raise Invalid(problems[: parser.MAX_PROBLEMS])
        repository = await repositories.existing(pipeline.repository_id or 0)
        if branch is None and commit is None and tag is None:
            branch = repository.default_branch
        fields = {
            "pipeline_id": pipeline.id,
            "definition_id": pipeline.definition_id,
            "repo_name": repository.url,
            "branch": branch,
            "commit": commit,
            "ref": f"refs/tags/{tag}" if tag is not None else repository_rules.ref_of(branch),
            "unread": True,
        }
        return await self._begin(fields, cause, (), environment)

    async def start_uploaded(
        self, upload: Upload, cause: Cause, *, environment: Mapping[str, str], untrusted: bool
    ) -> Job:
        """Starts a build of a working tree, whose definition is read from it as the first thing that it does.

        An `untrusted` one gets no secret and no login. Raises `NotFound`, `Invalid`, and `TooManyRequests`
        where too many wait already.
        """
        if problems := _of_values(environment):
            raise Invalid(problems[: parser.MAX_PROBLEMS])
        pipeline = await pipelines.existing(upload.pipeline_id)
        repository = await repositories.existing(pipeline.repository_id or 0)
        fields = {
            "pipeline_id": pipeline.id,
            "definition_id": pipeline.definition_id,
            "repo_name": repository.url,
            "commit": upload.commit,
            "upload_id": upload.id,
            "untrusted": untrusted,
            "unread": True,
        }
        return await self._begin(fields, cause, (), environment)

    async def add(
        self,
        fields: Mapping[str, Any],
        cause: Cause,
        parsed: ParsedPipeline,
        steps: Sequence[StepDefinition],
    ) -> Job:
        """Stores the build of a definition that was read from a repository; for a transaction.

        Its `steps` were judged by their `when`. `outbox.wake` comes after that. However many builds
        wait, what was pushed is built.
        """
        secrets = () if fields["untrusted"] else parsed.combined.secrets
        environment = {**parsed.env, **dict.fromkeys(secrets, HIDDEN)}
        every = {**columns_of(parsed), **fields, "started_by": cause.started_by, "event": cause.event}
        return await jobs.create(every, steps, environment)

    async def retry(self, job_id: int, cause: Cause, *, only_failed: bool = False) -> Job:
        """Starts a build again with all that it ran with.

        With `only_failed`, the parts of a build of several jobs that succeeded are taken over, and those that
        failed and those that need them run again. Raises `NotFound`, `BadRequest` while it runs, for a part,
        where nothing failed that is to run again, or where its uploaded working tree is gone, and
        `TooManyRequests` where too many wait already.
        """
        job = await jobs.with_definition(job_id)
        if job.lead_id is not None:
            raise BadRequest(
                f"job {job_id} is a part of build {job.lead_id}; retry that, for example only what failed"
            )
        if job.status not in jobs.FINISHED:
            raise BadRequest(f"job {job_id} is {job.status}; it can be retried when it has finished")
        if only_failed and job.status == "success":
            raise BadRequest(f"nothing failed in job {job_id}; retry all of it instead")
        if job.upload_id is not None and not await uploads.exists(job.upload_id):
            raise BadRequest(
                f"the working tree of job {job_id} is not kept any more; run 'rapidflow run' in it again"
            )
        environment = {variable.key: variable.value for variable in await jobs.environment_of(job_id)}
        fields = {name: getattr(job, name) for name in _COPIED} | {"retry_of": job.id}
        cause = replace(cause, event="retry")
        pipeline = await pipelines.get(job.pipeline_id, also_deleted=True)
        if pipeline is not None and pipeline.path is not None:
            # Whether its commit can be trusted is looked at anew; one whose definition was read keeps it.
            fields["unread"] = True
            if job.unread:
                return await self._begin(fields, cause, (), environment)
        parsed = await definitions.stored(job.definition)
        before = await job_steps.of_job(job_id)
        if parsed.jobs:
            fields["parts"] = len(parsed.parts)
            steps = _parts_as_before(parsed, before, only_failed=only_failed)
        else:
            steps = _as_before(parsed.steps, before)
        # That of a definition in a repository takes its turn once its commit is known to be trusted.
        taking = None if fields.get("unread") else parsed
        return await self._begin(fields, cause, steps, environment, taking)

    async def _begin(
        self,
        fields: Mapping[str, Any],
        cause: Cause,
        steps: Sequence[StepDefinition],
        environment: Mapping[str, str],
        taking_turn: ParsedPipeline | None = None,
    ) -> Job:
        """Stores a build and has it begin; it takes its turn in the concurrency group of a definition."""

        async def store() -> Job:
            async with in_transaction():
                job = await self._store(fields, cause, steps, environment)
                if taking_turn is not None:
                    await concurrency.take_turn(taking_turn, job.concurrency_group, job.id)
            outbox.wake()
            return job

        job = await to_the_end(store())
        # What another takes the place of is ended by who reads definitions, too.
        if job.unread or job.concurrency_group is not None:
            self._wake_reader()
        return job

    async def _store(
        self,
        fields: Mapping[str, Any],
        cause: Cause,
        steps: Sequence[StepDefinition],
        environment: Mapping[str, str],
    ) -> Job:
        most = jobs.QueueLimits(self._settings.waiting_builds, self._settings.waiting_builds_per_user)
        try:
            return await jobs.create(
                {**fields, "started_by": cause.started_by, "event": cause.event}, steps, environment, most
            )
        except jobs.QueueFull as error:
            raise TooManyRequests(
                f"{error}; cancel some of them, or try again when they have begun", _WAIT_FOR_THE_QUEUE
            ) from None


def _as_before(steps: Sequence[StepDefinition], rows: Sequence[Step]) -> list[StepDefinition]:
    """The steps of a build that is done again: what was left out before it ran is left out again."""
    before = {row.order_num: row.skipped for row in rows if row.skipped != NO_FAILURE}
    return [replace(step, skipped=before.get(number)) for number, step in enumerate(steps, 1)]


def _parts_as_before(
    parsed: ParsedPipeline, rows: Sequence[Step], *, only_failed: bool
) -> list[StepDefinition]:
    """The parts of a build that is done again, with what they left out, and with `only_failed` their ends."""
    before = {row.name: row for row in map(parts.part_row, rows)}
    kept = part_rules.again(parsed, before) if only_failed else {}
    return [
        StepDefinition(
            part.name,
            "job",
            part=(
                kept.get(part.name)
                or PartRow(
                    0,
                    part.name,
                    tuple(need.job for need in job.needs),
                    left_out=before[part.name].left_out if part.name in before else {},
                )
            ).stored(),
        )
        for job in parsed.jobs
        for part in job.parts
    ]


def columns_of(parsed: ParsedPipeline) -> dict[str, Any]:
    """What a job has of its definition in columns of its own, without the source."""
    names = "language", "version", "folder", "expose_ports", "image"
    columns = {name: getattr(parsed, name) for name in names}
    columns["on_node"] = node_labels.stored(parsed.on_node)
    return {**columns, "parts": len(parsed.parts)} if parsed.jobs else columns


def _of_source(branch: str | None, commit: str | None = None, tag: str | None = None) -> list[Problem]:
    problems: list[Problem] = []
    given = [name for name, value in (("branch", branch), ("commit", commit), ("tag", tag)) if value]
    if tag is not None:
        try:
            repository_rules.check_branch(tag)
        except ValueError as error:
            problems.append(Problem("tag", str(error).replace("branch", "tag")))
        if len(given) > 1:
            problems.append(Problem("tag", f"give one of branch, commit and tag, not {' and '.join(given)}"))
    if branch is not None:
        try:
            repository_rules.check_branch(branch)
        except ValueError as error:
            problems.append(Problem("branch", str(error)))
    if commit is not None and not repository_rules.COMMIT_ID.fullmatch(commit):
        # Lists show the first digits, which only git can complete.
        more = f"; 'git rev-parse {commit}' prints it" if _PART_OF_HASH.fullmatch(commit) else ""
        problems.append(Problem("commit", f"{commit[:64]!r} is not the full hash of a commit{more}"))
    return problems


def check_variables(parsed: ParsedPipeline, variables: Mapping[str, str], pipeline_id: int) -> list[Problem]:
    """What a build of this definition can't be given."""
    problems = _of_values(variables)
    combined = parsed.combined
    for name in variables:
        if (message := _refused(name, combined, pipeline_id)) is not None:
            problems.append(Problem(f"environments.{name}", message))
    for part in parsed.parts:
        for problem in _of_values({**part.build.env, **variables}):
            problems.append(replace(problem, message=f"{part.name}: {problem.message}"))
            break
        if problems:
            break
    for build in [part.build for part in parsed.parts] or [parsed]:
        if not build.expose_ports:
            continue
        port = variables.get("PORT", build.env.get("PORT", ""))
        if not (re.fullmatch("[0-9]{1,5}", port) and 1 <= int(port) <= 65535):
            problems.append(
                Problem("environments.PORT", "expose_ports needs the variable PORT, a number from 1 to 65535")
            )
            break
    return problems


def _of_values(variables: Mapping[str, str]) -> list[Problem]:
    if len(variables) > MAX_VARIABLES:
        message = f"the build would have {len(variables)} variables; at most {MAX_VARIABLES} can be given"
        return [Problem("environments", message)]
    problems: list[Problem] = []
    for key, value in variables.items():
        try:
            check_env_key(key)
            check_env_value(key, value)
        except ValueError as error:
            problems.append(Problem(f"environments.{key}", str(error)))
    size = sum(len(text.encode("utf-8", "replace")) for pair in variables.items() for text in pair)
    if size > MAX_ENVIRONMENT:
        message = (
            f"the variables have {size} bytes together; at most {MAX_ENVIRONMENT} can be given, use files"
        )
        problems.append(Problem("environments", message))
    return problems


def _refused(name: str, parsed: ParsedPipeline, pipeline_id: int) -> str | None:
    """Why a build can't be given this variable; None where it can."""
    if name in parsed.secrets:
        return (
            f"{name} is a secret of this pipeline and can't be given; an administrator can change it "
            f"with 'rapidflow secret set {name} --pipeline {pipeline_id}'"
        )
    if name in parsed.env:
        return None
    if parsed.secrets:
        # By BASH_ENV and many others, whoever starts the build could have it print its secrets.
        return (
            f"{name} can't be given to a build that has secrets, because the pipeline does not have it "
            "under 'env'; whoever may change the definition can add it"
        )
    if has_power(name):
        return (
            f"{name} can change what a build runs, and can only be given where the pipeline has it under "
            "'env'; whoever may change the definition can add it"
        )
    return None
