"""Ends a build before its time: because a person wants it, or because it takes too long.

Where steps that are `post` are to follow, a stop ends the step that runs and leaves the agent to run them;
then the build ends as the stop says. What ends the agent itself leaves nobody to run them: a container that
is killed or runs out of memory as a whole, an engine that is lost for good.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rapidflow_web.db import jobs
from rapidflow_web.errors import Cause, RapidFlowError
from rapidflow_web.executors.base import RunningBuild
from rapidflow_web.server_log import about

if TYPE_CHECKING:
    from rapidflow_web.builds.step_progress import StepProgress

_log = logging.getLogger(__name__)

_PATIENCE = 5.0
"""Seconds after the grace period. A stop that takes longer waits for output that nobody reads."""
_RETRY_SECONDS = 1.0
_KILL_SECONDS = 15.0
"""In which the agent tells of the end of a step that was killed, if it ever does."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a build ended. `error` says why where it failed, `cause` by what where no step did."""

    status: str
    error: str | None = None
    cause: Cause | None = None


class Stopping:
    """The stop of one build. `outcome` is how the build ends by it, None while nobody asked for it.

    `grace` is for how many seconds what runs then may clean up.
    """

    def __init__(self, job_id: int, progress: StepProgress, grace: float) -> None:
        self.requested = asyncio.Event()
        self.done = asyncio.Event()
        """Set when what was to be stopped has ended."""
        self.outcome: Outcome | None = None
        self.post_outcome: Outcome | None = None
        """What ended the steps that are `post` before their time; None while nothing did."""
        self._step_ended = asyncio.Event()
        self._job_id = job_id
        self._progress = progress
        self._grace = grace
        self._running: RunningBuild | None = None
        self._task: asyncio.Task[None] | None = None
        self._over = False

    def request(self, outcome: Outcome) -> None:
        """Begins the stop; the first request counts. A failure before it stays the build's error."""
        if outcome.error is not None:
            outcome = self._progress.failed(outcome.error, outcome.cause)
        self.resume(outcome)

    def resume(self, outcome: Outcome) -> None:
        """Goes on with a stop that an earlier server began."""
        if self.outcome is None:
            self.outcome = outcome
            self.requested.set()
            self._begin()

    def end_post(self, outcome: Outcome) -> None:
        """Stops the steps that are `post`, if it is their turn; the first call counts."""
        if self._progress.in_post and self.post_outcome is None:
            self.post_outcome = outcome
            self.request(outcome)
            self._begin()

    def fail(self, error: str, cause: Cause | None = None) -> None:
        """Stops the build because of the step that runs."""
        if self._progress.in_post:
            self.end_post(Outcome("failed", error, cause))
        else:
            self.request(Outcome("failed", error, cause))

    def step_ended(self) -> None:
        """Says that the step ended that a stop, if one was requested, was to end."""
        if self.outcome is not None:
            self._step_ended.set()

    def concerns(self, running: RunningBuild) -> None:
        """Says what there is to stop, now or later."""
        self._running = running
        self._begin()

    async def end(self) -> None:
        """Returns when a stop that has begun is done. Where it fails from now on, it is not tried again."""
        self._over = True
        self._step_ended.set()
        if self._task is not None:
            await asyncio.wait({self._task})
        self.done.set()

    async def let_go(self) -> None:
        """Stops nothing any more. The engine goes on with what it was told."""
        self._over = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _begin(self) -> None:
        if self.outcome is None or self._running is None or self._over:
            return
        if self._progress.in_post:
            if self.post_outcome is None:
                return  # they run on
        elif self._task is not None:
            return
        # Known now: while the reason is stored, the step may end and the next one begin.
        step_alone = self._progress.post_follows
        # Not in the context of the request that wants it: the log is to know what this is about.
        with about(self._job_id):
            stop = self._stop(self._running, self.outcome, step_alone, self._task)
            self._task = asyncio.create_task(stop)

    async def _stop(
        self, running: RunningBuild, outcome: Outcome, step_alone: bool, earlier: asyncio.Task[None] | None
    ) -> None:
        """`earlier` is what ended the last step that is not `post`, and may not have noticed yet."""
        if earlier is not None:
            earlier.cancel()
            await asyncio.wait({earlier})
        if outcome.error is not None:
            await self._store(outcome.error, outcome.cause)
        grace = self._grace if self._progress.runs else 0.0
        if step_alone:
            if await self._end_step(running):
                return
            _log.warning("the step does not end, so the whole build is stopped without its post steps")
            grace = 0.0
        if await self._until_done(running, lambda: running.stop(grace), grace):
            self.done.set()

    async def _end_step(self, running: RunningBuild) -> bool:
        """Ends the step that runs; False where nobody tells of its end.

        Then the agent is at fault, or the step is another user's, or nobody reads because our disk is full.
        """
        for end, seconds in ((running.end_step, self._grace), (running.kill_step, _KILL_SECONDS)):
            if self._step_ended.is_set():
                return True
            await self._until_done(running, end, 0.0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._step_ended.wait()
        return self._step_ended.is_set()

    async def _until_done(
        self, running: RunningBuild, call: Callable[[], Awaitable[None]], seconds: float
    ) -> bool:
        """Makes a call that takes so many seconds, again where it fails; False where that is not wanted."""
        while not self._over:
            try:
                await self._once(running, call, seconds)
                return True
            except RapidFlowError as error:
                _log.warning("%s; trying again to stop it", error)
            # An engine that does not answer may not have closed the connection either.
            await running.detach()
            await asyncio.sleep(_RETRY_SECONDS)
        return False

    async def _once(self, running: RunningBuild, call: Callable[[], Awaitable[None]], seconds: float) -> None:
        called = asyncio.ensure_future(call())
        try:
            done, _ = await asyncio.wait({called}, timeout=seconds + _PATIENCE)
            if not done:
                # Nobody may be reading the output, because our disk is full.
                await running.detach()
            await called
        finally:
            called.cancel()

    async def _store(self, reason: str, cause: Cause | None) -> None:
        """The reason for an end is stored before anything is stopped, so that a restart can't lose it."""
        try:
            await jobs.note_reason(self._job_id, reason, cause)
        except Exception as error:
            # A full disk keeps no build from being stopped.
            _log.warning("the reason for its end can't be stored: %s", error)
