"""Recovery: what an earlier server left, what builds left behind, and ends that can't be stored yet."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from rapidflow_web.builds.ending import Ending
from rapidflow_web.db import jobs
from rapidflow_web.db.models import Job
from rapidflow_web.executors.base import Executor, Live
from rapidflow_web.removal import contents, remove_folder
from rapidflow_web.server_log import about

_log = logging.getLogger(__name__)

_RETRY_SECONDS = 5.0


class Recovery:
    """`work` is the folder with a subfolder for each build that runs."""

    def __init__(self, executor: Executor, ending: Ending, work: Path) -> None:
        self._executor = executor
        self._ending = ending
        self._work = work

    async def unfinished(self) -> tuple[list[Job], list[Job]]:
        """The jobs that an earlier server left running, and those that ended without the end of their log."""
        found = await jobs.unsealed()
        running = [job for job in found if job.status == "running"]
        return running, [job for job in found if job.status in jobs.FINISHED]

    async def seal(self, job_id: int) -> None:
        """Ends the log of a job that has ended; where that fails, the next start tries again."""
        with about(job_id):
            try:
                await self._ending.seal(job_id)
            except Exception:
                # The other builds must go on.
                _log.exception("its log can't be ended")

    async def fail(self, job_id: int, reason: str) -> None:
        """Ends a job as failed; tries again until that is stored, because nothing may run for ever."""
        while True:
            try:
                await self._ending.ended(job_id, "failed", reason)
                return
            except Exception as error:
                _log.warning("its end can't be stored; trying again: %s", error)
            await asyncio.sleep(_RETRY_SECONDS)

    async def sweep(self, live: Live) -> None:
        """Removes what builds left in the executor and in the work folder, but those that are `live`."""
        try:
            if removed := await self._executor.sweep(live):
                _log.info("removed what %d build%s left behind", removed, "s" * (removed != 1))
            await asyncio.to_thread(self._sweep_work, live)
        except Exception as error:
            _log.warning("what is left of builds that have ended can't be removed yet: %s", error)

    def _sweep_work(self, live: Live) -> None:
        for folder in contents(self._work):
            if not folder.name.isdigit() or int(folder.name) not in live():
                remove_folder(folder)
