"""The supervisor: runs every build from the claim to its end, and takes up those of an earlier server.

From the claim to the executor's `start` a build goes through five frames: `Supervisor._supervise`,
`Execution.run`, `Execution._build`, `Preparation.run` and `Preparation._launch`.
"""

from __future__ import annotations

import asyncio
import logging

from rapidflow_web.builds.ending import Ending
from rapidflow_web.builds.execution import Execution
from rapidflow_web.builds.health import Health
from rapidflow_web.builds.plan import plan
from rapidflow_web.builds.preparation import Tools
from rapidflow_web.builds.queue import Queue
from rapidflow_web.builds.recovery import Recovery
from rapidflow_web.builds.timeline import Timeline
from rapidflow_web.db import jobs
from rapidflow_web.db.database import now_ms
from rapidflow_web.db.models import Job
from rapidflow_web.errors import BuildError, Invalid
from rapidflow_web.logs.log import LogStore
from rapidflow_web.server_log import about

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 5.0


class Supervisor:
    """Runs builds. `run` is its life; the other methods are for everybody."""

    def __init__(self, tools: Tools, logs: LogStore, ending: Ending, queue: Queue, health: Health) -> None:
        self._tools = tools
        self._logs = logs
        self._ending = ending
        self._queue = queue
        self._health = health
        self._recovery = Recovery(tools.executor, ending, tools.work)
        self._executions: dict[int, Execution] = {}
        self._jobs: dict[int, Job] = {}
        """The jobs that may have something in the executor; each is in it before it does."""
        self._clearing: set[int] = set()
        """The builds that have ended and whose containers are still there."""
        self._ended = asyncio.Event()
        self.images_used: dict[str, int] = {}
        """When builds last ended that used an image, in ms."""

    @property
    def running(self) -> int:
        """How many builds run."""
        return len(self._executions.keys() - self._clearing)

    @property
    def stuck(self) -> str | None:
        """Why the log of a build can't be written now, in a sentence; None while all is well."""
        return next((one.stuck for one in self._executions.values() if one.stuck is not None), None)

    @property
    def disk_problem(self) -> str | None:
        """Why nothing can be written now, in a sentence; None while all is well."""
        return self.stuck or self._health.disk_problem

    def execution(self, job_id: int) -> Execution | None:
        """The execution of a job that runs here."""
        return self._executions.get(job_id)

    def executions_of_parts(self, lead_id: int) -> list[Execution]:
        """The executions of the parts of a build of several jobs, as far as they run here."""
        return [one for one in self._executions.values() if one.job.lead_id == lead_id]

    def timeline(self, job: Job) -> Timeline:
        """The timeline of a job as it is now; that of one that was never claimed is its wait."""
        execution = self._executions.get(job.id)
        timeline = execution.timeline if execution is not None else Timeline(job.timeline)
        if timeline.phases:
            return timeline
        timeline = Timeline([])
        queued = timeline.begin("queued", job.created_at)
        queued.finished_at = job.finished_at if job.parts is None else job.started_at or job.finished_at
        queued.detail = self._health.engine_problem if job.status == "pending" else None
        return timeline

    def images_in_use(self) -> set[str]:
        """The images of builds that run."""
        return {image for one in self._executions.values() for image in one.images}

    def _live(self) -> dict[int, str | None]:
        # Threads ask as well, while jobs come and go.
        return {job.id: job.container_id for job in list(self._jobs.values())}

    async def drain(self) -> None:
        """Starts no more builds; returns when those that run have ended."""
        self._queue.draining = True
        while self._jobs:
            self._ended.clear()
            await self._ended.wait()

    async def run(self) -> None:
        """Takes up what an earlier server left, then runs jobs until cancelled.

        When it is cancelled, the builds go on without the server.
        """
        async with asyncio.TaskGroup() as group:
            running, ended = await self._recovery.unfinished()
            for job in running:
                if job.parts is not None:
                    continue  # its lead goes on with it
                self._jobs[job.id] = job
                # It runs already, so it is heard also where there are fewer slots now.
                slot = await self._queue.take_slot(job)
                group.create_task(self._supervise(job, resume=True, slot=slot))
            for job in ended:
                # The server was killed between the end of the build and the last line of its log.
                group.create_task(self._recovery.seal(job.id))
            await self._health.look()
            group.create_task(self._watch())
            while True:
                job = await self._queue.next()
                self._jobs[job.id] = job
                group.create_task(self._supervise(job))

    async def _watch(self) -> None:
        """Looks after the disk and the engine, and for what is left in it of builds that have ended."""
        expected = False
        while True:
            if self._health.engine_problem is None:
                await self._recovery.sweep(self._live)
                if not expected:
                    await self._expect()
                    expected = True
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self._health.look()
            except Exception:
                _log.exception("disk and engine can't be looked after")
            self._queue.wake()

    async def _expect(self) -> None:
        """What was built last is likely to be built next."""
        for job in await jobs.last_in_containers(self._tools.settings.parked):
            try:
                steps, variables = await jobs.load(job)
                planned = await asyncio.to_thread(plan, job, steps, variables, self._tools.settings)
                await self._tools.executor.on(job.node).expect(self._tools.spec(job, planned))
            except Exception as error:
                _log.info("no container is kept ready for builds like job %d: %s", job.id, error)

    async def _supervise(self, job: Job, *, resume: bool = False, slot: bool = True) -> None:
        def ended() -> None:
            """The next build need not wait until what this one ran in is gone."""
            nonlocal slot
            self._clearing.add(job.id)
            settings = self._tools.settings
            if slot and len(self._clearing) <= max(settings.concurrency, settings.parked):
                self._queue.free_slot(job)
                slot = False
            elif slot and self._queue.full:
                # Builds wait for nothing but this.
                for job_id in self._clearing:
                    self._executions[job_id].make_room()

        with about(job.id):
            try:
                if (execution := await self._execution(job, resume)) is not None:
                    await execution.run(resume, ended)
            except Exception as error:
                # Nothing may stay "running" for ever, whatever went wrong.
                _log.exception("unexpected error")
                reason = f"the build server failed: {type(error).__name__}: {error}"
                await self._recovery.fail(job.id, reason)
                if execution := self._executions.get(job.id):
                    execution.finished.set()
            finally:
                execution = self._executions.pop(job.id, None)
                self._jobs.pop(job.id, None)
                self._clearing.discard(job.id)
                self._ended.set()
                for image in execution.images if execution is not None else ():
                    self.images_used[image] = now_ms()
                if slot:
                    self._queue.free_slot(job)

    async def _execution(self, job: Job, resume: bool) -> Execution | None:
        """The execution of a job, which others find from now on; None where its pipeline ended it."""
        steps, variables = await jobs.load(job)
        try:
            # Who wrote the definition may have made it slow to read.
            planned = await asyncio.to_thread(plan, job, steps, variables, self._tools.settings)
        except (Invalid, BuildError) as error:
            # A later version may be stricter than the one that stored it.
            await self._ending.ended(job.id, "failed", f"the pipeline is no longer valid: {error}")
            return None
        _log.info("%s: %s", "taken up again" if resume else "started", planned.name)
        if not resume:
            self._ending.make_room(job.id)
        writer = self._logs.writer(job.id, planned.limits.log_limit)
        self._executions[job.id] = Execution(self._tools, self._ending, job, planned, writer, self._logs)
        return self._executions[job.id]
