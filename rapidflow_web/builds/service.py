"""What people and programs can do with pipelines, and the cancel of a build."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from rapidflow_web.builds import definitions
from rapidflow_web.builds.ending import Ending
from rapidflow_web.builds.execution import Execution
from rapidflow_web.builds.lead import Lead
from rapidflow_web.builds.leads import Leads
from rapidflow_web.builds.supervisor import Supervisor
from rapidflow_web.db import jobs, parts, pipelines
from rapidflow_web.db.database import is_away
from rapidflow_web.db.models import Pipeline
from rapidflow_web.db.users import NoSuchUser
from rapidflow_web.errors import BadRequest, Conflict, Invalid, Problem, RequestError
from rapidflow_web.pipeline.clone_credentials import Login, login_for, login_in, taken_out
from rapidflow_web.pipeline.definition import ParsedPipeline
from rapidflow_web.secrets.vault import Vault, check_value
from rapidflow_web.settings import Settings
from rapidflow_web.shielding import EndedEarly, unless

_REGISTER_SECONDS = 0.01
_REGISTER_AT_MOST = 10.0


class ShuttingDown(RequestError):
    """The server ends before what was asked for is done; the next one does it."""

    status = 500


class Service:
    """Stores pipelines and cancels builds."""

    def __init__(
        self, supervisor: Supervisor, leads: Leads, ending: Ending, vault: Vault, settings: Settings
    ) -> None:
        self._supervisor = supervisor
        self._leads = leads
        self._ending = ending
        self._vault = vault
        self._settings = settings
        self._server_ends = asyncio.Event()

    async def parse(self, config: str, name: str | None = None) -> ParsedPipeline:
        """The definition in YAML text. Raises `Invalid`."""
        return await definitions.parse(self._settings, config, name)

    async def add(
        self, config: str, name: str | None = None, *, by: str, seen_by: Sequence[str] | None = None
    ) -> Pipeline:
        """Stores a pipeline, and apart from it the password of its clone URL.

        With `seen_by` only these users and administrators see it. Raises `Invalid`, `VaultError`.
        """
        definition = await self.parse(config, name)
        config, login = _without_password(config)
        if login is not None:
            await self._vault.check_key()
        try:
            pipeline = await pipelines.create(definition.name, config, seen_by, definition.labels)
        except NoSuchUser as error:
            raise Invalid([Problem("visibility.users", str(error))]) from None
        if login is not None:
            await self._vault.put_login(pipeline.id, login, by)
        return pipeline

    async def change(self, pipeline_id: int, config: str, name: str | None = None, *, by: str) -> Pipeline:
        """Gives a pipeline a new definition; a password that is stored stays where the clone URL has none.

        Raises `NotFound`, `Invalid`, `VaultError`.
        """
        pipeline = await pipelines.existing(pipeline_id)
        if pipeline.path is not None:
            raise Conflict(
                f"pipeline {pipeline_id} is defined by {pipeline.path} in its repository; change it there"
            )
        definition = await self.parse(config, name)
        config, login = _without_password(config)
        if login is not None:
            await self._vault.put_login(pipeline_id, login, by)
        if (definition.name, config) != (pipeline.definition.name, pipeline.definition.config):
            await pipelines.update(pipeline_id, definition.name, config, definition.labels)
        return await pipelines.existing(pipeline_id)

    async def put_clone_password(self, pipeline_id: int, password: str, by: str) -> None:
        """Stores the password for the clone URL that a pipeline has.

        Raises `NotFound`, `Invalid`, `VaultError`.
        """
        definition = (await pipelines.existing(pipeline_id, also_deleted=True)).definition
        url = (await self.parse(definition.config, definition.name)).repo_name or ""
        try:
            check_value(password)
            login = login_for(url, password)
        except ValueError as error:
            raise Invalid([Problem("value", str(error))]) from None
        await self._vault.put_login(pipeline_id, login, by)

    async def cancel(self, job_id: int) -> None:
        """Returns when the build is really stopped. Raises `NotFound`, `BadRequest` where it had finished.

        A running build is stopped also while the database can't be written, such as on a full disk; how it
        ended is stored when it can. Once the steps that are `post` run, a second call ends these.
        """
        try:
            await self._cancel(job_id, insists=True)
        except Exception as error:
            execution = self._supervisor.execution(job_id)
            running = [execution] if execution is not None else self._supervisor.executions_of_parts(job_id)
            if not is_away(error) or not running:
                raise
            for one in running:
                one.cancel()
            for one in running:
                await self._until(one.stopped)

    async def cancel_part(self, job_id: int) -> None:
        """Cancels a part of a build that is to end. Safe to call again, as a server does that starts.

        Raises `NotFound`, `BadRequest` where it had finished.
        """
        await self._cancel(job_id, insists=False)

    async def _cancel(self, job_id: int, insists: bool) -> None:
        if await self._ending.cancelled_before_start(job_id):
            return
        if not await jobs.request_cancel(job_id):
            job = await jobs.existing(job_id)
            execution = self._runner(job_id)
            if job.status != "cancelled" or execution is None:
                raise BadRequest(f"job {job_id} has already finished: {job.status}")
            # Another cancel is about to be done with it.
            await self._until(execution.finished)
            return
        deadline = asyncio.get_running_loop().time() + _REGISTER_AT_MOST
        while (execution := self._runner(job_id)) is None:
            # It was claimed a moment ago, or has just ended.
            current = await jobs.get(job_id)
            if current is None or current.status in jobs.FINISHED:
                return
            if self._server_ends.is_set() or asyncio.get_running_loop().time() > deadline:
                raise ShuttingDown(
                    "the build has not been picked up yet; it is stopped when the server starts again"
                )
            await asyncio.sleep(_REGISTER_SECONDS)
        if insists:
            if isinstance(execution, Execution):
                execution.insist()
            elif execution.cancelled:
                # Not at the first cancel: a part that another's failure has ended may clean up all the same.
                for one in self._supervisor.executions_of_parts(job_id):
                    one.insist()
        execution.cancel()
        await self._until(execution.finished)

    async def decide(self, job_id: int, part: str, by: str, *, approved: bool) -> None:
        """Lets the parts go that wait for an approval, or ends them: one part, or all of a job by its name.

        `by` is who says so. Raises `NotFound`, `BadRequest` where there are none, and `Conflict` where they
        don't wait for that.
        """
        await jobs.existing(job_id)
        rows = await parts.of_lead(job_id)
        wanted = [row for row in rows if part in (row.name, parts.job_of(row.name))]
        if not wanted:
            raise BadRequest(f"job {job_id} has no part {part[:100]!r}")
        decide = parts.approve if approved else parts.reject
        if not any([await decide(row.step_id, by) for row in wanted]):
            # Somebody else may have decided since the rows were read.
            rows = await parts.of_lead(job_id)
            row = next(row for row in rows if row.step_id == wanted[0].step_id)
            if row.approved_by is not None:
                raise Conflict(f"'{row.name}' was already approved by {row.approved_by}")
            now = " yet" if row.state == "waiting" else f"; it is {row.state}"
            raise Conflict(f"'{row.name}' does not wait for an approval{now}")
        if (lead := self._leads.lead(job_id)) is not None:
            lead.wake()

    def _runner(self, job_id: int) -> Execution | Lead | None:
        return self._supervisor.execution(job_id) or self._leads.lead(job_id)

    def abort_waits(self) -> None:
        """Lets every call that waits for a build end with an error, because the server ends."""
        self._server_ends.set()

    async def _until(self, event: asyncio.Event) -> None:
        try:
            await unless(self._server_ends, event.wait())
        except EndedEarly:
            raise ShuttingDown("the server is ending; the build is stopped when it starts again") from None


def _without_password(config: str) -> tuple[str, Login | None]:
    """The text of a valid pipeline without the password of its clone URL, and with what to fetch it."""
    config, url = taken_out(config)
    return config, login_in(url) if url is not None else None
