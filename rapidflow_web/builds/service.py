"""What people and programs can do with builds: start, cancel, retry."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from rapidflow_web.builds.ending import Ending
from rapidflow_web.builds.scheduler import Scheduler
from rapidflow_web.db import jobs, pipelines
from rapidflow_web.db.database import is_away
from rapidflow_web.db.models import Job, Pipeline
from rapidflow_web.db.users import NoSuchUser
from rapidflow_web.errors import BadRequest, Invalid, NotFound, Problem, RequestError, TooManyRequests
from rapidflow_web.pipeline import parser, repositories
from rapidflow_web.pipeline.definition import Definition, StepDefinition
from rapidflow_web.pipeline.logins import Login, login_for, login_in, taken_out
from rapidflow_web.pipeline.variables import (
    HIDDEN,
    MAX_ENVIRONMENT,
    MAX_VARIABLES,
    check_env_key,
    check_env_value,
    has_power,
)
from rapidflow_web.secrets.vault import Vault, check_value
from rapidflow_web.settings import Settings

_REGISTER_SECONDS = 0.01
_REGISTER_AT_MOST = 10.0
_WAIT_FOR_THE_QUEUE = 30.0


class ServerEnds(RequestError):
    """The server ends before what was asked for is done; the next one does it."""

    status = 500


class Service:
    """Starts, cancels and retries builds."""

    def __init__(self, scheduler: Scheduler, ending: Ending, vault: Vault, settings: Settings) -> None:
        self._scheduler = scheduler
        self._ending = ending
        self._vault = vault
        self._settings = settings
        self._server_ends = asyncio.Event()

    def parse(self, config: str, name: str | None = None) -> Definition:
        """The definition in YAML text. Raises `Invalid`."""
        return parser.parse(config, self._settings.file_roots, name, self._settings.most_limits)

    async def add(
        self, config: str, name: str | None = None, *, by: str, seen_by: Sequence[str] | None = None
    ) -> Pipeline:
        """Stores a pipeline, and apart from it the password of its clone URL.

        With `seen_by` only these users and administrators see it. Raises `Invalid`, `VaultError`.
        """
        definition = self.parse(config, name)
        config, login = _without_password(config)
        if login is not None:
            self._vault.check_key()
        try:
            pipeline = await pipelines.create(definition.name, config, seen_by)
        except NoSuchUser as error:
            raise Invalid([Problem("visibility.users", str(error))]) from None
        if login is not None:
            await self._vault.put_login(pipeline.id, login, by)
        return pipeline

    async def change(self, pipeline_id: int, config: str, name: str | None = None, *, by: str) -> Pipeline:
        """Gives a pipeline a new definition; a password that is stored stays where the clone URL has none.

        Raises `NotFound`, `Invalid`, `VaultError`.
        """
        pipeline = await self.existing(pipeline_id)
        definition = self.parse(config, name)
        config, login = _without_password(config)
        if login is not None:
            await self._vault.put_login(pipeline_id, login, by)
        if (definition.name, config) != (pipeline.definition.name, pipeline.definition.config):
            await pipelines.update(pipeline_id, definition.name, config)
        return await self.existing(pipeline_id)

    async def put_clone_password(self, pipeline_id: int, password: str, by: str) -> None:
        """Stores the password for the clone URL that a pipeline has.

        Raises `NotFound`, `Invalid`, `VaultError`.
        """
        definition = (await self.existing(pipeline_id, also_deleted=True)).definition
        url = self.parse(definition.config, definition.name).repo_name or ""
        try:
            check_value(password)
            login = login_for(url, password)
        except ValueError as error:
            raise Invalid([Problem("value", str(error))]) from None
        await self._vault.put_login(pipeline_id, login, by)

    async def existing(self, pipeline_id: int, *, also_deleted: bool = False) -> Pipeline:
        """The pipeline with its definition. Raises `NotFound`."""
        pipeline = await pipelines.get(pipeline_id, also_deleted=also_deleted)
        if pipeline is None:
            raise NotFound(f"there is no pipeline {pipeline_id}")
        return pipeline

    async def start(
        self,
        pipeline_id: int,
        *,
        started_by: str,
        branch: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Job:
        """Starts a build; `branch` and `environment` override the pipeline's own.

        Raises `NotFound`, `Invalid`, and `TooManyRequests` where too many wait already.
        """
        pipeline = await self.existing(pipeline_id)
        definition = self.parse(pipeline.definition.config, pipeline.definition.name)
        variables = {**definition.env, **(environment or {})}
        _check(definition, branch, variables, pipeline_id)
        job = await self._create(
            {
                "pipeline_id": pipeline.id,
                "definition_id": pipeline.definition_id,
                "branch": branch or definition.branch,
                "repo_name": definition.repo_name,
                "language": definition.language,
                "version": definition.version,
                "folder": definition.folder,
                "expose_ports": definition.expose_ports,
                "image": definition.image,
                "started_by": started_by,
            },
            definition.steps,
            variables | dict.fromkeys(definition.secrets, HIDDEN),
        )
        self._scheduler.wake()
        return job

    async def retry(self, job_id: int, *, started_by: str) -> Job:
        """Starts a build again with all that it ran with.

        Raises `NotFound`, `BadRequest` while it runs, and `TooManyRequests` where too many wait already.
        """
        job = await jobs.with_definition(job_id)
        if job is None:
            raise NotFound(f"there is no job {job_id}")
        if job.status not in jobs.FINISHED:
            raise BadRequest(f"job {job_id} is {job.status}; it can be retried when it has finished")
        copied = (
            "pipeline_id", "definition_id", "branch", "repo_name", "language", "version", "folder",
            "expose_ports", "image", "commit",
        )  # fmt: skip
        definition = parser.parse(job.definition.config, ("/",), job.definition.name)
        environment = {variable.key: variable.value for variable in await jobs.environment_of(job_id)}
        again = await self._create(
            {name: getattr(job, name) for name in copied} | {"retry_of": job.id, "started_by": started_by},
            definition.steps,
            environment,
        )
        self._scheduler.wake()
        return again

    async def _create(
        self, fields: Mapping[str, Any], steps: Sequence[StepDefinition], environment: Mapping[str, str]
    ) -> Job:
        in_all, per_user = self._settings.waiting_builds, self._settings.waiting_builds_per_user
        try:
            return await jobs.create(fields, steps, environment, jobs.MostWaiting(in_all, per_user))
        except jobs.TooManyWait as error:
            raise TooManyRequests(
                f"{error}; cancel some of them, or try again when they have begun", _WAIT_FOR_THE_QUEUE
            ) from None

    async def cancel(self, job_id: int) -> None:
        """Returns when the build is really stopped. Raises `NotFound`, `BadRequest` where it had finished.

        A running build is stopped also while the database can't be written, such as on a full disk; how it
        ended is stored when it can.
        """
        try:
            await self._cancel(job_id)
        except Exception as error:
            execution = self._scheduler.execution(job_id)
            if not is_away(error) or execution is None:
                raise
            execution.cancel()
            await self._until(execution.stopped)

    async def _cancel(self, job_id: int) -> None:
        if await self._ending.cancelled_before_start(job_id):
            return
        if not await jobs.request_cancel(job_id):
            job = await jobs.get(job_id)
            if job is None:
                raise NotFound(f"there is no job {job_id}")
            execution = self._scheduler.execution(job_id)
            if job.status != "cancelled" or execution is None:
                raise BadRequest(f"job {job_id} has already finished: {job.status}")
            # Another cancel is about to be done with it.
            await self._until(execution.finished)
            return
        deadline = asyncio.get_running_loop().time() + _REGISTER_AT_MOST
        while (execution := self._scheduler.execution(job_id)) is None:
            # It was claimed a moment ago, or has just ended.
            current = await jobs.get(job_id)
            if current is None or current.status in jobs.FINISHED:
                return
            if self._server_ends.is_set() or asyncio.get_running_loop().time() > deadline:
                raise ServerEnds("nothing is known of the build; it is stopped when the server starts again")
            await asyncio.sleep(_REGISTER_SECONDS)
        execution.cancel()
        await self._until(execution.finished)

    def end_waits(self) -> None:
        """Lets every call that waits for a build end with an error, because the server ends."""
        self._server_ends.set()

    async def _until(self, event: asyncio.Event) -> None:
        happened = asyncio.ensure_future(event.wait())
        ending = asyncio.ensure_future(self._server_ends.wait())
        try:
            await asyncio.wait({happened, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not event.is_set():
                raise ServerEnds("the server is ending; the build is stopped when it starts again")
        finally:
            happened.cancel()
            ending.cancel()


def _without_password(config: str) -> tuple[str, Login | None]:
    """The text of a valid pipeline without the password of its clone URL, and with what to fetch it."""
    config, url = taken_out(config)
    return config, login_in(url) if url is not None else None


def _check(
    definition: Definition, branch: str | None, variables: Mapping[str, str], pipeline_id: int
) -> None:
    problems: list[Problem] = []
    if len(variables) > MAX_VARIABLES:
        message = f"the build would have {len(variables)} variables; at most {MAX_VARIABLES} can be given"
        raise Invalid([Problem("environments", message)])
    if branch is not None:
        try:
            repositories.check_branch(branch)
        except ValueError as error:
            problems.append(Problem("branch", str(error)))
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
    for name in variables:
        if name in definition.secrets:
            message = (
                f"{name} is a secret of this pipeline and can't be given; an administrator can change it "
                f"with 'rapidflow secret set {name} --pipeline {pipeline_id}'"
            )
        elif name in definition.env:
            continue
        elif definition.secrets:
            # By BASH_ENV and many others, whoever starts the build could have it print its secrets.
            message = (
                f"{name} can't be given to a build that has secrets, because the pipeline does not have it "
                "under 'env'; an administrator can add it there"
            )
        elif has_power(name):
            message = (
                f"{name} can change what a build runs, and can only be given where the pipeline has it under "
                "'env'; an administrator can add it there"
            )
        else:
            continue
        problems.append(Problem(f"environments.{name}", message))
    if definition.expose_ports:
        port = variables.get("PORT", "")
        if not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
            problems.append(
                Problem("environments.PORT", "expose_ports needs the variable PORT, a number from 1 to 65535")
            )
    if problems:
        raise Invalid(problems[: parser.MAX_PROBLEMS])
