"""Queries on uploaded working trees."""

from __future__ import annotations

from collections.abc import Sequence

from tortoise.transactions import in_transaction

from rapidflow_web.db.database import now_ms, patient, uncancelled
from rapidflow_web.db.models import Job
from rapidflow_web.db.sql import rows
from rapidflow_web.db.trigger_models import Upload

_UNUSED_KEPT = 2 * 3600 * 1000
"""Milliseconds in which an upload has to arrive and to be used."""
_USED_KEPT = 24 * 3600 * 1000
"""Milliseconds after the end of its last build, which can be retried until then."""


_NOBODY = "a removed user"
"""The owner of what a removed user has uploaded; no name has spaces."""


class NoRoom(Exception):
    """A user has uploaded so much that no more is kept."""


@uncancelled
async def begin(pipeline_id: int, owner: str, size: int, most: int) -> Upload:
    """Stores an upload that is on its way and may take `size` bytes.

    Raises `NoRoom` where those of the owner would take more than `most`.
    """
    async with in_transaction():
        taken = await rows("SELECT COALESCE(SUM(size), 0) FROM upload WHERE owner = ?1", [owner])
        if int(taken[0][0]) + size > most:
            raise NoRoom
        return await Upload.create(pipeline_id=pipeline_id, owner=owner, size=size, created_at=now_ms())


@uncancelled
async def arrived(upload_id: int, commit: str, size: int) -> Upload:
    """Notes that all of an upload is there."""
    await Upload.filter(id=upload_id).update(commit=commit, size=size)
    return await Upload.get(id=upload_id)


@uncancelled
async def of_owner(upload_id: int, pipeline_id: int, owner: str) -> Upload | None:
    """An upload that is there, if it is this owner's and for this pipeline."""
    return await Upload.get_or_none(
        id=upload_id, pipeline_id=pipeline_id, owner=owner, commit__not_isnull=True
    )


@uncancelled
async def exists(upload_id: int) -> bool:
    """Whether an upload is kept."""
    return await Upload.filter(id=upload_id).exists()


@uncancelled
async def remove(upload_id: int) -> bool:
    """Removes an upload; False where a build waits for it or runs."""
    async with in_transaction():
        if await Job.filter(upload_id=upload_id, finished_at__isnull=True).exists():
            return False
        await Upload.filter(id=upload_id).delete()
        return True


@uncancelled
async def built(owner: str) -> list[int]:
    """The owner's uploads whose builds have all ended, the oldest first."""
    found = await rows(
        "SELECT id FROM upload WHERE owner = ?1 AND EXISTS (SELECT 1 FROM job WHERE upload_id = upload.id) "
        "AND NOT EXISTS (SELECT 1 FROM job WHERE upload_id = upload.id AND finished_at IS NULL) ORDER BY id",
        [owner],
    )
    return [row[0] for row in found]


@patient
@uncancelled
async def expired(now: int) -> list[int]:
    """The uploads that nothing has used for long, and those of removed users. `now` is in ms."""
    found = await rows(
        "SELECT id FROM upload WHERE (created_at < ?1 AND NOT EXISTS (SELECT 1 FROM job "
        "WHERE upload_id = upload.id AND (finished_at IS NULL OR finished_at > ?2))) "
        'OR (owner = ?3 AND "commit" IS NOT NULL) ORDER BY id',
        [now - _UNUSED_KEPT, now - _USED_KEPT, _NOBODY],
    )
    return [row[0] for row in found]


async def disown(owner: str) -> None:
    """Makes the uploads of a user nobody's, also for a later user of that name; for a transaction."""
    await Upload.filter(owner=owner).update(owner=_NOBODY)


@uncancelled
async def forget(upload_ids: Sequence[int]) -> None:
    """Removes uploads whose files are gone."""
    await Upload.filter(id__in=list(upload_ids)).delete()


@uncancelled
async def forget_unfinished() -> None:
    """Removes the uploads that a killed server was taking."""
    await Upload.filter(commit__isnull=True).delete()


@uncancelled
async def ids() -> list[int]:
    """All of them."""
    return [row.id for row in await Upload.all().only("id")]
