"""All builds of several jobs that run: claims them, takes up what an earlier server led."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from rapidflow_web.builds import definitions
from rapidflow_web.builds.ending import Ending
from rapidflow_web.builds.lead import Lead
from rapidflow_web.builds.preparation import Tools
from rapidflow_web.builds.queue import Queue
from rapidflow_web.db import claims, jobs, parts
from rapidflow_web.db.database import now_ms
from rapidflow_web.db.models import Job
from rapidflow_web.errors import Invalid
from rapidflow_web.logs.log import LogStore
from rapidflow_web.server_log import about

_log = logging.getLogger(__name__)

_LOOK_SECONDS = 5.0


class Leads:
    """Leads builds of several jobs. `run` is its life, which needs `cancel_by` before."""

    def __init__(
        self,
        tools: Tools,
        logs: LogStore,
        ending: Ending,
        queue: Queue,
    ) -> None:
        self._tools = tools
        self._logs = logs
        self._ending = ending
        self._queue = queue
        self._cancel: Callable[[int], Awaitable[None]] | None = None
        self._leads: dict[int, Lead] = {}
        self._waiting = True
        """Whether there may be lead jobs that have not begun."""
        self._wake = asyncio.Event()

    def cancel_by(self, cancel: Callable[[int], Awaitable[None]]) -> None:
        """Says how jobs are cancelled."""
        self._cancel = cancel

    def changed(self, job_id: int | None) -> None:
        """A job has changed, or with None there is a new one."""
        if job_id is None:
            self._waiting = True
        else:
            for lead in self._leads.values():
                lead.job_changed(job_id)
        if self._waiting:
            self._wake.set()

    def lead(self, job_id: int) -> Lead | None:
        """The lead of a build that runs here."""
        return self._leads.get(job_id)

    async def run(self) -> None:
        """Leads what an earlier server led, and begins what waits, until it is cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                try:
                    self._waiting = await self._look(group)
                except Exception as error:
                    _log.warning("builds of several jobs can't be led; trying again: %s", error)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_SECONDS):
                        await self._wake.wait()

    async def _look(self, group: asyncio.TaskGroup) -> bool:
        """Leads each that is not led yet, where it may run; says whether some wait."""
        waiting = False
        for job_id, status in await claims.leads():
            if job_id in self._leads:
                continue
            if status == "pending":
                if self._queue.draining or not await claims.begin(job_id, now_ms()):
                    waiting = True
                    continue
                self._ending.make_room(job_id)
            await self._begin(group, await jobs.with_definition(job_id))
        return waiting

    async def _begin(self, group: asyncio.TaskGroup, job: Job) -> None:
        try:
            parsed = await definitions.stored(job.definition)
        except Invalid as error:
            # A later version may be stricter than the one that stored it.
            await parts.end_all(job.id, "the build failed")
            await self._ending.ended(job.id, "failed", f"the pipeline is no longer valid: {error}")
            return
        if self._cancel is None:
            raise ValueError("nobody said how jobs are cancelled")
        lead = Lead(self._tools, self._logs, self._ending, job, parsed, self._cancel)
        self._leads[job.id] = lead
        group.create_task(self._run(job.id, lead))

    async def _run(self, job_id: int, lead: Lead) -> None:
        with about(job_id):
            try:
                await lead.run()
            except Exception:
                # Such as of a database that is away. It is led on from what is stored.
                _log.exception("it can't be led; trying again")
                await asyncio.sleep(_LOOK_SECONDS)
            finally:
                self._leads.pop(job_id, None)
                lead.finished.set()
                self._wake.set()
