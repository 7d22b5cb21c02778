"""Claims pending jobs, first come first served, a slot for each running build."""

from __future__ import annotations

import asyncio
import logging

from rapidflow_web import metrics
from rapidflow_web.builds import disk
from rapidflow_web.builds.ending import Ending
from rapidflow_web.builds.execution import Execution
from rapidflow_web.builds.preparation import Tools
from rapidflow_web.db import jobs
from rapidflow_web.db.database import now_ms
from rapidflow_web.db.models import Job
from rapidflow_web.errors import EngineUnavailable, Invalid
from rapidflow_web.executors.base import Executor
from rapidflow_web.logs.log import LogStore
from rapidflow_web.pipeline import parser
from rapidflow_web.removal import contents, remove_folder
from rapidflow_web.server_log import about

_log = logging.getLogger(__name__)

_CHECK_SECONDS = 5.0


class Scheduler:
    """Runs jobs. `run` is its life; the other methods are for everybody."""

    def __init__(self, tools: Tools, logs: LogStore, ending: Ending) -> None:
        self._tools = tools
        self._ending = ending
        self._logs = logs
        self._executions: dict[int, Execution] = {}
        self._live: set[int] = set()
        """The jobs that may have something in the executor; each is in it before it does."""
        self._slots = asyncio.Semaphore(tools.settings.concurrency)
        self._wake = asyncio.Event()
        self.engine_problem: str | None = None
        """Why no build can be started now, in a sentence; None while all is well."""
        self._disk_problem: str | None = None
        self.draining = False
        """Whether no more builds are started, because the server is going to end."""
        self._ended = asyncio.Event()
        self.images_used: dict[str, int] = {}
        """When builds last ended that used an image, in ms."""

    @property
    def executor(self) -> Executor:
        """Where builds run."""
        return self._tools.executor

    @property
    def stuck(self) -> str | None:
        """Why the log of a build can't be written now, in a sentence; None while all is well."""
        return next((one.stuck for one in self._executions.values() if one.stuck is not None), None)

    @property
    def disk_problem(self) -> str | None:
        """Why nothing can be written now, in a sentence; None while all is well."""
        return self.stuck or self._disk_problem

    @property
    def running(self) -> int:
        """How many builds run."""
        return len(self._executions)

    def wake(self) -> None:
        """A job may be waiting."""
        self._wake.set()

    def images_in_use(self) -> set[str]:
        """The images of builds that run."""
        return {one.job.image for one in self._executions.values() if one.job.image is not None}

    async def drain(self) -> None:
        """Starts no more builds; returns when those that run have ended."""
        self.draining = True
        while self._live:
            self._ended.clear()
            await self._ended.wait()

    def execution(self, job_id: int) -> Execution | None:
        """The execution of a job that runs here."""
        return self._executions.get(job_id)

    async def run(self) -> None:
        """Takes up what an earlier server left, then runs jobs until cancelled.

        When it is cancelled, the builds go on without the server.
        """
        async with asyncio.TaskGroup() as group:
            await self._recover(group)
            await self._check_disk()
            await self._check_engine()
            group.create_task(self._watch())
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
            if self._can_start and (job := await self._claim()):
                return job
            await self._wake.wait()

    @property
    def _can_start(self) -> bool:
        return not self.draining and self.engine_problem is None and self._disk_problem is None

    async def _claim(self) -> Job | None:
        try:
            return await jobs.claim()
        except Exception as error:
            # Whatever it is, builds must be run when it is over; the watch wakes us to try again.
            _log.warning("no job can be claimed: %s", error)
            return None

    async def _watch(self) -> None:
        """Looks after the disk and the engine, and for what is left in it of builds that have ended."""
        while True:
            if self.engine_problem is None:
                await self._sweep()
            await asyncio.sleep(_CHECK_SECONDS)
            try:
                await self._check_disk()
                await self._check_engine()
            except Exception:
                _log.exception("disk and engine can't be looked after")

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

    async def _check_disk(self) -> None:
        before = self._disk_problem
        self._disk_problem = await asyncio.to_thread(disk.problem, self._tools.settings.data)
        if self._disk_problem != before:
            _log.warning("%s", self._disk_problem or "the disk can be written again")

    async def _sweep(self) -> None:
        try:
            if removed := await self.executor.sweep(self._live):
                _log.info("removed what %d build%s left behind", removed, "s" * (removed != 1))
            await asyncio.to_thread(self._sweep_work)
        except Exception as error:
            _log.warning("what is left of builds that have ended can't be removed yet: %s", error)

    def _sweep_work(self) -> None:
        for folder in contents(self._tools.work):
            if not folder.name.isdigit() or int(folder.name) not in self._live:
                remove_folder(folder)

    async def _execute(self, job: Job, *, resume: bool = False, slot: bool = True) -> None:
        try:
            with about(job.id):
                await self._run_surely(job, resume)
        finally:
            self._executions.pop(job.id, None)
            self._live.discard(job.id)
            self._ended.set()
            if job.image is not None:
                self.images_used[job.image] = now_ms()
            if slot:
                self._slots.release()

    async def _run_surely(self, job: Job, resume: bool) -> None:
        try:
            await self._run(job, resume)
        except Exception as error:
            # Nothing may stay "running" for ever, whatever went wrong.
            _log.exception("unexpected error")
            await self._fail_surely(job.id, f"the build server failed: {type(error).__name__}: {error}")
            if execution := self._executions.get(job.id):
                execution.finished.set()

    async def _run(self, job: Job, resume: bool) -> None:
        await job.fetch_related("definition")
        try:
            definition = parser.parse_stored(job.definition.config, job.definition.name)
        except Invalid as error:
            # A later version may be stricter than the one that stored it.
            await self._ending.ended(job.id, "failed", f"the pipeline is no longer valid: {error}")
            return
        _log.info("%s: %s", "taken up again" if resume else "started", definition.name)
        if not resume:
            self._ending.make_room(job.id)
        steps, variables = await jobs.steps_of(job.id), await jobs.environment_of(job.id)
        # What is stored of secrets is not their value; that is for the execution to get.
        environment = {
            variable.key: variable.value for variable in variables if variable.key not in definition.secrets
        }
        writer = self._logs.writer(job.id, self._tools.limits(definition).log_limit)
        execution = Execution(self._tools, self._ending, job, definition, steps, environment, writer)
        self._executions[job.id] = execution
        try:
            await execution.run(resume)
        finally:
            writer.close()

    async def _recover(self, group: asyncio.TaskGroup) -> None:
        for job in await jobs.unsealed():
            if job.status == "running":
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
                await self._ending.ended(job_id, "failed", reason)
                return
            except Exception as error:
                _log.warning("its end can't be stored; trying again: %s", error)
            await asyncio.sleep(_CHECK_SECONDS)

    async def _seal_or_say(self, job_id: int) -> None:
        try:
            await self._ending.seal(job_id)
        except Exception:
            # The next start tries again; the other builds must go on.
            with about(job_id):
                _log.exception("its log can't be ended")
