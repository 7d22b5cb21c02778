"""Claims pending jobs, first come first served, a slot for each running build."""

from __future__ import annotations

import asyncio
import logging
import shutil

from rapidflow_web import metrics
from rapidflow_web.db import jobs
from rapidflow_web.db.models import Job
from rapidflow_web.engine.execution import Execution
from rapidflow_web.engine.preparation import Tools
from rapidflow_web.errors import EngineUnavailable, Invalid
from rapidflow_web.executors.base import Executor
from rapidflow_web.logs import render
from rapidflow_web.logs.log import LogStore
from rapidflow_web.pipeline import parser

_log = logging.getLogger(__name__)

_CHECK_SECONDS = 5.0
_ANY_ROOT = ("/",)
"""Where a definition was taken once, the source decides what may be fetched now."""


class Scheduler:
    """Runs jobs. `run` is its life; the other methods are for everybody."""

    def __init__(self, tools: Tools, logs: LogStore) -> None:
        self._tools = tools
        self._logs = logs
        self._executions: dict[int, Execution] = {}
        self._live: set[int] = set()
        """The jobs that may have something in the executor; each is in it before it does."""
        self._slots = asyncio.Semaphore(tools.settings.concurrency)
        self._wake = asyncio.Event()
        self.engine_problem: str | None = None
        """Why no build can be started now, in a sentence; None while all is well."""

    @property
    def executor(self) -> Executor:
        """Where builds run."""
        return self._tools.executor

    @property
    def disk_problem(self) -> str | None:
        """Why logs can't be written now, in a sentence; None while all is well."""
        return next((one.stuck for one in self._executions.values() if one.stuck is not None), None)

    @property
    def running(self) -> int:
        """How many builds run."""
        return len(self._executions)

    def wake(self) -> None:
        """A job may be waiting."""
        self._wake.set()

    def execution(self, job_id: int) -> Execution | None:
        """The execution of a job that runs here."""
        return self._executions.get(job_id)

    async def run(self) -> None:
        """Takes up what an earlier server left, then runs jobs until cancelled.

        When it is cancelled, the builds go on without the server.
        """
        async with asyncio.TaskGroup() as group:
            await self._recover(group)
            await self._check_engine()
            group.create_task(self._watch_engine())
            while True:
                await self._slots.acquire()
                try:
                    job = await self._next()
                except BaseException:
                    self._slots.release()
                    raise
                self._live.add(job.id)
                metrics.WAITED_SECONDS.observe(((job.started_at or 0) - job.created_at) / 1000)
                group.create_task(self._execute(job))

    async def _next(self) -> Job:
        while True:
            self._wake.clear()
            if self.engine_problem is None and (job := await self._claim()):
                return job
            await self._wake.wait()

    async def _claim(self) -> Job | None:
        try:
            return await jobs.claim()
        except Exception as error:
            # Whatever it is, builds must be run when it is over; the watch wakes us to try again.
            _log.warning("no job can be claimed: %s", error)
            return None

    async def _watch_engine(self) -> None:
        """Looks after the engine, and for what is left in it of builds that have ended."""
        while True:
            if self.engine_problem is None:
                await self._sweep()
            await asyncio.sleep(_CHECK_SECONDS)
            try:
                await self._check_engine()
            except Exception:
                _log.exception("the engine can't be looked after")

    async def _check_engine(self) -> None:
        try:
            await self.executor.check()
        except EngineUnavailable as error:
            if self.engine_problem is None:
                _log.warning("%s", error)
            self.engine_problem = str(error)
        else:
            if self.engine_problem is not None:
                _log.info("the engine answers again")
            self.engine_problem = None
            self.wake()

    async def _sweep(self) -> None:
        try:
            if removed := await self.executor.sweep(self._live):
                _log.info("removed what %d builds left behind", removed)
            await asyncio.to_thread(self._sweep_work)
        except Exception as error:
            _log.warning("what is left of builds that have ended can't be removed yet: %s", error)

    def _sweep_work(self) -> None:
        for folder in self._tools.work.iterdir():
            if not folder.name.isdigit() or int(folder.name) not in self._live:
                shutil.rmtree(folder, ignore_errors=True)

    async def _execute(self, job: Job, *, resume: bool = False, slot: bool = True) -> None:
        try:
            await self._run(job, resume)
        except Exception as error:
            # Nothing may stay "running" for ever, whatever went wrong.
            _log.exception("job %d: unexpected error", job.id)
            await self._fail_surely(job.id, f"the build server failed: {type(error).__name__}: {error}")
            if execution := self._executions.get(job.id):
                execution.finished.set()
        finally:
            self._executions.pop(job.id, None)
            self._live.discard(job.id)
            if slot:
                self._slots.release()

    async def _run(self, job: Job, resume: bool) -> None:
        await job.fetch_related("definition")
        try:
            definition = parser.parse(job.definition.config, _ANY_ROOT, job.definition.name)
        except Invalid as error:
            # A later version may be stricter than the one that stored it.
            await self._fail(job.id, f"the pipeline is no longer valid: {error}")
            return
        steps, variables = await jobs.steps_of(job.id), await jobs.environment_of(job.id)
        environment = {variable.key: variable.value for variable in variables}
        writer = self._logs.writer(job.id, self._tools.limits(definition).log_limit)
        execution = Execution(self._tools, job, definition, steps, environment, writer)
        self._executions[job.id] = execution
        await execution.run(resume)

    async def _recover(self, group: asyncio.TaskGroup) -> None:
        for job in await jobs.unsealed():
            if job.status == "running":
                _log.info("job %d: taking it up again", job.id)
                self._live.add(job.id)
                # It runs already, so it is heard also where there are fewer slots now.
                slot = not self._slots.locked()
                if slot:
                    await self._slots.acquire()
                group.create_task(self._execute(job, resume=True, slot=slot))
            elif job.status != "pending":
                # The server was killed between the end of the build and the last line of its log.
                group.create_task(self._seal_or_say(job.id))

    async def _fail_surely(self, job_id: int, reason: str) -> None:
        while True:
            try:
                await self._fail(job_id, reason)
                return
            except Exception as error:
                _log.warning("job %d: its end can't be stored; trying again: %s", job_id, error)
            await asyncio.sleep(_CHECK_SECONDS)

    async def _fail(self, job_id: int, reason: str) -> None:
        await jobs.fail_steps(job_id)
        await jobs.finish(job_id, "failed", reason)
        metrics.BUILDS.labels("failed").inc()
        await self.seal(job_id)

    async def _seal_or_say(self, job_id: int) -> None:
        try:
            await self.seal(job_id)
        except Exception:
            # The next start tries again; the other builds must go on.
            _log.exception("job %d: its log can't be ended", job_id)

    async def seal(self, job_id: int) -> None:
        """Ends the log of a job that has finished and has no execution. Safe to call again."""
        job = await jobs.get(job_id)
        if job is None:
            return
        log = self._logs.open(job_id)
        if not log.sealed:
            await self._logs.writer(job_id).seal(render.final_lines(job.status, job.error))
        await jobs.update(job_id, log_size=log.size)
