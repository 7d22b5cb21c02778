"""Whether the logs of builds that have ended are there and whole; mends those that are not."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from rapidflow_web.db import job_steps, jobs, retention
from rapidflow_web.logs import stream_text
from rapidflow_web.logs.compressed import CompressedFile
from rapidflow_web.logs.files import open_file
from rapidflow_web.logs.log import LogStore
from rapidflow_web.logs.reindex import KnownStep, reindex
from rapidflow_web.logs.salvage import salvage, salvage_output
from rapidflow_web.maintenance.finding import Finding
from rapidflow_web.progress import Paced, Progress


class LogCheck:
    """Examines the logs in `folder`. `server_runs` tells whether a server uses them now."""

    def __init__(self, folder: Path, server_runs: bool) -> None:
        self._folder = folder
        self._server_runs = server_runs
        self._logs = LogStore(folder)

    async def findings(self, progress: Progress) -> AsyncIterator[Finding]:
        """All logs that are not as they were stored. `progress` is told."""
        told = Paced(progress)
        stored = await retention.stored_logs()
        for number, (job_id, status, error, size) in enumerate(stored):
            told(f"log {number + 1} of {len(stored)}", number / len(stored))
            problems = await asyncio.to_thread(self._problems, job_id, size)
            if not problems or await jobs.get(job_id) is None:
                continue
            for service, problem in problems:
                if service is None:
                    whose, mend = f"job {job_id}", self._is_salvaged(job_id, status, error, size)
                else:
                    whose = f"the service {service} of job {job_id}"
                    mend = self._of_service_is_salvaged(job_id, service)
                # A running server keeps logs open, and would go on with what it knows of them.
                hint = "; stop the server to have it mended" if self._server_runs else ""
                yield Finding(f"the log of {whose} {problem}{hint}", None if self._server_runs else mend)

    def gets_an_end(
        self, job_id: int, status: str, error: str | None, before: bytes = b""
    ) -> Callable[[], Awaitable[None]]:
        """Gives a log its final lines, after the line `before`, where it has none; stores its size."""

        async def mend() -> None:
            # Not the log that was looked at: it knows what was there before.
            logs = LogStore(self._folder)
            await asyncio.to_thread(logs.keep_the_rest, job_id)
            if not logs.open(job_id).sealed:
                await logs.writer(job_id).seal(before + stream_text.final_lines(status, error))
            await jobs.update(job_id, log_size=logs.open(job_id).size, stored_size=None)

        return mend

    def _problems(self, job_id: int, size: int) -> list[tuple[str | None, str]]:
        """What is wrong with the log of a job and those of its services, which are named."""
        found = [(None, self._problem(job_id, None, size))]
        # Where that is not allowed, the log of the job, beside it, can't be read either.
        with contextlib.suppress(PermissionError):
            found += [(name, self._problem(job_id, name, None)) for name in self._logs.services(job_id)]
        return [(name, problem) for name, problem in found if problem is not None]

    def _problem(self, job_id: int, service: str | None, size: int | None) -> str | None:
        """What is wrong with a log; `size` is that in the database, which does not know those of services."""
        path = self._logs.path(job_id, service)
        try:
            there = _checked_size(path)
        except FileNotFoundError:
            return "is missing"
        except OSError as error:
            return f"can't be read ({error.strerror or error})"
        if size is not None and there != size:
            return f"has {there} bytes instead of {size}"
        try:
            _checked_size(path.with_suffix(".index"))
            log = self._logs.open(job_id, service)
        except FileNotFoundError:
            return "has no index"
        except OSError as error:
            return f"has an index that can't be read ({error.strerror or error})"
        return None if log.sealed and log.size == there else "has an index that does not fit it"

    def _is_salvaged(
        self, job_id: int, status: str, error: str | None, size: int
    ) -> Callable[[], Awaitable[None]]:
        async def mend() -> None:
            path, final_lines = self._logs.path(job_id), stream_text.final_lines(status, error)
            said = await asyncio.to_thread(salvage, path, size)
            steps = await _begun(job_id)
            await asyncio.to_thread(self._gets_an_index, job_id, size, steps, final_lines)
            await self.gets_an_end(job_id, status, error, b"" if said else stream_text.LOST)()

        return mend

    def _of_service_is_salvaged(self, job_id: int, service: str) -> Callable[[], Awaitable[None]]:
        async def mend() -> None:
            await asyncio.to_thread(salvage_output, self._logs.path(job_id, service))
            await jobs.update(job_id, stored_size=None)

        return mend

    def _gets_an_index(self, job_id: int, size: int, steps: list[KnownStep], final_lines: bytes) -> None:
        """Makes the index of a log anew where that is damaged; takes off what others have appended."""
        path, log = self._logs.path(job_id), LogStore(self._folder).open(job_id)
        if not path.exists():
            return
        there = path.stat().st_size
        if log.sealed:
            # Index and log agree, so they are right, whatever the database says.
            if there > log.size:
                os.truncate(path, log.size)
            return
        if there > size and _ends_in(path, size, final_lines):
            os.truncate(path, size)
        if there >= size or not log.layout.spans:
            reindex(path, steps, final_lines)


async def _begun(job_id: int) -> list[KnownStep]:
    return [
        KnownStep(
            step.id,
            step.order_num,
            step.type,
            -1 if step.exit_code is None else step.exit_code,
            step.started_at,
            step.finished_at or step.started_at,
        )
        for step in await job_steps.of_job(job_id)
        if step.started_at is not None
    ]


def _checked_size(path: Path) -> int:
    """The bytes of a file of a log. Reads all of a compressed one. Raises `OSError`."""
    file = open_file(path)
    if isinstance(file, CompressedFile):
        file.check()
    size = file.size
    file.close()
    return size


def _ends_in(path: Path, size: int, final_lines: bytes) -> bool:
    """Whether the final lines stand before byte `size` of a log."""
    with path.open("rb") as file:
        file.seek(max(0, size - len(final_lines)))
        return file.read(len(final_lines)) == final_lines
