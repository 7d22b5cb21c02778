"""Messages on the ends of builds, to be sent by `notify`."""

from __future__ import annotations

from collections.abc import Sequence

from tortoise.expressions import F
from tortoise.transactions import in_transaction

from rapidflow_web.db import outbox
from rapidflow_web.db.database import now_ms, patient, uncancelled
from rapidflow_web.db.models import Job
from rapidflow_web.db.outbox import Change
from rapidflow_web.db.sql import rows
from rapidflow_web.db.trigger_models import Notification

# In YAML, a backslash can hide any word.
WANTED = """?2 IN ('success', 'failed', 'cancelled') AND NOT job.untrusted AND job.upload_id IS NULL
AND EXISTS (
    SELECT 1 FROM definition WHERE definition.id = job.definition_id
    AND (REPLACE(config, 'notify', '') <> config OR REPLACE(config, '\\', '') <> config))"""
"""The jobs of whose end somebody may have to be told, in SQL: they are trusted, and the word `notify` is in
their definition. ?2 is the new status."""


@patient
@uncancelled
async def status_before(job: Job) -> str | None:
    """How the build before ended, "success" or "failed"; None if there is none.

    That is the newest earlier one of the same pipeline and branch, or ref where there is no branch, that
    ended by itself. Builds of working trees and of commits for which nothing vouches do not count.
    """
    query = Job.filter(
        pipeline_id=job.pipeline_id,
        id__lt=job.id,
        status__in=("success", "failed"),
        untrusted=False,
        upload_id__isnull=True,
        lead_id__isnull=True,
    )
    if job.branch is not None:
        query = query.filter(branch=job.branch)
    elif job.ref is not None:
        query = query.filter(branch__isnull=True, ref=job.ref)
    else:
        query = query.filter(branch__isnull=True, ref__isnull=True)
    found = await query.order_by("-id").first().only("id", "status")
    return found.status if found is not None else None


@patient
@uncancelled
async def store(change: Change, new: Sequence[Notification]) -> None:
    """Stores messages, and acknowledges the change that they come from. Safe to call again."""
    async with in_transaction():
        if await outbox.remove(change) and new:
            await Notification.bulk_create(new)


@patient
@uncancelled
async def lanes_due(now: int) -> list[str]:
    """The lanes in which something is to be sent now. One that failed holds those behind it."""
    found = await rows(
        "SELECT lane, MIN(next_at) FROM notification WHERE next_at IS NOT NULL GROUP BY lane "
        "HAVING MIN(next_at) <= ?1 AND MAX(CASE WHEN attempts > 0 THEN next_at ELSE 0 END) <= ?1 "
        "ORDER BY 2",
        [now],
    )
    return [row[0] for row in found]


@patient
@uncancelled
async def due(lane: str, now: int) -> Notification | None:
    """What is to be sent next in a lane, with its job. None: nothing now."""
    if await Notification.filter(lane=lane, attempts__gt=0, next_at__gt=now).exists():
        return None
    return (
        await Notification.filter(lane=lane, next_at__lte=now)
        .order_by("id")
        .select_related("job__definition", "job__pipeline__repository")
        .first()
    )


@patient
@uncancelled
async def next_after(now: int) -> int | None:
    """When something is due that is not due yet, in ms."""
    found = await rows("SELECT MIN(next_at) FROM notification WHERE next_at > ?1", [now])
    return found[0][0]


@patient
@uncancelled
async def clock_was_ahead(now: int, *, everything: bool) -> None:
    """Makes due at `now`, in ms, what waits for a time of a clock that was ahead.

    That is `everything` that waits, or else what was made later than now.
    """
    late = Notification.filter(next_at__gt=now)
    await (late if everything else late.filter(created_at__gt=now)).update(next_at=now)


@patient
@uncancelled
async def sent(notification_id: int) -> None:
    """The other side took the message. Safe to call again."""
    await Notification.filter(id=notification_id).update(sent_at=now_ms(), next_at=None, error=None)


@patient
@uncancelled
async def failed(notification_id: int, error: str, next_at: int | None) -> None:
    """The message was not taken; it is sent again at `next_at` in ms, or never where that is None."""
    await Notification.filter(id=notification_id).update(
        attempts=F("attempts") + 1, error=error, next_at=next_at
    )


@uncancelled
async def waiting() -> int:
    """How many messages are to be sent."""
    return await Notification.filter(next_at__isnull=False).count()


@uncancelled
async def forget(before: int) -> None:
    """Deletes messages that were made before a time in ms and are not to be sent any more."""
    await Notification.filter(next_at__isnull=True, created_at__lt=before).delete()
