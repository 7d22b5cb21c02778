"""Whether builds can be stored, run and written down now."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from rapidflow_web.builds import disk
from rapidflow_web.builds.health import Health
from rapidflow_web.builds.queue import Queue
from rapidflow_web.builds.supervisor import Supervisor
from rapidflow_web.db import jobs
from rapidflow_web.db.database import is_read_only

_DATABASE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Readiness:
    """What is wrong with each part, in a sentence; None where all is well."""

    database: str | None
    engine: str | None
    disk: str | None
    draining: bool = False
    """Whether the server is going to end, and starts no more builds."""

    @property
    def ready(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.database or self.engine or self.disk or self.draining)


async def readiness(supervisor: Supervisor, queue: Queue, health: Health, data: Path) -> Readiness:
    """Looks at the database, the engine and the disk with the folder `data`."""
    database = await _database_problem()
    full = supervisor.stuck or await asyncio.to_thread(disk.problem, data)
    return Readiness(database, health.engine_problem, full, queue.draining)


async def _database_problem() -> str | None:
    # A query is never cancelled (see db.database.uncancelled), so what is asked here is left to itself.
    asked = asyncio.ensure_future(_refuses_changes())
    done, _ = await asyncio.wait({asked}, timeout=_DATABASE_SECONDS)
    if not done:
        asked.add_done_callback(lambda future: future.cancelled() or future.exception())
        return f"the database does not answer within {_DATABASE_SECONDS:.0f} s"
    if (error := asked.exception()) is not None:
        return f"the database can't be read: {error}"
    return "the database takes no changes: it is read-only, such as a standby" if asked.result() else None


async def _refuses_changes() -> bool:
    await jobs.waiting()
    return await is_read_only()
