"""One build's life, from the claim to the removed container.

What the agent prints drives everything (see `agent_session.py`), so a build that an earlier server started is
taken up by reading on from the log's last record.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Generator
from dataclasses import replace
from typing import TypeVar, cast

from rapidflow_web.builds import disk, reasons
from rapidflow_web.builds.agent_session import AgentSession, StartOver
from rapidflow_web.builds.ending import Ending
from rapidflow_web.builds.masks import Masks
from rapidflow_web.builds.plan import Plan
from rapidflow_web.builds.preparation import Granted, Preparation, Tools, has_begun, when_reachable
from rapidflow_web.builds.services import Services
from rapidflow_web.builds.silence import Silence
from rapidflow_web.builds.start_record import StartRecord, uptime
from rapidflow_web.builds.step_progress import StepProgress
from rapidflow_web.builds.stopping import Outcome, Stopping
from rapidflow_web.builds.timeline import Timeline
from rapidflow_web.db import job_steps, jobs, repositories
from rapidflow_web.db.database import now_ms
from rapidflow_web.db.models import Job
from rapidflow_web.errors import BuildError, Cause, ContainerLost, EngineUnavailable, RapidFlowError
from rapidflow_web.executors.agent import protocol
from rapidflow_web.executors.base import Process, RunningBuild
from rapidflow_web.logs.log import LogStore
from rapidflow_web.logs.writer import LogWriter
from rapidflow_web.pipeline.durations import format_duration
from rapidflow_web.pipeline.node_labels import listed, wanted
from rapidflow_web.pipeline.triggers import NO_FAILURE
from rapidflow_web.removal import remove_folder
from rapidflow_web.shielding import EndedEarly, to_the_end, unless
from rapidflow_web.source.mirrors import Account

_log = logging.getLogger(__name__)

T = TypeVar("T")

_ATTEMPTS = 5
"""How often a build is prepared, where the container is lost again and again before the first step."""
_RESUME_SECONDS = 5.0
"""What a build that is taken up again has at least, to say that it ended in time, unheard."""
_DISK_SECONDS = 1.0
_PATIENCE = 1.5
"""Seconds that a server that is to end waits for a build that is just ending."""


class Execution:
    """Runs one job that was claimed. `finished` is set when nothing is left to do for it."""

    def __init__(
        self, tools: Tools, ending: Ending, job: Job, plan: Plan, writer: LogWriter, logs: LogStore
    ) -> None:
        self.job = job
        self._masks = Masks(tools.vault, job.id)
        self.timeline = Timeline(job.timeline, self._masks.hide)
        self.finished = asyncio.Event()
        self._tools = tools
        self._ending = ending
        self._plan = plan
        self._machine = tools.executor.on(job.node)
        self._writer = writer
        self._root = tools.work / str(job.id)
        self._start_record = StartRecord(self._root)
        self._nonce = protocol.nonce_for(tools.marker_key, job.id)
        self._running: RunningBuild | None = None
        self._in_a_hurry = asyncio.Event()
        """Set when the server ends: what is left to do is done at once."""
        self._progress = StepProgress(plan.main.steps, writer)
        self._stopping = Stopping(job.id, self._progress, tools.settings.grace)
        self._cancelled = False
        # As it is, though a step has failed: one that needs a service fails sooner than that is known to end.
        stop = self._stopping.resume
        self._services = Services(tools, job, plan, logs, self._masks, self.timeline, stop)
        self._session = AgentSession(
            job.id, self._nonce, plan.limits, plan.post_timeout, self._machine.place,
            self._progress, self.timeline, writer, self._masks, self._stopping,
        )  # fmt: skip

    @property
    def stopped(self) -> asyncio.Event:
        """Set when a stop that was requested is done: nothing of the build runs any more."""
        return self._stopping.done

    @property
    def service_names(self) -> tuple[str, ...]:
        """The services that run beside it."""
        return tuple(service.name for service in self._plan.services)

    @property
    def images(self) -> set[str]:
        """The images of its containers, as far as they are known."""
        images = {service.image for service in self._plan.services}
        return images if self.job.image is None else images | {self.job.image}

    @property
    def stuck(self) -> str | None:
        """Why its output can't be written now; None while all is well."""
        return self._writer.stuck

    @property
    def silence(self) -> Silence | None:
        """For how long the step that runs has printed nothing; None while none does."""
        return self._session.silence if self._progress.runs else None

    @property
    def step_id(self) -> int | None:
        """The step that runs."""
        return self._progress.running_id

    @property
    def in_post(self) -> bool:
        """Whether the steps that are `post` have their turn."""
        return self._progress.in_post

    async def processes(self) -> list[Process]:
        """What runs in the build now. Raises `EngineUnavailable`, `BuildError`."""
        found = [] if self._running is None else await self._running.processes()
        return [replace(process, command=self._masks.hide(process.command)) for process in found]

    def cancel(self) -> None:
        """Ends the build at a person's request; `finished` tells when that is done.

        The steps that are `post` run all the same. Safe to call again.
        """
        self._cancelled = True
        self._stopping.request(Outcome("cancelled"))

    def insist(self) -> None:
        """Ends the steps that are `post`, if they run, where a cancel was requested before."""
        if self._cancelled:
            self._stopping.end_post(Outcome("cancelled"))

    async def run(self, resume: bool, ended: Callable[[], None]) -> None:
        """Builds, or with `resume` goes on with a build that an earlier server began.

        Calls `ended` when the build has; what it ran in is removed after that.
        A cancelled call lets go of the build without stopping it, for the next server to take up.
        """
        try:
            try:
                with self._time_limit(resume):
                    if self.job.cancelled:
                        self.cancel()
                    outcome = await (self._resume() if resume else self._build())
                if self._stopping.outcome is None:
                    outcome = await self._services.blamed(outcome)
            except RapidFlowError as error:
                reason = str(error)
                if error.cause == "engine_lost":
                    reason = reasons.at_node(reason, self.job.node_name)
                outcome = self._progress.failed(reason, error.cause)
            except Exception as error:
                _log.exception("unexpected error")
                outcome = Outcome("failed", f"the build server failed: {type(error).__name__}: {error}")
            await self._stopping.end()
            if (stop := self._stopping.outcome) is not None:
                outcome = stop
            outcome = replace(outcome, error=outcome.error and self._masks.hide(outcome.error))
        except asyncio.CancelledError:
            await to_the_end(self._detach(), _PATIENCE)
            raise
        try:
            await to_the_end(self._finish(outcome, ended), _PATIENCE, self._hurry)
        finally:
            self._writer.close()
            self._services.close()

    @contextlib.contextmanager
    def _time_limit(self, resume: bool) -> Generator[None]:
        """Stops the build when it has taken too long, as long as the block lasts."""
        if (left := self._seconds_left()) is None:
            yield
            return
        seconds = max(left, _RESUME_SECONDS if resume else 0.0)
        timer = asyncio.get_running_loop().call_later(seconds, self._time_out)
        try:
            yield
        finally:
            timer.cancel()

    def _time_out(self) -> None:
        if self.in_post:
            return  # these have a limit of their own
        timeout = format_duration(self._plan.limits.timeout or 0)
        self._stopping.request(Outcome("failed", f"the build timed out after {timeout}", "timeout"))

    # Beginning

    def _seconds_left(self) -> float | None:
        if self._plan.limits.timeout is None:
            return None
        if (began := self._start_record.at) is not None:
            return self._plan.limits.timeout - (uptime() - began)
        return self._plan.limits.timeout - (now_ms() - (self.job.started_at or now_ms())) / 1000

    async def _granted(self) -> Granted:
        """The secrets of the build, and for whom its source is fetched. Raises `BuildError`, `VaultError`.

        A build that nothing vouches for gets neither secrets nor logins.

        They are noted as they are now: a server that takes the build up has to mask what the build was given.
        """
        vault, job = self._tools.vault, self.job
        repository = await repositories.of_pipeline(job.pipeline_id)
        scope = job.pipeline_id if repository is None else vault.scope_of_repository(repository.id)
        values: dict[str, str] = {}
        if not job.untrusted:
            granted = repository.secrets if repository is not None else None
            values = await vault.of_build(job.pipeline_id, self._plan.secrets, granted)
        login = await vault.login_of(scope) if job.repo_name is not None else None
        await self._masks.load()
        await self._masks.add([*values.values(), *([login.password] if login is not None else [])])
        return values, Account(scope, login)

    async def _build(self) -> Outcome:
        if not self._progress.first:
            return Outcome("success")  # all steps are left out
        self._services.check()
        await self._check_labels()
        began = uptime()
        lost = 0
        while lost < _ATTEMPTS:
            self.timeline.restart(self.job.created_at, self.job.started_at)
            preparation = Preparation(
                self._tools, self.job, self._plan, self._granted, self.timeline, self._services
            )
            try:
                running = await unless(self._stopping.requested, preparation.run())
            except EndedEarly:
                raise BuildError("the build was stopped") from None
            except BuildError:
                if await self._waited_for_room():
                    continue
                raise
            self._running = running
            try:
                self._start_record.note(began)
                return await self._session.follow(running, preparation.archive)
            except StartOver:
                lost += 1
                if (outcome := await self._abandon(running)) is not None:
                    return outcome
            finally:
                await to_the_end(preparation.archive.close())
        raise ContainerLost("the container was lost before the first step, again and again")

    async def _check_labels(self) -> None:
        """Raises `BuildError` where the only machine there is does not have the labels that are asked for."""
        asked = wanted(self.job.on_node)
        if not asked or self.job.node is not None:
            return  # the queue has found a node that has them
        labels = await self._when_reachable(self._machine.labels)
        missing = {name: value for name, value in asked.items() if labels.get(name) != value}
        if missing:
            raise BuildError(
                f"the pipeline asks for a machine with {listed(asked)} (on_node), and this server has a "
                f"single machine, without {listed(missing)}"
            )

    async def _waited_for_room(self) -> bool:
        """Whether the disk was full, and is not any more."""
        # What there is of this build takes room as well, and may be all that does.
        await asyncio.to_thread(remove_folder, self._root)
        was_full = False
        while problem := await asyncio.to_thread(disk.problem, self._tools.settings.data):
            if not was_full:
                self.timeline.begin("disk").note(f"waiting: {problem}")
                was_full = True
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DISK_SECONDS):
                    await self._stopping.requested.wait()
                    return False
        return was_full

    async def _abandon(self, running: RunningBuild) -> Outcome | None:
        """Gives up a container in which no step has run, or returns how the build ended where one has."""
        # It may just have been told to begin, and no step may run twice: once it has ended, it is certain.
        await self._when_reachable(running.exit)
        if await has_begun(running, self._nonce):
            return await self._session.follow(running, has_ended=True)
        _log.info("the container is lost; preparing the build anew")
        self._running = None
        # Before the container goes, because without one a build that may have run a step has failed.
        self._start_record.forget()
        await self._services.remove()
        try:
            await running.remove()
        except RapidFlowError as error:
            _log.warning("%s; the next container takes its place", error)
        return None

    async def _resume(self) -> Outcome:
        records = self._writer.records
        for record in records:
            await self._progress.restore(record, self._stopping.outcome)
        if self.job.error is not None:
            # The reason for an end is stored before anything is stopped.
            self._stopping.resume(Outcome("failed", self.job.error, cast("Cause | None", self.job.cause)))
        outcome = None
        if self._progress.number and not self._progress.runs:
            # Between the end of a step and the header of the next one, which a stop may keep from running.
            following = self._progress.next_after(0, self._stopping.outcome is not None)
            if following is None:
                outcome = self._progress.outcome() or self._stopping.outcome
            else:
                await self._progress.begin(following, self._writer.source)
        if self.job.node is not None:
            # What led there has ended with the earlier server.
            await self._store_ports(None)
        running = await self._find(wait=outcome is None)
        try:
            if outcome is None:
                # Without them nothing of what it prints and does may be shown: it ends with the reason.
                await self._masks.load()
        finally:
            self._running = running
        if outcome is not None:
            with contextlib.suppress(RapidFlowError):
                await self._masks.load()
                await self._services.resume_at_end()
            return outcome
        if running is not None:
            await self._store_ports(running.ports)
            return await self._go_on(running)
        if self._progress.number or self._start_record.noted:
            raise ContainerLost("the container of the build was gone when the server started again")
        return await self._build()

    async def _store_ports(self, ports: dict[str, str] | None) -> None:
        if ports != self.job.ports:
            self.job.ports = ports
            await jobs.update(self.job.id, ports=ports)

    async def _find(self, wait: bool) -> RunningBuild | None:
        """What an earlier server left running. With `wait` waits for an engine that is away."""
        spec = self._tools.spec(self.job, self._plan)

        async def find() -> RunningBuild | None:
            if self.job.node is not None and self._tools.executor.nodes is None:
                # It is not "not there", or it could be built twice.
                raise EngineUnavailable("it is not among the machines of this server")
            return await self._machine.find(spec)

        if wait:
            return await self._when_reachable(find)
        try:
            return await find()
        except RapidFlowError:
            return None  # how the build ended is known; the next sweep removes what is left

    async def _when_reachable(self, call: Callable[[], Awaitable[T]]) -> T:
        return await when_reachable(
            call,
            self._tools.settings.engine_timeout,
            lambda reason: _log.warning("%s", reason),
        )

    async def _go_on(self, running: RunningBuild) -> Outcome:
        try:
            if self._progress.number:
                await self._services.resume()
            outcome = await self._session.follow(running)
            if self._progress.number:
                return outcome
        except BuildError:
            if self._progress.number:
                raise
        if self._stopping.outcome is not None:
            raise BuildError("the build was stopped")
        # Before the first step it does not matter what became of the container.
        return await self._abandon(running) or await self._build()

    # The end

    def make_room(self) -> None:
        """What the build ran in is removed at once when it has ended, also while other builds begin."""
        self._in_a_hurry.set()

    def _hurry(self) -> None:
        self._in_a_hurry.set()
        self._services.hurry()

    async def _finish(self, outcome: Outcome, ended: Callable[[], None]) -> None:
        """Stores the end, then tells the readers, then leaves nothing behind."""
        self.timeline.finish()
        if outcome.status != "cancelled" and (left_out := self._progress.left_out):
            await job_steps.skip(left_out, NO_FAILURE)
        if self._plan.services and outcome.error is not None:
            # For a server that takes the build up: it would find the services killed and blame them.
            await jobs.note_reason(self.job.id, outcome.error, outcome.cause)
        if not await self._services.end():
            return  # the next server goes on with it
        await self._ending.ended(
            self.job.id,
            outcome.status,
            outcome.error,
            writer=self._writer,
            last_output=self._session.end,
            ports=None,
            timeline=self.timeline.stored(),
            cause=outcome.cause,
        )
        ended()
        if self._running is not None:
            if not self._stopping.requested.is_set():
                with contextlib.suppress(EndedEarly):
                    await unless(self._in_a_hurry, self._machine.quiet())
            await self._services.remove()
            try:
                await self._running.remove()
            except RapidFlowError as problem:
                _log.warning("%s; the next sweep removes what is left", problem)
        await asyncio.to_thread(remove_folder, self._root)
        self.finished.set()

    async def _detach(self) -> None:
        self._writer.close()
        await self._stopping.let_go()
        await self._services.let_go()
        if self._running is not None:
            await self._running.detach()
