"""Ends a build before its time: because a person wants it, or because it takes too long."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from rapidflow_web.db import jobs
from rapidflow_web.errors import Cause, RapidFlowError
from rapidflow_web.executors.base import RunningBuild
from rapidflow_web.server_log import about

_log = logging.getLogger(__name__)

_PATIENCE = 5.0
"""Seconds after the grace period. A stop that takes longer waits for output that nobody reads."""
_RETRY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a build ended. `error` says why where it failed, `cause` by what where no step did."""

    status: str
    error: str | None = None
    cause: Cause | None = None


class Stopping:
    """The stop of one build. `outcome` is how the build ends by it, None while nobody asked for it.

    `grace` tells how many seconds what runs then has to clean up.
    """

    def __init__(self, job_id: int, grace: Callable[[], float]) -> None:
        self.requested = asyncio.Event()
        self.done = asyncio.Event()
        """Set when what was to be stopped has ended."""
        self.outcome: Outcome | None = None
        self._job_id = job_id
        self._grace = grace
        self._running: RunningBuild | None = None
        self._task: asyncio.Task[None] | None = None
        self._over = False

    def request(self, outcome: Outcome) -> None:
        """Begins the stop; the first request counts."""
        if self.outcome is None:
            self.outcome = outcome
            self.requested.set()
            self._begin()

    def concerns(self, running: RunningBuild) -> None:
        """Says what there is to stop, now or later."""
        self._running = running
        self._begin()

    async def end(self) -> None:
        """Returns when a stop that has begun is done. Where it fails from now on, it is not tried again."""
        self._over = True
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
        if self.outcome is not None and self._running is not None and self._task is None and not self._over:
            # Not in the context of the request that wants it: the log is to know what this is about.
            with about(self._job_id):
                self._task = asyncio.create_task(self._stop(self._running, self.outcome))

    async def _stop(self, running: RunningBuild, outcome: Outcome) -> None:
        if outcome.error is not None:
            await self._store(outcome.error)
        grace = self._grace()
        while not self._over:
            try:
                await self._stop_once(running, grace)
                self.done.set()
                return
            except RapidFlowError as error:
                _log.warning("%s; trying again to stop it", error)
            # An engine that does not answer may not have closed the connection either.
            await running.detach()
            await asyncio.sleep(_RETRY_SECONDS)

    async def _stop_once(self, running: RunningBuild, grace: float) -> None:
        stopped = asyncio.ensure_future(running.stop(grace))
        try:
            done, _ = await asyncio.wait({stopped}, timeout=grace + _PATIENCE)
            if not done:
                # Nobody may be reading the output, because our disk is full.
                await running.detach()
            await stopped
        finally:
            stopped.cancel()

    async def _store(self, reason: str) -> None:
        """The reason for an end is stored before anything is stopped, so that a restart can't lose it."""
        try:
            await jobs.note_reason(self._job_id, reason)
        except Exception as error:
            # A full disk keeps no build from being stopped.
            _log.warning("the reason for its end can't be stored: %s", error)
