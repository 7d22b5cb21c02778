"""Tells other rooms that a job's status changed, without the rooms that change it importing them.

Life: `register` names the listeners once, before the database is used. From then on each new job and each
change of a status stores one row per listener, in the transaction of the change itself, so that a kill can't
separate the two.
A listener has a `Reader`: it reads its rows oldest first and acknowledges each when it has dealt with it. A
row that is not acknowledged is read again, also by the next server: dealing with it must be safe to repeat.
Without listeners nothing is stored. Rows of a job that is deleted go with it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import cast

from rapidflow_web.db.database import now_ms, patient, uncancelled
from rapidflow_web.db.models import OutboxRow
from rapidflow_web.db.sql import rows

_LOOK_AGAIN = 10.0
"""Seconds. Whoever wakes within a transaction does so before others can see its rows."""

_wakes: dict[str, asyncio.Event] = {}
_changed: list[Callable[[int | None], None]] = []


def register(names: Sequence[str], changed: Callable[[int | None], None] = lambda _: None) -> None:
    """Says who listens from now on, instead of who did before.

    `changed` is called after each change that this process makes, with the job where it is not a new one:
    another job may be next now.
    """
    _wakes.clear()
    _wakes.update({name: asyncio.Event() for name in names})
    _changed[:] = [changed]


def has_listeners() -> bool:
    """Whether changes have to be stored."""
    return bool(_wakes)


async def add(job_id: int, status: str) -> None:
    """Stores that a job has a new status, or is new. For the transaction of that; `wake` comes after it.

    Of parts of a build nobody is told, but of their lead job.
    """
    if await rows("SELECT 1 FROM job WHERE id = ?1 AND lead_id IS NOT NULL", [job_id]):
        return
    now = now_ms()
    await OutboxRow.bulk_create(
        OutboxRow(listener=name, job_id=job_id, status=status, at=now) for name in _wakes
    )


def wake(job_id: int | None = None) -> None:
    """Lets the readers look: rows were committed, of this job or of a new one."""
    for event in _wakes.values():
        event.set()
    for changed in _changed:
        changed(job_id)


class Reader:
    """The rows of one listener, which must be registered. One reader per listener."""

    def __init__(self, listener: str) -> None:
        self._listener = listener
        self._wake = _wakes[listener]

    @patient
    @uncancelled
    async def rows(self, limit: int = 100) -> list[OutboxRow]:
        """Up to `limit` rows that are not acknowledged, oldest first."""
        # In plain SQL: to make this query takes the ORM longer than the database needs to answer it.
        found = await OutboxRow.raw(
            f"SELECT * FROM outbox WHERE listener = '{self._listener}' ORDER BY id LIMIT {int(limit)}"  # noqa: S608
        )
        return cast(list[OutboxRow], found)

    async def next(self, limit: int = 100) -> list[OutboxRow]:
        """As `rows`, but waits until there are some."""
        while True:
            # Before the rows are read: one that is committed meanwhile sets it again.
            self._wake.clear()
            if found := await self.rows(limit):
                return found
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN):
                    await self._wake.wait()

    @patient
    @uncancelled
    async def acknowledge(self, row: OutboxRow) -> None:
        """Removes a row that was dealt with. Safe to call again."""
        await OutboxRow.filter(listener=self._listener, id=row.id).delete()
