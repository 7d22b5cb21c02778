"""One build's life, from the claim to the removed container.

What the agent prints drives everything: its markers begin and end steps in the log and, after it, in the
database. So a build that an earlier server started is taken up by reading on from the log's last record.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from tortoise.exceptions import OperationalError

from rapidflow_web.db import jobs
from rapidflow_web.db.database import now_ms
from rapidflow_web.db.models import Job, Step
from rapidflow_web.engine.preparation import Preparation, Tools
from rapidflow_web.engine.timeline import Timeline
from rapidflow_web.errors import BuildError, RapidFlowError
from rapidflow_web.executors import agent
from rapidflow_web.executors.base import Running
from rapidflow_web.logs import render
from rapidflow_web.logs.index import Kind, Record
from rapidflow_web.logs.log import LogWriter
from rapidflow_web.pipeline.definition import Definition
from rapidflow_web.pipeline.durations import format_duration
from rapidflow_web.shielding import to_the_end

_log = logging.getLogger(__name__)

T = TypeVar("T")

_KILLED = 137
_RETRY_SECONDS = 1.0
_PATIENCE = 1.5
"""Seconds that a server that is to end waits for a build that is just ending."""
_LONGEST_COMPLAINT = 1000


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a build ended. `error` says why where it failed."""

    status: str
    error: str | None = None


class _StartOver(Exception):
    """No step has run yet, so the build may as well be prepared anew."""


class Execution:
    """Runs one job that was claimed. `finished` is set when nothing is left to do for it."""

    def __init__(
        self,
        tools: Tools,
        job: Job,
        definition: Definition,
        steps: list[Step],
        environment: dict[str, str],
        writer: LogWriter,
    ) -> None:
        self.job = job
        self.timeline = Timeline(job.timeline)
        self.finished = asyncio.Event()
        self._tools = tools
        self._definition = definition
        self._steps = steps
        self._environment = environment
        self._writer = writer
        self._running: Running | None = None
        self._delivered = False
        self._complaint = b""
        self._stop_requested = asyncio.Event()
        self._stop_outcome: Outcome | None = None
        self._stopper: asyncio.Task[None] | None = None

    def cancel(self) -> None:
        """Ends the build at a person's request; `finished` tells when that is done."""
        self._stop(Outcome("cancelled"))

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
        timer = asyncio.get_running_loop().call_later(self._seconds_left(), self._time_out)
        try:
            if self.job.cancelled:
                self.cancel()
            outcome = await (self._resume() if resume else self._build())
        except RapidFlowError as error:
            outcome = Outcome("failed", str(error))
        except Exception as error:
            _log.exception("job %d: unexpected error", self.job.id)
            outcome = Outcome("failed", f"the build server failed: {type(error).__name__}: {error}")
        finally:
            timer.cancel()
        if self._stopper is not None:
            await asyncio.wait({self._stopper})
        return self._stop_outcome or outcome

    # Beginning

    def _seconds_left(self) -> float:
        timeout = self._definition.timeout or self._tools.settings.timeout
        return max(0.0, timeout - (now_ms() - (self.job.started_at or now_ms())) / 1000)

    async def _build(self) -> Outcome:
        self.timeline = Timeline([])
        self.timeline.begin("queued", self.job.created_at).finish()
        preparation = Preparation(self._tools, self.job, self._definition, self._environment, self.timeline)
        self._running = await self._unless_stopped(preparation.run())
        return await self._follow(self._running)

    async def _unless_stopped(self, work: Awaitable[Running]) -> Running:
        """The result of `work`, which is cancelled when the build is to stop."""
        task = asyncio.ensure_future(work)
        stopped = asyncio.ensure_future(self._stop_requested.wait())
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
            await self._store_step(record)
        ended = [record for record in records if record.kind is Kind.END]
        if ended and (outcome := self._after_step(len(ended), ended[-1].value)):
            return outcome
        if self.job.error is not None:
            # The reason for an end is stored before anything is stopped.
            self._stop(Outcome("failed", self.job.error))
        spec = self._tools.spec(self.job, self._environment)
        self._running = await self._tools.executor.find(spec)
        if self._running is None:
            if self.job.container_id is None:
                return await self._build()
            raise BuildError("the container of the build was gone when the server started again")
        try:
            return await self._follow(self._running)
        except _StartOver:
            await self._running.remove()
            self._running = None
            return await self._build()

    # The conversation with the agent

    async def _follow(self, running: Running) -> Outcome:
        if self._stop_requested.is_set():
            self._begin_stopper(running)
        parser = agent.MarkerParser(agent.nonce_for(self._tools.marker_key, self.job.id), self._writer.source)
        async with aclosing(running.output(self._writer.source)) as output:
            async for chunk in output:
                for item in parser.feed(chunk):
                    if isinstance(item, agent.Output):
                        await self._output(item)
                    elif outcome := await self._marker(running, item):
                        return outcome
        for item in parser.flush():
            await self._output(item)
        return await self._ended(running)

    async def _output(self, output: agent.Output) -> None:
        if self._step_runs:
            await self._writer.append(output.data, output.source)
        else:
            # Before the first step only the agent speaks, and only of a failure.
            self._complaint = (self._complaint + output.data)[-_LONGEST_COMPLAINT:]

    async def _marker(self, running: Running, marker: agent.Marker) -> Outcome | None:
        match marker.words:
            case ("ready", can) if not self._begun:
                await self._deliver(running, can == "unpack")
            case ("unpacked", code) if code != "0":
                words = " ".join(self._complaint.decode("utf-8", "replace").split())
                raise BuildError(f"could not unpack the source in the container: {words}")
            case ("start", "1") if not self._begun:
                await self._begin_step(1, marker.source)
            case ("exit", number, code, *term) if self._step_runs and number == str(self._begun):
                return await self._end_step(running, int(code), marker.source, bool(term))
            case ("sync", _, current, last):
                await self._synchronize(running, int(current), int(last))
            case _:
                pass
        return None

    @property
    def _begun(self) -> int:
        """The number of the last step that has begun; 0 before the first."""
        return len(self._writer.log.layout.spans)

    @property
    def _step_runs(self) -> bool:
        return self._writer.log.layout.running is not None

    async def _deliver(self, running: Running, unpacks: bool) -> None:
        if self._delivered:
            return
        self._delivered = True
        await running.deliver(unpacks)
        await running.send(agent.run_command(1))
        # The scripts and the source are where the build runs now.
        await self._store_timeline()

    async def _begin_step(self, number: int, source: int) -> None:
        step = self._steps[number - 1]
        if number == 1:
            self.timeline.phases[-1].finish()
        await self._writer.begin_step(step.id, number, step.type, source)
        await jobs.begin_step(step.id, now_ms())
        if number == 1:
            await self._store_timeline()

    async def _end_step(self, running: Running, code: int, source: int, terminated: bool) -> Outcome | None:
        number, step = self._begun, self._steps[self._begun - 1]
        goes_on = code == 0 and number < len(self._steps) and not terminated and not self._stop_requested.is_set()
        if goes_on:
            # First of all, so that the next step starts while this one's end is written down.
            await running.send(agent.run_command(number + 1))
        await self._writer.end_step(code, source)
        if not goes_on:
            await self._store_end(step.id, code, now_ms())
            if terminated and self._stop_outcome is None:
                return Outcome("failed", f"the engine stopped the build in step {number} ({step.type})")
            if code == _KILLED and not terminated and (await running.exit()).out_of_memory:
                return Outcome("failed", f"step {number} ({step.type}) ran out of memory")
            return self._after_step(number, code)
        # What is printed between two steps belongs to the next one.
        following = self._steps[number]
        await self._writer.begin_step(following.id, number + 1, following.type, source)
        await self._store_end(step.id, code, now_ms())
        await jobs.begin_step(following.id, now_ms())
        return None

    def _after_step(self, number: int, code: int) -> Outcome | None:
        """The build's outcome when the last step that ran was `number`; None if there are more to run."""
        if code != 0:
            return Outcome("failed", f"step {number} ({self._steps[number - 1].type}) exited with {code}")
        return Outcome("success") if number == len(self._steps) else None

    async def _synchronize(self, running: Running, current: int, last: int) -> None:
        """After the output was taken up anew: compares what the agent says with what the log says."""
        if last == 0:
            raise _StartOver
        if current:
            return
        if self._step_runs and last >= self._begun:
            raise BuildError("the end of a step is missing in the container's copy of the output; its disk was full")
        # The command to go on may never have reached the agent.
        number = self._begun if self._step_runs else self._begun + 1
        if number <= len(self._steps) and not self._stop_requested.is_set():
            await running.send(agent.run_command(number))

    async def _ended(self, running: Running) -> Outcome:
        """The agent ended without saying so."""
        ended = await running.exit()
        number = self._begun
        if ended.out_of_memory:
            return Outcome("failed", f"step {number} ran out of memory" if number else "out of memory")
        code = "" if ended.code is None else f" (exit code {ended.code})"
        if not number:
            words = " ".join(self._complaint.decode("utf-8", "replace").split())
            return Outcome("failed", f"the container ended before the first step{code}{': ' if words else ''}{words}")
        where = f"step {number} ({self._steps[number - 1].type})"
        return Outcome("failed", f"the container ended during {where}{code}")

    # Stopping

    def _time_out(self) -> None:
        timeout = format_duration(self._definition.timeout or self._tools.settings.timeout)
        self._stop(Outcome("failed", f"the build timed out after {timeout}"))

    def _stop(self, outcome: Outcome) -> None:
        if self._stop_requested.is_set():
            return
        self._stop_outcome = outcome
        self._stop_requested.set()
        if self._running is not None:
            self._begin_stopper(self._running)

    def _begin_stopper(self, running: Running) -> None:
        if self._stopper is None:
            self._stopper = asyncio.create_task(self._stop_running(running))

    async def _stop_running(self, running: Running) -> None:
        if self._stop_outcome is not None and self._stop_outcome.error is not None:
            await jobs.update(self.job.id, error=self._stop_outcome.error)
        grace = self._tools.settings.grace if self._step_runs else 0
        try:
            await running.stop(grace)
        except RapidFlowError as error:
            _log.warning("job %d: %s", self.job.id, error)

    # The end

    async def _finish(self, outcome: Outcome) -> None:
        """Stores the end, then tells the readers, then leaves nothing behind."""
        job = self.job
        for phase in self.timeline.phases:
            phase.finish()
        status, error = await _until_stored(lambda: self._store_outcome(outcome))
        await self._writer.seal(render.final_lines(status, error))
        await _until_stored(lambda: jobs.update(job.id, log_size=self._writer.log.size))
        if self._running is not None:
            try:
                await self._running.remove()
            except RapidFlowError as error:
                _log.warning("job %d: %s; the next sweep removes what is left", job.id, error)
        await asyncio.to_thread(shutil.rmtree, self._tools.work / str(job.id), ignore_errors=True)
        self.finished.set()

    async def _store_outcome(self, outcome: Outcome) -> tuple[str, str | None]:
        if self._step_runs and outcome.status != "cancelled":
            await jobs.end_step(self._steps[self._begun - 1].id, "failed", None, now_ms())
        return await jobs.finish(
            self.job.id, outcome.status, outcome.error, ports=None, timeline=self.timeline.stored()
        )

    async def _store_step(self, record: Record) -> None:
        """Brings a step's row up to what the log's index says of it."""
        if record.kind is Kind.START:
            await jobs.begin_step(record.step_id, record.time)
        elif record.kind is Kind.END:
            await self._store_end(record.step_id, record.value, record.time)

    async def _store_end(self, step_id: int, code: int, at: int) -> None:
        cancelled = self._stop_outcome is not None and self._stop_outcome.status == "cancelled"
        status = "cancelled" if cancelled else "failed" if code or self._stop_outcome else "success"
        await jobs.end_step(step_id, status, code, at)

    async def _store_timeline(self) -> None:
        await jobs.update(self.job.id, timeline=self.timeline.stored())

    async def _detach(self) -> None:
        self._writer.close()
        if self._running is not None:
            await self._running.detach()
        else:
            # Nothing has run, and the preparation left nothing behind: the next server begins anew.
            await jobs.update(self.job.id, container_id=None)


async def _until_stored(call: Callable[[], Awaitable[T]]) -> T:
    """The call's result; tried again while the database can't be written, for example on a full disk."""
    while True:
        try:
            return await call()
        except OperationalError:
            _log.exception("the database can't be written; trying again")
            await asyncio.sleep(_RETRY_SECONDS)
