"""One build's life, from the claim to the removed container.

What the agent prints drives everything (see `agent_session.py`), so a build that an earlier server started is
taken up by reading on from the log's last record.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from rapidflow_web.builds import disk
from rapidflow_web.builds.agent_session import Conversation, StartOver
from rapidflow_web.builds.ending import Ending
from rapidflow_web.builds.masks import Masks
from rapidflow_web.builds.preparation import Preparation, Tools, has_begun, when_reachable
from rapidflow_web.builds.silence import Silence
from rapidflow_web.builds.start_record import Began, uptime
from rapidflow_web.builds.stopping import Outcome, Stopping
from rapidflow_web.builds.timeline import Timeline
from rapidflow_web.db import jobs
from rapidflow_web.db.database import now_ms
from rapidflow_web.db.models import Job, Step
from rapidflow_web.errors import BuildError, RapidFlowError
from rapidflow_web.executors.agent import protocol
from rapidflow_web.executors.base import Process, Running
from rapidflow_web.logs.index import Kind
from rapidflow_web.logs.writer import LogWriter
from rapidflow_web.pipeline.definition import ParsedPipeline
from rapidflow_web.pipeline.durations import format_duration
from rapidflow_web.pipeline.logins import Login
from rapidflow_web.removal import remove_folder
from rapidflow_web.shielding import to_the_end

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
        self,
        tools: Tools,
        ending: Ending,
        job: Job,
        definition: ParsedPipeline,
        steps: list[Step],
        environment: dict[str, str],
        writer: LogWriter,
    ) -> None:
        self.job = job
        self._masks = Masks(tools.vault, job.id)
        self.timeline = Timeline(job.timeline, self._masks.hide)
        self.finished = asyncio.Event()
        self._tools = tools
        self._ending = ending
        self._definition = definition
        self._environment = environment
        self._login: Login | None = None
        self._writer = writer
        self._root = tools.work / str(job.id)
        self._first = Began(self._root)
        self._nonce = protocol.nonce_for(tools.marker_key, job.id)
        self._running: Running | None = None
        self._limits = tools.limits(definition)
        self._stopping = Stopping(job.id, lambda: tools.settings.grace if self._conversation.step_runs else 0)
        place = "the container" if tools.executor.images else "the process of the build"
        self._conversation = Conversation(
            self._nonce, steps, self._limits, writer, self._masks, self._stopping, place, self._advance
        )

    @property
    def stopped(self) -> asyncio.Event:
        """Set when a stop that was requested is done: nothing of the build runs any more."""
        return self._stopping.done

    @property
    def stuck(self) -> str | None:
        """Why its output can't be written now; None while all is well."""
        return self._writer.stuck

    @property
    def silence(self) -> Silence | None:
        """For how long the step that runs has printed nothing; None while none does."""
        return self._conversation.silence if self._conversation.step_runs else None

    @property
    def step_id(self) -> int | None:
        """The step that runs."""
        span = self._writer.log.layout.running
        return None if span is None else span.step_id

    async def processes(self) -> list[Process]:
        """What runs in the build now. Raises `EngineUnavailable`, `BuildError`."""
        found = [] if self._running is None else await self._running.processes()
        return [replace(process, command=self._masks.hide(process.command)) for process in found]

    def cancel(self) -> None:
        """Ends the build at a person's request; `finished` tells when that is done."""
        self._stopping.request(Outcome("cancelled"))

    async def run(self, resume: bool) -> None:
        """Builds, or with `resume` goes on with a build that an earlier server began.

        A cancelled call lets go of the build without stopping it, for the next server to take up.
        """
        try:
            outcome = await self._outcome(resume)
        except asyncio.CancelledError:
            await to_the_end(self._detach(), _PATIENCE)
            raise
        await to_the_end(self._finish(outcome), _PATIENCE)

    async def _outcome(self, resume: bool) -> Outcome:
        timer = None
        if (left := self._seconds_left()) is not None:
            seconds = max(left, _RESUME_SECONDS if resume else 0.0)
            timer = asyncio.get_running_loop().call_later(seconds, self._time_out)
        try:
            if self.job.cancelled:
                self.cancel()
            outcome = await (self._resume() if resume else self._build())
        except RapidFlowError as error:
            outcome = Outcome("failed", str(error))
        except Exception as error:
            _log.exception("unexpected error")
            outcome = Outcome("failed", f"the build server failed: {type(error).__name__}: {error}")
        finally:
            if timer is not None:
                timer.cancel()
        await self._stopping.end()
        outcome = self._stopping.outcome or outcome
        return replace(outcome, error=outcome.error and self._masks.hide(outcome.error))

    def _time_out(self) -> None:
        timeout = format_duration(self._limits.timeout or 0)
        self._stopping.request(Outcome("failed", f"the build timed out after {timeout}"))

    # Beginning

    def _seconds_left(self) -> float | None:
        if self._limits.timeout is None:
            return None
        if (began := self._first.at) is not None:
            return self._limits.timeout - (uptime() - began)
        return self._limits.timeout - (now_ms() - (self.job.started_at or now_ms())) / 1000

    async def _grant(self) -> None:
        """Gives the build the secrets that its pipeline names. Raises `BuildError`, `VaultError`.

        They are noted as they are now: a server that takes the build up has to mask what the build was given.
        """
        vault = self._tools.vault
        values = await vault.of_build(self.job.pipeline_id, self._definition.secrets)
        if self.job.repo_name is not None:
            self._login = await vault.login_of(self.job.pipeline_id)
        await self._masks.load()
        await self._masks.add(
            [*values.values(), *([self._login.password] if self._login is not None else [])]
        )
        self._environment |= values

    async def _build(self) -> Outcome:
        began = uptime()
        await self._grant()
        for _ in range(_ATTEMPTS):
            preparation, running = await self._prepared()
            self._running = running
            try:
                self._first.note(began)
                return await self._conversation.follow(running, preparation.archive)
            except StartOver:
                await self._abandon(running)
            finally:
                await to_the_end(preparation.archive.close())
        raise BuildError("the container was lost before the first step, again and again")

    async def _prepared(self) -> tuple[Preparation, Running]:
        """What is prepared, and its agent. Where it fails because the disk is full, it waits for room."""
        while True:
            self.timeline = Timeline([], self._masks.hide)
            self.timeline.begin("queued", self.job.created_at).finished_at = self.job.started_at
            preparation = Preparation(
                self._tools, self.job, self._definition, self._environment, self._login, self.timeline
            )
            try:
                return preparation, await self._unless_stopped(preparation.run())
            except BuildError:
                if not await self._waited_for_room():
                    raise

    async def _waited_for_room(self) -> bool:
        """Whether the disk was full, and is not any more."""
        # What there is of this build takes room as well, and may be all that does.
        await asyncio.to_thread(remove_folder, self._root)
        was_full = False
        while problem := await asyncio.to_thread(disk.problem, self._tools.settings.data):
            if not was_full:
                self.timeline.begin("disk").note(f"waiting: {problem}")
                was_full = True
            stopped = asyncio.ensure_future(self._stopping.requested.wait())
            await asyncio.wait({stopped}, timeout=_DISK_SECONDS)
            stopped.cancel()
            if self._stopping.outcome is not None:
                return False
        return was_full

    async def _abandon(self, running: Running) -> None:
        """Gives up a container in which no step has run. Raises `BuildError` where one has after all."""
        _log.info("the container is lost; preparing the build anew")
        # It may just have been told to begin, and no step may run twice: once it has ended, it is certain.
        await self._when_reachable(running.exit)
        if await has_begun(running, self._nonce):
            raise BuildError("the connection to the build was lost just as its first step began")
        self._running = None
        # Before the container goes, because without one a build that may have run a step has failed.
        self._first.forget()
        try:
            await running.remove()
        except RapidFlowError as error:
            _log.warning("%s; the next container takes its place", error)

    async def _unless_stopped(self, work: Awaitable[Running]) -> Running:
        """The result of `work`, which is cancelled when the build is to stop."""
        task = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future(self._stopping.requested.wait())
        try:
            await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise BuildError("the build was stopped")
            return task.result()
        finally:
            stopped.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait({task})

    async def _resume(self) -> Outcome:
        records = self._writer.records
        for record in records:
            await self._conversation.store_step(record)
        if self.job.error is not None:
            # The reason for an end is stored before anything is stopped.
            self._stopping.request(Outcome("failed", self.job.error))
        ended = [record for record in records if record.kind is Kind.END]
        outcome = self._conversation.after_step(len(ended), ended[-1].value) if ended else None
        if outcome is None and ended and not self._conversation.step_runs:
            # Between the end of a step and the header of the next one.
            await self._conversation.begin_step(len(ended) + 1, self._writer.source)
        running = await self._find(wait=outcome is None)
        try:
            if outcome is None:
                # Without them nothing of what it prints and does may be shown: it ends with the reason.
                await self._masks.load()
        finally:
            self._running = running
        if outcome is not None:
            return outcome
        if running is not None:
            return await self._go_on(running)
        if self._conversation.begun or self._first.noted:
            raise BuildError("the container of the build was gone when the server started again")
        return await self._build()

    async def _find(self, wait: bool) -> Running | None:
        """What an earlier server left running. With `wait` waits for an engine that is away."""
        spec = self._tools.spec(self.job, self._definition, self._environment)
        if wait:
            return await self._when_reachable(lambda: self._tools.executor.find(spec))
        try:
            return await self._tools.executor.find(spec)
        except RapidFlowError:
            return None  # how the build ended is known; the next sweep removes what is left

    async def _when_reachable(self, call: Callable[[], Awaitable[T]]) -> T:
        return await when_reachable(
            call,
            self._tools.settings.engine_timeout,
            lambda reason: _log.warning("%s", reason),
        )

    async def _go_on(self, running: Running) -> Outcome:
        try:
            outcome = await self._conversation.follow(running)
            if self._conversation.begun:
                return outcome
        except BuildError:
            if self._conversation.begun:
                raise
        if self._stopping.outcome is not None:
            raise BuildError("the build was stopped")
        # Before the first step it does not matter what became of the container.
        await self._abandon(running)
        return await self._build()

    # The end

    async def _finish(self, outcome: Outcome) -> None:
        """Stores the end, then tells the readers, then leaves nothing behind."""
        self.timeline.finish()
        await self._ending.ended(
            self.job.id,
            outcome.status,
            outcome.error,
            writer=self._writer,
            last_output=self._conversation.end,
            ports=None,
            timeline=self.timeline.stored(),
        )
        if self._running is not None:
            try:
                await self._running.remove()
            except RapidFlowError as problem:
                _log.warning("%s; the next sweep removes what is left", problem)
        await asyncio.to_thread(remove_folder, self._root)
        self.finished.set()

    async def _advance(self, first_step: bool) -> None:
        """Notes that the source is where the build runs, or that its first step has begun."""
        if first_step:
            self.timeline.finish()
        elif self._tools.executor.images:
            # The agent has all of it now; no secret need lie on the disk.
            (self._root / "rapidflow" / "env").unlink(missing_ok=True)
        await jobs.update(self.job.id, timeline=self.timeline.stored())

    async def _detach(self) -> None:
        self._writer.close()
        await self._stopping.let_go()
        if self._running is not None:
            await self._running.detach()
