"""Whether builds can be stored, run and written down now."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from rapidflow_web.db import jobs
from rapidflow_web.engine.scheduler import Scheduler

_DATABASE_SECONDS = 5.0
_LEAST_FREE = 64 * 1024 * 1024
"""Bytes in the data folder below which it counts as full."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """What is wrong with each part, in a sentence; None where all is well."""

    database: str | None
    engine: str | None
    disk: str | None

    @property
    def ready(self) -> bool:
        """Whether nothing is wrong."""
        return self.database is None and self.engine is None and self.disk is None


async def readiness(scheduler: Scheduler, data: Path) -> Readiness:
    """Looks at the database, the engine and the disk with the folder `data`."""
    database = await _database_problem()
    disk = scheduler.disk_problem or await asyncio.to_thread(_disk_problem, data)
    return Readiness(database, scheduler.engine_problem, disk)


async def _database_problem() -> str | None:
    # A query is never cancelled (see db.database.uncancelled), so what is asked here is left to itself.
    asked = asyncio.ensure_future(jobs.waiting())
    done, _ = await asyncio.wait({asked}, timeout=_DATABASE_SECONDS)
    if not done:
        asked.add_done_callback(lambda future: future.cancelled() or future.exception())
        return f"the database does not answer within {_DATABASE_SECONDS:.0f} s"
    error = asked.exception()
    return f"the database can't be read: {error}" if error is not None else None


def _disk_problem(data: Path) -> str | None:
    try:
        state = os.statvfs(data)
    except OSError as error:
        return f"the data folder {data} can't be read: {error.strerror}"
    if state.f_flag & os.ST_RDONLY:
        return f"the data folder {data} is on a disk that can't be written"
    free = state.f_bavail * state.f_frsize
    if free < _LEAST_FREE:
        return f"the disk with the data folder {data} is full: {free // 1024**2} MiB are free"
    return None
