"""One build's life, from the claim to the removed container.

What the agent prints drives everything: its markers begin and end steps in the log and, after it, in the
database. So a build that an earlier server started is taken up by reading on from the log's last record.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from rapidflow_web import metrics
from rapidflow_web.db import jobs
from rapidflow_web.db.database import now_ms
from rapidflow_web.db.models import Job, Step
from rapidflow_web.engine import reasons
from rapidflow_web.engine.began import Began, uptime
from rapidflow_web.engine.preparation import Preparation, Tools, has_begun, when_reachable
from rapidflow_web.engine.silence import Silence
from rapidflow_web.engine.stopping import Outcome, Stopping
from rapidflow_web.engine.timeline import Timeline
from rapidflow_web.errors import BuildError, EngineUnavailable, RapidFlowError
from rapidflow_web.executors import agent
from rapidflow_web.executors.archive import Archive
from rapidflow_web.executors.base import Process, Running
from rapidflow_web.logs import render
from rapidflow_web.logs.index import Kind, Record
from rapidflow_web.logs.log import LogWriter
from rapidflow_web.pipeline.definition import Definition
from rapidflow_web.pipeline.durations import format_duration
from rapidflow_web.pipeline.limits import format_size
from rapidflow_web.shielding import to_the_end

_log = logging.getLogger(__name__)

T = TypeVar("T")

_KILLED = 137
_ATTEMPTS = 5
"""How often a build is prepared, where the container is lost again and again before the first step."""
_RESUME_SECONDS = 5.0
"""What a build that is taken up again has at least, to say that it ended in time, unheard."""
_PATIENCE = 1.5
"""Seconds that a server that is to end waits for a build that is just ending."""
_LONGEST_COMPLAINT = 1000
_MOST_OUTPUT = 10
"""How often the limit of its log a build may print before it is stopped."""


class _StartOver(BuildError):
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
        self._root = tools.work / str(job.id)
        self._first = Began(self._root)
        self._nonce = agent.nonce_for(tools.marker_key, job.id)
        self._running: Running | None = None
        self._archive: Archive | None = None
        """What the agent is still to be brought. An earlier server brought all of it, or no step has run."""
        self._complaint = b""
        self._step_since = time.monotonic()
        self._limits = tools.limits(definition)
        self._silence = Silence(self._limits.silence_timeout, self._end_silence)
        self._stopping = Stopping(job.id, lambda: tools.settings.grace if self._step_runs else 0)

    @property
    def stuck(self) -> str | None:
        """Why its output can't be written now; None while all is well."""
        return self._writer.stuck

    @property
    def silence(self) -> Silence | None:
        """For how long the step that runs has printed nothing; None while none does."""
        return self._silence if self._step_runs else None

    @property
    def step_id(self) -> int | None:
        """The step that runs."""
        span = self._writer.log.layout.running
        return None if span is None else span.step_id

    async def processes(self) -> list[Process]:
        """What runs in the build now. Raises `EngineUnavailable`, `BuildError`."""
        return [] if self._running is None else await self._running.processes()

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
        return self._stopping.outcome or outcome

    def _time_out(self) -> None:
        timeout = format_duration(self._limits.timeout or 0)
        self._stopping.request(Outcome("failed", f"the build timed out after {timeout}"))

    def _end_silence(self) -> None:
        if self._writer.stuck is not None or not self._step_runs:
            return  # its output waits for our disk, or there is nobody to print anything
        where = self._step_name(self._begun)
        silence = format_duration(self._limits.silence_timeout or 0)
        self._stopping.request(Outcome("failed", f"{where} printed nothing for {silence}"))

    # Beginning

    def _seconds_left(self) -> float | None:
        if self._limits.timeout is None:
            return None
        if (began := self._first.at) is not None:
            return self._limits.timeout - (uptime() - began)
        return self._limits.timeout - (now_ms() - (self.job.started_at or now_ms())) / 1000

    async def _build(self) -> Outcome:
        began = uptime()
        for _ in range(_ATTEMPTS):
            self.timeline = Timeline([])
            self.timeline.begin("queued", self.job.created_at).finished_at = self.job.started_at
            preparation = Preparation(
                self._tools, self.job, self._definition, self._environment, self.timeline
            )
            self._complaint = b""
            self._running = running = await self._unless_stopped(preparation.run())
            self._archive = preparation.archive
            self._first.note(began)
            try:
                return await self._follow(running)
            except _StartOver:
                await self._abandon(running)
            finally:
                await to_the_end(preparation.archive.close())
        raise BuildError("the container was lost before the first step, again and again")

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
            await self._store_step(record)
        if self.job.error is not None:
            # The reason for an end is stored before anything is stopped.
            self._stopping.request(Outcome("failed", self.job.error))
        ended = [record for record in records if record.kind is Kind.END]
        outcome = self._after_step(len(ended), ended[-1].value) if ended else None
        if outcome is None and ended and not self._step_runs:
            # Between the end of a step and the header of the next one.
            await self._begin_step(len(ended) + 1, self._writer.source)
        self._running = running = await self._find(wait=outcome is None)
        if outcome is not None:
            return outcome
        if running is not None:
            return await self._go_on(running)
        if self._begun or self._first.noted:
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
            outcome = await self._follow(running)
            if self._begun:
                return outcome
        except BuildError:
            if self._begun:
                raise
        if self._stopping.outcome is not None:
            raise BuildError("the build was stopped")
        # Before the first step it does not matter what became of the container.
        await self._abandon(running)
        return await self._build()

    # The conversation with the agent

    async def _follow(self, running: Running) -> Outcome:
        self._stopping.concerns(running)
        parser = agent.MarkerParser(self._nonce, self._writer.source)
        try:
            async with self._silence, aclosing(running.output(self._writer.source)) as output:
                async for chunk in output:
                    self._silence.broken()
                    for item in parser.feed(chunk):
                        if isinstance(item, agent.Output):
                            await self._output(item)
                        elif outcome := await self._marker(running, item):
                            return outcome
        finally:
            # Output that nobody reads would make the engine wait, with the stop and all else.
            await running.detach()
        for item in parser.flush():
            await self._output(item)
        return await self._ended(running)

    async def _output(self, output: agent.Output) -> None:
        if self._step_runs:
            await self._writer.append(output.data, output.source)
            if self._limits.log_limit is not None and output.source > _MOST_OUTPUT * self._limits.log_limit:
                # All of it is in the agent's copy, which would fill the disk.
                most = format_size(_MOST_OUTPUT * self._limits.log_limit)
                self._stopping.request(
                    Outcome("failed", f"{self._step_name(self._begun)} printed over {most}")
                )
        else:
            # Before the first step only the agent speaks, and only of a failure.
            self._complaint = (self._complaint + output.data)[-_LONGEST_COMPLAINT:]

    async def _marker(self, running: Running, marker: agent.Marker) -> Outcome | None:
        match marker.words:
            case ("ready", can) if not self._begun:
                await self._deliver(running, can == "unpack")
            case ("unpacked", code) if code != "0":
                words = reasons.words(self._complaint)
                raise BuildError(f"could not unpack the source in the container: {words}")
            case ("start", "1") if not self._begun:
                await self._begin_step(1, marker.source)
            case ("exit", number, code, *term) if self._step_runs and self._is_exit(number, code):
                return await self._end_step(running, int(code), marker.source, bool(term))
            case ("sync", _, current, last):
                await self._synchronize(running, int(current), int(last))
            case _:
                pass
        return None

    def _is_exit(self, number: str, code: str) -> bool:
        # A step can read the nonce where the agent keeps it, and print what it likes.
        return number == str(self._begun) and code.isascii() and code.isdigit() and int(code[:4]) <= 255

    @property
    def _begun(self) -> int:
        """The number of the last step that has begun; 0 before the first."""
        return len(self._writer.log.layout.spans)

    @property
    def _step_runs(self) -> bool:
        return self._writer.log.layout.running is not None

    async def _deliver(self, running: Running, unpacks: bool) -> None:
        archive, self._archive = self._archive, None
        if archive is None:
            return
        try:
            await running.deliver(archive, unpacks)
        except EngineUnavailable as error:
            raise _StartOver(str(error)) from error
        await running.send(agent.run_command(1))
        # The scripts and the source are where the build runs now.
        await self._store_timeline()

    async def _begin_step(self, number: int, source: int) -> None:
        step = self._steps[number - 1]
        if number == 1:
            self.timeline.finish()
        self._note_begin()
        await self._writer.begin_step(step.id, number, step.type, source)
        await jobs.begin_step(step.id, now_ms())
        if number == 1:
            await self._store_timeline()

    async def _end_step(self, running: Running, code: int, source: int, terminated: bool) -> Outcome | None:
        number, step = self._begun, self._steps[self._begun - 1]
        metrics.STEP_SECONDS.labels(self._step_status(code)).observe(time.monotonic() - self._step_since)
        goes_on = (
            code == 0 and number < len(self._steps) and not terminated and self._stopping.outcome is None
        )
        if goes_on:
            # First of all, so that the next step starts while this one's end is written down.
            await running.send(agent.run_command(number + 1))
        await self._writer.end_step(code, source)
        if not goes_on:
            await self._store_end(step.id, code, now_ms(), self._silence.longest)
            if terminated and self._stopping.outcome is None:
                return Outcome("failed", f"the engine stopped the build in {self._step_name(number)}")
            if code == _KILLED and not terminated and (await running.exit()).out_of_memory:
                return Outcome("failed", reasons.out_of_memory(self._step_name(number), self._limits))
            return self._after_step(number, code)
        # What is printed between two steps belongs to the next one.
        following = self._steps[number]
        longest_silence = self._silence.longest
        self._note_begin()
        await self._writer.begin_step(following.id, number + 1, following.type, source)
        await self._store_end(step.id, code, now_ms(), longest_silence)
        await jobs.begin_step(following.id, now_ms())
        return None

    def _note_begin(self) -> None:
        self._step_since = time.monotonic()
        self._silence.begin()

    def _after_step(self, number: int, code: int) -> Outcome | None:
        """The build's outcome when the last step that ran was `number`; None if there are more to run."""
        if code != 0:
            return Outcome("failed", f"{self._step_name(number)} exited with {code}")
        return Outcome("success") if number == len(self._steps) else None

    async def _synchronize(self, running: Running, current: int, last: int) -> None:
        """After the output was taken up anew: compares what the agent says with what the log says."""
        if last == 0:
            raise _StartOver("the connection broke before the first step")
        if current:
            return
        if self._step_runs and last >= self._begun:
            raise BuildError(
                "the end of a step is missing in the container's copy of the output; its disk was full"
            )
        # The command to go on may never have reached the agent.
        number = self._begun if self._step_runs else self._begun + 1
        if number <= len(self._steps) and self._stopping.outcome is None:
            await running.send(agent.run_command(number))

    async def _ended(self, running: Running) -> Outcome:
        """The agent ended without saying so."""
        what = "the container" if self._tools.executor.images else "the process of the build"
        step = self._step_name(self._begun) if self._begun else None
        how = await running.exit()
        return Outcome("failed", reasons.ended(what, step, how, self._complaint, self._limits))

    def _step_name(self, number: int) -> str:
        return f"step {number} ({self._steps[number - 1].type})"

    # The end

    async def _finish(self, outcome: Outcome) -> None:
        """Stores the end, then tells the readers, then leaves nothing behind."""
        job = self.job
        self.timeline.finish()
        if self._step_runs and outcome.status != "cancelled":
            await jobs.end_step(self._steps[self._begun - 1].id, "failed", None, now_ms())
        status, error = await jobs.finish(
            job.id, outcome.status, outcome.error, ports=None, timeline=self.timeline.stored()
        )
        _log.info("%s%s", status, f": {error}" if error else "")
        await self._writer.seal(render.final_lines(status, error))
        metrics.BUILDS.labels(status).inc()
        await jobs.update(job.id, log_size=self._writer.log.size)
        if self._running is not None:
            try:
                await self._running.remove()
            except RapidFlowError as problem:
                _log.warning("%s; the next sweep removes what is left", problem)
        await asyncio.to_thread(shutil.rmtree, self._root, ignore_errors=True)
        self.finished.set()

    async def _store_step(self, record: Record) -> None:
        """Brings a step's row up to what the log's index says of it."""
        if record.kind is Kind.START:
            await jobs.begin_step(record.step_id, record.time)
        elif record.kind is Kind.END:
            await self._store_end(record.step_id, record.value, record.time)

    async def _store_end(self, step_id: int, code: int, at: int, silence: float | None = None) -> None:
        longest_silence = None if silence is None else int(silence * 1000)
        await jobs.end_step(step_id, self._step_status(code), code, at, longest_silence)

    def _step_status(self, code: int) -> str:
        stop = self._stopping.outcome
        return stop.status if stop is not None else "failed" if code else "success"

    async def _store_timeline(self) -> None:
        await jobs.update(self.job.id, timeline=self.timeline.stored())

    async def _detach(self) -> None:
        self._writer.close()
        await self._stopping.let_go()
        if self._running is not None:
            await self._running.detach()
