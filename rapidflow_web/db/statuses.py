"""What forges are to show at commits, and what they were told. `notify` sends it."""

from __future__ import annotations

from collections.abc import Callable

from tortoise.expressions import F, Q, Subquery
from tortoise.transactions import in_transaction

from rapidflow_web.db.database import now_ms, patient, uncancelled
from rapidflow_web.db.sql import rows
from rapidflow_web.db.trigger_models import CommitStatus, Repository

GIVEN_UP_AFTER = 24 * 3600 * 1000
"""Milliseconds after its last change."""
_CONTEXT = 255
"""Characters, which is what GitHub takes."""

SHOWN = """job."commit" IS NOT NULL AND job.upload_id IS NULL AND EXISTS (
    SELECT 1 FROM pipeline WHERE pipeline.id = job.pipeline_id AND pipeline.repository_id IS NOT NULL)"""
"""The jobs that a forge may have to show, in SQL: of a repository and of a commit that the forge can have."""

_woken: list[Callable[[], None]] = []


def wake_on_change(wake: Callable[[], None]) -> None:
    """Calls `wake` from now on whenever there may be something to send, instead of what was called before."""
    _woken[:] = [wake]


def _wake() -> None:
    for wake in _woken:
        wake()


def context_of(pipeline_name: str) -> str:
    """Under what forges show the status of a pipeline."""
    return f"rapidflow/{pipeline_name}"[:_CONTEXT]


@uncancelled
async def report(
    repository_id: int,
    commit: str,
    context: str,
    state: str,
    description: str,
    job_id: int | None,
    pipeline_id: int | None,
) -> None:
    """Has the forge show a state at a commit, unless it shows that or is about to. Safe to call again.

    Of several builds the newest counts: what an older one reports later changes nothing. Without `job_id`
    nothing was built, which counts less than any build. A pipeline keeps the context under which it was first
    reported at a commit, so that a new name leaves no status behind that never ends.
    """
    async with in_transaction():
        if pipeline_id is not None:
            earlier = await CommitStatus.filter(
                repository_id=repository_id, commit=commit, pipeline_id=pipeline_id
            ).first()
            context = earlier.context if earlier is not None else context
        now = now_ms()
        new = {
            "state": state,
            "description": description,
            "job_id": job_id,
            "pipeline_id": pipeline_id,
            "changed_at": now,
            "next_at": now,
        }
        status = CommitStatus(repository_id=repository_id, commit=commit, context=context, **new)
        await CommitStatus.bulk_create([status], ignore_conflicts=True)
        differs = ~Q(state=state) | ~Q(description=description)
        replaced = Q(job_id__isnull=True)
        if job_id is not None:
            differs |= Q(job_id__isnull=True) | Q(job_id__lt=job_id)
            replaced |= Q(job_id__lte=job_id)
        await CommitStatus.filter(
            differs, replaced, repository_id=repository_id, commit=commit, context=context
        ).update(**new, serial=F("serial") + 1)
    _wake()


@patient
@uncancelled
async def repositories_due(now: int) -> list[int]:
    """The repositories whose forges have to be told something now, those that have waited longest first."""
    found = await rows(
        "SELECT status.repository_id, MIN(status.next_at) FROM commit_status AS status "
        "JOIN repository ON repository.id = status.repository_id "
        "WHERE status.next_at <= ?1 AND COALESCE(repository.statuses_paused_until, 0) <= ?1 "
        "GROUP BY status.repository_id ORDER BY 2",
        [now],
    )
    return [row[0] for row in found]


@patient
@uncancelled
async def due(repository_id: int, now: int) -> CommitStatus | None:
    """What the forge of a repository is to be told next, with the repository. None: nothing now."""
    status = (
        await CommitStatus.filter(repository_id=repository_id, next_at__lte=now)
        .order_by("next_at", "id")
        .select_related("repository")
        .first()
    )
    if status is not None and (status.repository.statuses_paused_until or 0) > now:
        return None
    return status


@patient
@uncancelled
async def next_after(now: int) -> int | None:
    """When something is due that is not due yet, in ms."""
    found = await rows("SELECT MIN(next_at) FROM commit_status WHERE next_at > ?1", [now])
    paused = await rows(
        "SELECT MIN(statuses_paused_until) FROM repository WHERE statuses_paused_until > ?1", [now]
    )
    return min((row[0] for row in (*found, *paused) if row[0] is not None), default=None)


@patient
@uncancelled
async def clock_was_ahead(now: int, *, everything: bool) -> None:
    """Makes due at `now`, in ms, what waits for a time of a clock that was ahead.

    That is `everything` that waits, or else what forges are to be told that changed later than now.
    """
    late = CommitStatus.filter(next_at__isnull=False)
    late = late if everything else late.filter(changed_at__gt=now)
    async with in_transaction():
        paused = Repository.filter(statuses_paused_until__gt=now)
        if not everything:
            paused = paused.filter(id__in=Subquery(late.values("repository_id")))
        await paused.update(statuses_paused_until=None)
        await late.filter(next_at__gt=now).update(next_at=now)


@patient
@uncancelled
async def sent(status_id: int, serial: int) -> None:
    """The forge shows the state that `serial` stands for. Safe to call again."""
    await CommitStatus.filter(id=status_id).update(sent=serial, attempts=0, error=None)
    await CommitStatus.filter(id=status_id, serial=serial).update(next_at=None)


@patient
@uncancelled
async def failed(status_id: int, serial: int, error: str, next_at: int | None) -> None:
    """The forge was not told; it will be at `next_at` in ms, or never where that is None."""
    await CommitStatus.filter(id=status_id).update(attempts=F("attempts") + 1, error=error)
    await CommitStatus.filter(id=status_id, serial=serial).update(next_at=next_at)


@patient
@uncancelled
async def pause(repository_id: int, until: int) -> None:
    """Has nothing sent to the forge of a repository until a time in ms."""
    await Repository.filter(id=repository_id).update(statuses_paused_until=until)


@uncancelled
async def retry_now(repository_id: int) -> None:
    """Sends what was not sent in the last day, for example because the repository has a new token."""
    now = now_ms()
    async with in_transaction():
        await Repository.filter(id=repository_id).update(statuses_paused_until=None)
        await CommitStatus.filter(
            ~Q(serial=F("sent")), repository_id=repository_id, changed_at__gt=now - GIVEN_UP_AFTER
        ).update(next_at=now)
    _wake()


@uncancelled
async def error_of(repository_id: int) -> str | None:
    """Why a forge does not show the newest status of its repository; None if all is well."""
    status = (
        await CommitStatus.filter(~Q(serial=F("sent")), repository_id=repository_id, error__isnull=False)
        .order_by("-changed_at")
        .first()
    )
    return status.error if status is not None else None


@uncancelled
async def waiting() -> int:
    """How many statuses are to be sent."""
    return await CommitStatus.filter(next_at__isnull=False).count()


@uncancelled
async def forget(before: int) -> None:
    """Deletes what last changed before a time in ms and is not to be sent any more."""
    await CommitStatus.filter(next_at__isnull=True, changed_at__lt=before).delete()
