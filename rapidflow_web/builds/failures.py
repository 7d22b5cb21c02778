"""Finds out why steps failed, from their logs, for the pages.

Life: `note` takes each build that failed, once its log is sealed. `run` looks at them one after the other and
stores what it finds; when there are none, it looks for those that an earlier server left, the newest first.
What can't be read, or takes too long, has no message; what could not be looked at now is looked at again, and
has no message after a few times.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from rapidflow_web.builds import part_rules, reasons
from rapidflow_web.db import job_steps, jobs, parts
from rapidflow_web.db.build_lists import Build
from rapidflow_web.db.database import is_away, now_ms
from rapidflow_web.db.models import Job, Step
from rapidflow_web.errors import LogUnreadable, RapidFlowError
from rapidflow_web.logs import failure, search
from rapidflow_web.logs.log import LogStore

_log = logging.getLogger(__name__)

_MOST_LEFT = 200
"""Builds of an earlier server that are looked at."""
_PATIENCE = 30_000
"""Milliseconds after the end of a build in which a page may wait for what is found."""
_TRIES = 3
_PAUSE = 5.0
"""Seconds until a build, or what an earlier server left, is looked at again."""


class Failures:
    """Looks at builds that failed."""

    def __init__(self, logs: LogStore) -> None:
        self.logs = logs
        # Whether it is of an earlier server, its id so that the newest comes first, and tries so far.
        self._noted: asyncio.PriorityQueue[tuple[bool, int, int]] = asyncio.PriorityQueue()

    def note(self, job_id: int) -> None:
        """Has a build looked at that failed, and whose log is sealed."""
        self._noted.put_nowait((False, -job_id, 0))

    async def run(self) -> None:
        """Looks at builds until cancelled."""
        await self._note_left()
        while True:
            left, minus, tries = await self._noted.get()
            is_last = tries + 1 == _TRIES
            try:
                await self._look(-minus, is_last=is_last)
            except Exception as problem:
                # Another build must be explained all the same.
                _tell(-minus, problem)
                if not is_last:
                    again = (left, minus, tries + 1)
                    asyncio.get_running_loop().call_later(_PAUSE, self._noted.put_nowait, again)

    async def _note_left(self) -> None:
        while True:
            try:
                left = await jobs.unexplained(_MOST_LEFT)
                break
            except Exception as problem:
                # Builds that fail from now on can't be looked at in the meantime either.
                _log.warning("can't look for failed builds: %s", problem, exc_info=_traceback(problem))
                await asyncio.sleep(_PAUSE)
        for job_id in left:
            self._noted.put_nowait((True, -job_id, 0))

    async def _look(self, job_id: int, *, is_last: bool) -> None:
        job = await jobs.get(job_id)
        if job is None or job.status != "failed" or job.failure is not None:
            return
        if job.parts is not None:
            await jobs.update(job_id, failure=await self._of_part(job_id, is_last=is_last))
            return
        step = failed_step(job, await job_steps.of_job(job_id))
        found: dict[str, Any] = {}
        if step is not None:
            found = {"step": step.order_num, "name": step.name, "code": step.exit_code}
            try:
                found |= await self._message(job_id, step)
            except Exception as problem:
                if not (is_last or _stays(problem)):
                    raise
                _tell(job_id, problem)
        await jobs.update(job_id, failure=found)

    async def _of_part(self, lead_id: int, *, is_last: bool) -> dict[str, Any]:
        """Why the part failed, or was ended, by which a build of several jobs failed.

        One that was rejected has no job.
        """
        rows = await parts.of_lead(lead_id)
        failed = part_rules.blamed(rows)
        if failed is None:
            return {}
        if failed.job_id is None:
            return {"part": failed.name}
        await self._look(failed.job_id, is_last=is_last)
        job = await jobs.get(failed.job_id)
        return {
            **(job.failure or {} if job is not None else {}),
            "part": failed.name,
            "job_id": failed.job_id,
        }

    async def _message(self, job_id: int, step: Step) -> dict[str, Any]:
        log = self.logs.open(job_id)
        span = log.layout.span(step.id)
        error = await search.telling_line(log, step.id)
        if span is None or error is None:
            return {}
        end = log.size if span.end is None else span.end
        window = await log.read(error["offset"], min(failure.WINDOW, end - error["offset"]))
        # What a program printed may be slow to read.
        message = await asyncio.to_thread(failure.message, window)
        if message is None:
            return {}
        return {"message": message.text, "line": error["line"] + message.line - span.first_line + 1}


def _stays(problem: Exception) -> bool:
    """Whether the next try fails as well: the log is damaged, or takes too long or too much memory."""
    if isinstance(problem, search.CannotSearch):
        return not isinstance(problem, search.SearchFailed)
    return isinstance(problem, LogUnreadable)


def _tell(job_id: int, problem: Exception) -> None:
    _log.warning("can't determine why job %d failed: %s", job_id, problem, exc_info=_traceback(problem))


def _traceback(problem: Exception) -> Exception | None:
    """The problem itself where it is a fault of the program, so that the log has its traceback."""
    return None if isinstance(problem, RapidFlowError) or is_away(problem) else problem


def failed_step(job: Job, steps: list[Step]) -> Step | None:
    """The step whose exit code is why a job failed; None where it failed for another reason."""
    for number, step in enumerate(steps, 1):
        if step.exit_code and job.error == reasons.exited(number, step.type, step.exit_code):
            return step
    return None


def is_awaited(job: Job | Build) -> bool:
    """Whether it will soon be known why a job failed."""
    ended = job.finished_at
    return (
        job.status == "failed" and job.failure is None and ended is not None and now_ms() - ended < _PATIENCE
    )
