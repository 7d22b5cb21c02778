"""The queue: claims pending jobs, first come first served, a slot for each build that runs.

With many machines, `cluster_queue.py` takes its place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from rapidflow_web import metrics
from rapidflow_web.builds.health import Health
from rapidflow_web.db import claims
from rapidflow_web.db.models import Job
from rapidflow_web.executors.cluster.placement import NodeState

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """A machine, and how many of its slots are taken."""

    node: NodeState
    taken: int


class Queue:
    """The jobs that wait, which are rows of the database, and `slots` for builds on a single machine."""

    def __init__(self, slots: int, health: Health) -> None:
        self.draining = False
        """Whether no more jobs are claimed, because the server is going to end."""
        self._all_slots = slots
        self._slots = asyncio.Semaphore(slots)
        self._full = False
        self._health = health
        self._wake = asyncio.Event()

    @property
    def slots(self) -> int:
        """How many builds can run at once."""
        return self._all_slots

    @property
    def full(self) -> bool:
        """Whether all slots are taken, so that the next job waits for one."""
        return self._full

    @property
    def nodes(self) -> Sequence[NodeLoad] | None:
        """The machines with how many of their slots are taken; None where there is a single machine."""
        return None

    def reason(self, on_node: str | None) -> str | None:
        """Why no node takes a job that asks for these labels, as they are stored; None where one does.

        Nothing is said where there is a single machine.
        """
        return None

    def wake(self) -> None:
        """A job may be waiting, or what was in the way may be gone."""
        self._wake.set()

    async def next(self) -> Job:
        """The next job, claimed, with a slot of its own that the caller frees. Waits until there are both."""
        self._full = self._slots.locked()
        await self._slots.acquire()
        self._full = False
        try:
            return await self._first_claimed()
        except BaseException:
            self._slots.release()
            raise

    async def _first_claimed(self) -> Job:
        """The next job, as soon as one can be claimed."""
        while True:
            self._wake.clear()
            if not self.draining and self._health.good and (job := await self._claim()):
                metrics.WAITED_SECONDS.observe(((job.started_at or 0) - job.created_at) / 1000)
                return job
            await self._wake.wait()

    async def take_slot(self, job: Job) -> bool:
        """Takes a slot for a build that runs already; False where none is free, which must not stop it."""
        if self._slots.locked():
            return False
        return await self._slots.acquire()

    def free_slot(self, job: Job) -> None:
        """Gives the slot of a job back."""
        self._slots.release()

    async def _claimed(self) -> Job | None:
        return await claims.claim()

    async def _claim(self) -> Job | None:
        try:
            return await self._claimed()
        except Exception as error:
            # Whatever it is, builds must be run when it is over; the supervisor wakes us to try again.
            _log.warning("no job can be claimed: %s", error)
            return None
