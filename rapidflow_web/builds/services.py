"""The services of one build: started beside its container, awaited, and watched while its steps run.

Life: `start` is part of the preparation. It returns when all are ready, and raises where one does not come
up. From then on one that ends stops the build. A server that takes the build up calls `resume` instead, or
`resume_at_end` where all steps have ended. `end` is for a build that has ended: it kills the services and
seals their logs. `let_go` is for a server that ends; `remove` leaves no container behind.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable
from contextlib import aclosing

from rapidflow_web.builds.masks import Masks
from rapidflow_web.builds.plan import Plan
from rapidflow_web.builds.preparation import Tools, first, when_reachable
from rapidflow_web.builds.service_log import ServiceLog
from rapidflow_web.builds.stopping import Outcome
from rapidflow_web.builds.timeline import Phase, Timeline
from rapidflow_web.db import images as pulled_images
from rapidflow_web.db.models import Job
from rapidflow_web.errors import BuildError, Cause, EngineUnavailable, RapidFlowError, ServiceFailed, one_line
from rapidflow_web.executors import base
from rapidflow_web.logs.log import LogStore
from rapidflow_web.pipeline.definition import Service
from rapidflow_web.pipeline.durations import format_duration
from rapidflow_web.pipeline.limits import Limits, format_size
from rapidflow_web.progress import about

_log = logging.getLogger(__name__)

CAUSE: Cause = "service_failed"
"""The cause of an outcome that is a service's doing."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0
"""Seconds between two looks whether a service is ready."""
_BLAME_SECONDS = 0.4
"""How long an engine may take to notice that a container has ended."""
_LONGEST_REMARK = 300
_END_SECONDS = 10.0
"""How long the end of a build waits for the rest of the logs: an engine gives a log line by line."""
_HURRIED_SECONDS = 1.0
"""The same, where the server ends."""
_MOST_OUTPUT = 10
"""How often the limit of its log a service may print. All of it is in the engine's own log, on its disk."""


class _Watched:
    """A service that was started. `ended` gets how it ended, as the predicate of a sentence."""

    def __init__(self, service: Service, running: base.RunningService, log: ServiceLog) -> None:
        self.service = service
        self.running = running
        self.log = log
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.is_ready = False
        self.killed = False
        """Whether it ends because the build has ended."""
        self.following: asyncio.Task[None] | None = None
        self.remark = ""
        """What its `ready` printed when it last failed."""

    @property
    def failure(self) -> str:
        """Why the build fails once it has ended."""
        if self.is_ready:
            return f"the service {self.service.name} {self.ended.result()} while the build ran"
        return f"the service {self.service.name} {self.ended.result()} before it was ready; {self.last_words}"

    @property
    def lateness(self) -> str:
        """Why the build fails where it does not come up in time."""
        within = format_duration(self.service.ready_timeout)
        # Once a service has ended, all that `ready` can say is that.
        remark = f"; `ready` said: {self.remark}" if self.remark else ""
        return f"the service {self.service.name} did not come up within {within}; {self.last_words}{remark}"

    @property
    def last_words(self) -> str:
        """What it printed last, as part of a sentence."""
        lines = self.log.last_lines
        return f"its last lines: {lines}" if lines else "it printed nothing"


class Services:
    """The services of a job. `stop` is called with the outcome of a build that one of them ends."""

    def __init__(
        self,
        tools: Tools,
        job: Job,
        plan: Plan,
        logs: LogStore,
        masks: Masks,
        timeline: Timeline,
        stop: Callable[[Outcome], None],
    ) -> None:
        self._tools = tools
        self._job = job
        self._plan = plan
        self._machine = tools.executor.on(job.node)
        self._logs = logs
        self._masks = masks
        self._timeline = timeline
        self._stop = stop
        self._watched: list[_Watched] = []
        self._hurried = False
        """Whether the server ends."""
        self._limit: asyncio.Timeout | None = None
        """That of an end that is going on."""

    def check(self) -> None:
        """Raises `BuildError` where the executor can't run them."""
        if self._plan.services:
            _ = self._there

    @property
    def _there(self) -> base.Services:
        services = self._machine.services
        if services is None:
            raise BuildError(
                f"the pipeline has services ({self._names}), which need containers; "
                "take them out, or run builds in Docker (RAPIDFLOW_EXECUTOR=docker)"
            )
        return services

    @property
    def _names(self) -> str:
        return ", ".join(service.name for service in self._plan.services)

    @property
    def _spec(self) -> base.BuildSpec:
        return self._tools.spec(self._job, self._plan)

    # Beginning

    async def start(self, launch: asyncio.Task[base.RunningBuild]) -> None:
        """Starts all beside what `launch` starts, and returns when they are ready; `remove` undoes it.

        Raises `ServiceFailed` for one that does not come up, `BuildError`, `EngineUnavailable`.
        """
        if not self._plan.services:
            return
        await self._forget()
        with self._timeline.phase("services") as phase:
            try:
                async with asyncio.TaskGroup() as group:
                    for image in {service.image: service for service in self._plan.services}.values():
                        group.create_task(self._provide(image, phase))
                await asyncio.wait({launch})
                if launch.cancelled() or launch.exception() is not None:
                    return  # whoever started it says why
                phase.note(f"waiting for {self._names}")
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._introduce())
                    for service in self._plan.services:
                        group.create_task(self._start(service, phase))
            except BaseExceptionGroup as error:
                raise first(error) from None  # the phase says it in its words
            phase.note(", ".join(service.image for service in self._plan.services))

    async def _forget(self) -> None:
        """Ends and removes the logs of an earlier attempt, whose containers are gone."""
        await self.end()
        self._watched.clear()
        for service in self._plan.services:
            if self._logs.path(self._job.id, service.name).exists():
                if not self._logs.open(self._job.id, service.name).sealed:
                    await self._logs.writer(self._job.id, service=service.name).seal_output()
                self._logs.delete_service(self._job.id, service.name)

    async def _provide(self, service: Service, phase: Phase) -> None:
        present = self._machine.images
        if present is None:
            return
        provide = functools.partial(present.provide, service.image, phase.note, anonymous=self._job.untrusted)
        try:
            pulled = await when_reachable(provide, self._patience, phase.note)
        except BuildError as error:
            raise ServiceFailed(f"the service {service.name} can't start: {error}") from error
        if pulled:
            await pulled_images.pulled(service.image)

    async def _introduce(self) -> None:
        names = [service.name for service in self._plan.services]
        await when_reachable(lambda: self._there.introduce(self._spec, names), self._patience, _log.warning)

    async def _start(self, service: Service, phase: Phase) -> None:
        told = about(f"starting {service.name}", phase.note)
        try:
            running = await when_reachable(
                lambda: self._there.start(self._spec, service), self._patience, told
            )
        except BuildError as error:
            raise ServiceFailed(f"the service {service.name} can't start: {error}") from error
        await self._come_up(await self._watch(service, running))

    @property
    def _patience(self) -> float:
        return self._tools.settings.engine_timeout

    async def _watch(self, service: Service, running: base.RunningService) -> _Watched:
        limits = self._plan.limits
        log = ServiceLog(self._logs, self._job.id, service.name, limits.log_limit, self._masks)
        one = _Watched(service, running, log)
        self._watched.append(one)
        await log.begin()
        one.following = asyncio.create_task(self._follow(one))
        return one

    async def _come_up(self, one: _Watched) -> None:
        """Returns when it is ready. Raises `ServiceFailed`."""
        service = one.service
        ready = asyncio.create_task(self._until_ready(one))
        try:
            done, _ = await asyncio.wait(
                {ready, one.ended}, timeout=service.ready_timeout, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            ready.cancel()
            await asyncio.wait({ready})
        if one.ended.done():
            raise ServiceFailed(one.failure)
        if ready in done:
            await ready  # an unexpected error
        if not done:
            raise ServiceFailed(one.lateness)
        one.is_ready = True

    async def _until_ready(self, one: _Watched) -> None:
        pause = _FIRST_PAUSE
        while not await self._is_ready(one):
            await asyncio.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE)

    async def _is_ready(self, one: _Watched) -> bool:
        service = one.service
        try:
            if service.ready is not None:
                is_ready, printed = await one.running.attempt(service.ready)
                one.remark = one_line(printed)[-_LONGEST_REMARK:]
                return is_ready
            return not service.ports or await self._there.listening(self._spec) >= set(service.ports)
        except RapidFlowError as error:
            # The engine is away, or it has just ended.
            _log.debug("%s", error)
            return False

    # Watching

    async def resume(self) -> None:
        """Watches what an earlier server started, for a build in which a step has begun.

        Raises `EngineUnavailable`, `BuildError`.
        """
        if not self._plan.services:
            return
        found = await when_reachable(lambda: self._there.find(self._spec), self._patience, _log.warning)
        running = {one.name: one for one in found}
        for service in self._plan.services:
            if service.name not in running:
                raise ServiceFailed(f"the service {service.name} was gone when the server started again")
            one = await self._watch(service, running[service.name])
            one.is_ready = True

    async def resume_at_end(self) -> None:
        """Takes up what an earlier server started, for a build whose steps have ended: `end` reads on.

        Raises `EngineUnavailable`, `BuildError`.
        """
        if not self._plan.services:
            return
        running = {one.name: one for one in await self._there.find(self._spec)}
        for service in self._plan.services:
            if service.name in running and not self._logs.open(self._job.id, service.name).sealed:
                await self._watch(service, running[service.name])

    async def _follow(self, one: _Watched) -> None:
        """Writes its log until it ends, and says how that was."""
        try:
            how = await self._heard_out(one)
        except BuildError as error:
            how = f"failed: {error}"
        except Exception as error:
            _log.exception("unexpected error")
            how = f"can't be watched: {type(error).__name__}: {error}"
        one.ended.set_result(how)
        if one.is_ready and not one.killed:
            self._stop(Outcome("failed", one.failure, CAUSE))

    async def _heard_out(self, one: _Watched) -> str:
        pause = _FIRST_PAUSE
        while (how := await self._read(one)) is None:
            # The engine knows of an end a little later than whoever reads, or it is away.
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        return how

    async def _read(self, one: _Watched) -> str | None:
        """Reads on what it prints; how it ended, or None where it did not, or the engine is away."""
        try:
            async with aclosing(one.running.output(position := one.log.source)) as output:
                async for chunk in output:
                    position += len(chunk)
                    await one.log.append(chunk, position)
                    limit = self._plan.limits.log_limit
                    if limit is not None and position > _MOST_OUTPUT * limit:
                        return f"printed over {format_size(_MOST_OUTPUT * limit)}"
            if one.killed:
                return "was killed"  # and has been heard out
        except EngineUnavailable as error:
            _log.debug("%s", error)
            return None  # however it ended, there may be more to read
        try:
            how = await one.running.exit()
        except EngineUnavailable as error:
            _log.debug("%s", error)
            return None
        return None if how is None else _predicate(how, self._plan.limits)

    async def blamed(self, outcome: Outcome) -> Outcome:
        """The outcome of a build that has failed: a service's doing, if one ended as well.

        A step notices that sooner than the engine.
        """
        if outcome.status != "failed" or not self._watched:
            return outcome
        ended = [one.ended for one in self._watched]
        await asyncio.wait(ended, timeout=_BLAME_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        failed = next((one for one in self._watched if one.ended.done()), None)
        return outcome if failed is None else Outcome("failed", failed.failure, CAUSE)

    # The end

    async def end(self) -> bool:
        """Kills them, and seals the logs with all that they printed.

        False where the server ends before that is done. Then the next one has to end the build.
        """
        try:
            async with asyncio.timeout(_HURRIED_SECONDS if self._hurried else _END_SECONDS) as self._limit:
                await self._hear_out()
        except TimeoutError:
            if self._hurried:
                await self.let_go()
                return False
            _log.warning("the logs of services were not read to their ends in %.0f s", _END_SECONDS)
        finally:
            self._limit = None
        await self._cancel()
        for one in self._watched:
            try:
                await one.log.seal()
            except Exception:
                # The build must end all the same; whatever ends its log tries again.
                _log.exception("the log of the service %s can't be ended", one.service.name)
        self.close()
        return True

    def hurry(self) -> None:
        """Has `end` take a second at most from now on, because the server ends."""
        self._hurried = True
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time() + _HURRIED_SECONDS)

    async def _hear_out(self) -> None:
        """Kills them and reads their logs to the ends. While one runs, its log has no end."""
        await asyncio.gather(*map(self._hear_one_out, self._watched))

    async def _hear_one_out(self, one: _Watched) -> None:
        one.killed = True
        try:
            await one.running.kill()
        except RapidFlowError as error:
            _log.warning("the log of the service %s may lack its end: %s", one.service.name, error)
            return
        if one.following is not None:
            await asyncio.wait({one.following})

    async def let_go(self) -> None:
        """Watches no more, for another server to take them up. Safe to call again."""
        await self._cancel()
        self.close()

    def close(self) -> None:
        """Gives the files of the logs back. Safe to call again."""
        for one in self._watched:
            if one.following is not None:
                one.following.cancel()
            one.log.close()

    async def remove(self) -> None:
        """Kills and removes the containers. What an engine keeps from it, the sweep does."""
        if self._plan.services and self._machine.services is not None:
            try:
                await self._there.remove(self._spec)
            except RapidFlowError as error:
                _log.warning("%s; the next sweep removes what is left", error)

    async def _cancel(self) -> None:
        following = [one.following for one in self._watched if one.following is not None]
        for task in following:
            task.cancel()
        if following:
            await asyncio.wait(following)


def _predicate(how: base.Exit, limits: Limits) -> str:
    if how.out_of_memory:
        limit = f" (limit {format_size(limits.memory)})" if limits.memory is not None else ""
        return f"ran out of memory{limit}"
    return "was removed" if how.code is None else f"ended with {how.code}"
