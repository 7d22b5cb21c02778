"""Tells other rooms that a job's status changed, without the rooms that change it importing them.

Life: `register` names the listeners once, before the database is used, and says which jobs each is told of.
From then on each new job and each change of a status stores one row per such listener, in the transaction of
the change itself, so that a kill can't separate the two.
A listener has a `Reader`: it reads its rows oldest first and acknowledges each when it has dealt with it. A
row that is not acknowledged is read again, also by the next server: dealing with it must be safe to repeat.
Without listeners nothing is stored. Rows of a job that is deleted go with it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from rapidflow_web.db import sql
from rapidflow_web.db.database import now_ms, patient, uncancelled

_LOOK_AGAIN = 10.0
"""Seconds. Whoever wakes within a transaction does so before others can see its rows."""

_GATHER_SECONDS = 0.1
"""How long a reader lets changes come together before it reads them: a build that begins needs the database
more than whoever is told of it."""

_wakes: dict[str, asyncio.Event] = {}
_insert = ""
"""Stores the rows of a change, for those who listen."""
_changed: list[Callable[[int | None], None]] = []


def register(
    listeners: Mapping[str, str] = {}, changed: Callable[[int | None], None] = lambda _: None
) -> None:
    """Says who listens from now on, instead of who did before.

    `listeners` has the names, each with an SQL condition on `job` for the jobs that it is told of; ?2 is the
    new status there. Most changes concern nobody, and then there is no row to deal with and to remove. A
    condition is judged at the change, so it may use what the change leaves as it is.
    Of parts of a build nobody is told, but of their lead job.
    `changed` is called after each change that this process makes, with the job where it is not a new one:
    another job may be next now.
    """
    global _insert
    _wakes.clear()
    _wakes.update({name: asyncio.Event() for name in listeners})
    rows_of = [
        f"SELECT '{name}', id, CAST(?2 AS VARCHAR(16)), CAST(?3 AS BIGINT) FROM job "  # noqa: S608
        f"WHERE id = ?1 AND lead_id IS NULL AND ({condition})"
        for name, condition in listeners.items()
    ]
    _insert = f"INSERT INTO outbox (listener, job_id, status, at) {' UNION ALL '.join(rows_of)}"
    _changed[:] = [changed]


def has_listeners() -> bool:
    """Whether changes have to be stored."""
    return bool(_wakes)


async def add(job_id: int, status: str) -> None:
    """Stores that a job has a new status, or is new. For the transaction of that; `wake` comes after it."""
    await sql.rows(_insert, [job_id, status, now_ms()])


def wake(job_id: int | None = None) -> None:
    """Lets the readers look: rows were committed, of this job or of a new one."""
    for event in _wakes.values():
        event.set()
    for changed in _changed:
        changed(job_id)


@dataclass(frozen=True, slots=True)
class Change:
    """A row of a listener: a job had this status."""

    id: int
    job_id: int
    status: str


async def remove(change: Change) -> bool:
    """Removes the row of a change; False where it is gone already."""
    return await sql.changed("DELETE FROM outbox WHERE id = ?1", [change.id]) > 0


class Reader:
    """The rows of one listener, which must be registered. One reader per listener."""

    def __init__(self, listener: str) -> None:
        self._listener = listener
        self._wake = _wakes[listener]

    @patient
    @uncancelled
    async def rows(self, limit: int = 100) -> list[Change]:
        """Up to `limit` rows that are not acknowledged, oldest first."""
        found = await sql.rows(
            "SELECT id, job_id, status FROM outbox WHERE listener = ?1 ORDER BY id LIMIT ?2",
            [self._listener, limit],
        )
        return [Change(*row) for row in found]

    async def next(self, limit: int = 100) -> list[Change]:
        """As `rows`, but waits until there are some, and then for those that come soon after."""
        while True:
            # Before the rows are read: one that is committed meanwhile sets it again.
            self._wake.clear()
            if found := await self.rows(limit):
                return found
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN):
                    await self._wake.wait()
                await asyncio.sleep(_GATHER_SECONDS)

    @patient
    @uncancelled
    async def acknowledge(self, change: Change) -> None:
        """Removes the row of a change that was dealt with. Safe to call again."""
        await remove(change)
