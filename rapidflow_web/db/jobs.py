"""Queries on jobs, their steps and environments.

A job changes its status by `move` alone, but begins by `claims.begin`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, cast

from tortoise import Model
from tortoise.expressions import Q
from tortoise.transactions import in_transaction

from rapidflow_web.db import outbox
from rapidflow_web.db.database import now_ms, patient, uncancelled
from rapidflow_web.db.models import Definition, Environment, Job, Step
from rapidflow_web.db.sql import dialect, rows
from rapidflow_web.db.visibility import if_visible
from rapidflow_web.errors import NotFound
from rapidflow_web.pipeline.definition import StepDefinition

M = TypeVar("M", bound=Model)

STATUSES = ("pending", "running", "success", "failed", "cancelled")
FINISHED = ("success", "failed", "cancelled")

AWAITS_NO_APPROVAL = Q(approval__isnull=True) | Q(approval="approved")

_WAITING_LOCK = 0x52617069
"""Any number that nobody else takes."""

_PART_STATUS = {
    "waiting": "pending",
    "waits_for_approval": "pending",
    "skipped": "pending",
    "forgiven": "success",
}
"""By the states of parts that are no status."""

_ALLOWED = {
    ("pending", "cancelled"),
    ("pending", "failed"),
    ("running", "success"),
    ("running", "failed"),
    ("running", "cancelled"),
}


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """How many jobs may be pending, in all and of one user; None: as many as there are."""

    in_all: int | None = None
    per_user: int | None = None


class End(NamedTuple):
    """How a job really ended. `changed` says whether the call that returns this ended it."""

    status: str
    error: str | None
    changed: bool


class QueueFull(Exception):
    """So many jobs are pending that no more are taken."""


@uncancelled
async def create(
    fields: Mapping[str, Any],
    steps: Sequence[StepDefinition],
    environment: Mapping[str, str],
    most: QueueLimits = QueueLimits(),
) -> Job:
    """Stores a pending job with its steps and environment. `fields` are columns of `Job`.

    Raises `QueueFull`.
    """
    now = now_ms()
    async with in_transaction():
        if most != QueueLimits():
            await _check_waiting(most, fields["started_by"])
        job = await Job.create(**fields, status="pending", created_at=now)
        await _add_parts(job.id, steps, environment, now)
        if outbox.has_listeners():
            await outbox.add(job.id, "pending")
    outbox.wake()
    return job


def part_status(part: Mapping[str, object] | None) -> str:
    """How a step is shown that stands for a part, or for none."""
    state = str(part["state"]) if part is not None else "pending"
    return _PART_STATUS.get(state, state)


async def _add_parts(
    job_id: int, steps: Sequence[StepDefinition], environment: Mapping[str, str], now: int
) -> None:
    await Step.bulk_create(
        Step(
            job_id=job_id,
            order_num=order_num,
            type=step.type,
            name=step.name,
            content=step.content,
            skipped=step.skipped,
            post=step.post,
            part=None if step.part is None else dict(step.part),
            status=part_status(step.part),
            created_at=now,
        )
        for order_num, step in enumerate(steps, 1)
    )
    if environment:
        await Environment.bulk_create(
            Environment(job_id=job_id, key=key, value=value) for key, value in environment.items()
        )


async def _check_waiting(most: QueueLimits, user: str) -> None:
    if dialect() == "postgres":
        # Transactions there don't wait for each other, and each would count without the others.
        await rows(f"SELECT pg_advisory_xact_lock({_WAITING_LOCK})")
    statement = (
        "SELECT COUNT(*), COUNT(CASE WHEN started_by = ?1 THEN 1 END) FROM job WHERE status = 'pending' "
        # Strangers decide how many wait for an approval.
        "AND lead_id IS NULL AND (approval IS NULL OR approval <> 'waiting')"
    )
    in_all, of_user = (await rows(statement, [user]))[0]
    if most.in_all is not None and in_all >= most.in_all:
        raise QueueFull(f"{in_all} builds wait already, and the server takes no more")
    if most.per_user is not None and of_user >= most.per_user:
        raise QueueFull(f"{of_user} builds that {user} started wait already, and one user may have no more")


@uncancelled
async def transition(job_id: int, old: str, new: str, **fields: Any) -> bool:
    """Moves a job from status `old` to `new` and tells the listeners; False where another call was first."""
    if not outbox.has_listeners():
        # One statement is a transaction of its own, and faster than one that is opened for it.
        moved = await move(job_id, old, new, **fields)
    else:
        async with in_transaction():
            moved = await move(job_id, old, new, **fields)
    if moved:
        outbox.wake(job_id)
    return moved


async def move(job_id: int, old: str, new: str, **fields: Any) -> bool:
    """The change and a row for each listener; the caller has the transaction and wakes them afterwards."""
    if (old, new) not in _ALLOWED:
        raise ValueError(f"a job can't go from {old} to {new}")
    query = Job.filter(id=job_id, status=old)
    if new != "cancelled":
        # A cancel that was accepted decides, also over a build that was about to succeed.
        query = query.filter(cancelled=False)
    if not await query.update(status=new, **fields):
        return False
    if outbox.has_listeners():
        await outbox.add(job_id, new)
    return True


@patient
async def finish(job_id: int, status: str, error: str | None, **fields: Any) -> End:
    """Ends a running job; returns how it really ended. Safe to call again."""
    now = now_ms()
    if status != "cancelled":
        if await transition(job_id, "running", status, error=error, finished_at=now, **fields):
            return End(status, error, True)
        # A cancel was accepted at the last moment, or this is a second try.
        stored = await get(job_id)
        if stored is None or stored.status != "running":
            return (
                End(stored.status, stored.error, False) if stored is not None else End(status, error, False)
            )
    await cancel_steps(job_id, now)
    # The request may not have been stored, because the disk was full.
    changed = await transition(
        job_id, "running", "cancelled", cancelled=True, error=None, finished_at=now, **fields
    )
    return End("cancelled", None, changed)


@uncancelled
async def request_cancel(job_id: int) -> bool:
    """Notes that somebody wants the job cancelled, which decides how it ends; False where it has ended."""
    return await Job.filter(id=job_id, status__in=("pending", "running")).update(cancelled=True) > 0


@uncancelled
async def cancel_pending(job_id: int) -> bool:
    """Cancels a job that has not begun, with its steps; False where it has."""
    now = now_ms()
    async with in_transaction():
        if not await move(job_id, "pending", "cancelled", cancelled=True, finished_at=now):
            return False
        await cancel_steps(job_id, now)
    outbox.wake(job_id)
    return True


@uncancelled
async def fail_pending(job_id: int, error: str) -> bool:
    """Fails a job that has not begun; False where it has."""
    return await transition(job_id, "pending", "failed", error=error, unread=False, finished_at=now_ms())


@patient
@uncancelled
async def update(job_id: int, **fields: Any) -> None:
    """Sets columns other than the status."""
    await Job.filter(id=job_id).update(**fields)


@uncancelled
async def note_reason(job_id: int, error: str, cause: str | None) -> None:
    """Notes why a running job is going to fail."""
    await Job.filter(id=job_id, status="running").update(error=error, cause=cause)


@uncancelled
async def cancel_steps(job_id: int, at: int) -> None:
    """Marks what did not run to its end as cancelled, but what was left out. `at` is in milliseconds."""
    await Step.filter(job_id=job_id, status="running").update(status="cancelled", finished_at=at)
    await Step.filter(job_id=job_id, status="pending", skipped__isnull=True).update(status="cancelled")


@uncancelled
async def unapproved(repo_name: str, ref: str) -> list[int]:
    """The jobs of a ref that wait for an approval, the oldest first."""
    query = Job.filter(repo_name=repo_name, ref=ref, status="pending", approval="waiting")
    return [job.id for job in await query.order_by("id").only("id")]


@uncancelled
async def waiting() -> tuple[int, int | None]:
    """How many jobs wait, and since when the oldest does, in ms; without those that await an approval."""
    queued = Job.filter(AWAITS_NO_APPROVAL, status="pending")
    count = await queued.count()
    oldest = await queued.order_by("id").first().only("id", "created_at")
    return count, oldest.created_at if oldest is not None else None


@uncancelled
async def get(job_id: int) -> Job | None:
    """The job; None if there is none, or none that may be seen."""
    return if_visible(await Job.get_or_none(id=job_id))


async def existing(job_id: int) -> Job:
    """The job. Raises `NotFound`."""
    return _found(await get(job_id), job_id)


def _found(job: Job | None, job_id: int) -> Job:
    if job is None:
        raise NotFound(f"there is no job {job_id}", f"there is no build {job_id}")
    return job


@uncancelled
async def with_definition(job_id: int) -> Job:
    """The job with the definition that it ran with. Raises `NotFound`."""
    return _found(if_visible(await Job.get_or_none(id=job_id).select_related("definition")), job_id)


@patient
@uncancelled
async def with_pipeline(job_id: int) -> Job | None:
    """The job with its definition, pipeline and repository, whoever may see it; None if there is none."""
    return await Job.get_or_none(id=job_id).select_related(
        "definition", "pipeline__definition", "pipeline__repository"
    )


@uncancelled
async def with_all(job_id: int) -> tuple[Job, list[Step], list[Environment]]:
    """The job with the definition that it ran with, its steps and its environment. Raises `NotFound`."""
    job = _found(if_visible(await unchecked(job_id)), job_id)
    return job, *await load(job)


@uncancelled
async def unchecked(job_id: int) -> Job | None:
    """The job, whoever may see it.

    In plain SQL: to make these queries takes the ORM three times as long as the database needs to answer.
    """
    found = await _all(Job, f"SELECT * FROM job WHERE id = {int(job_id)}")  # noqa: S608
    return found[0] if found else None


@patient
@uncancelled
async def load(job: Job) -> tuple[list[Step], list[Environment]]:
    """The steps and the environment of a job, which has its definition from then on."""
    definitions, steps, variables = await asyncio.gather(
        _all(Definition, f"SELECT * FROM definition WHERE id = {job.definition_id}"),  # noqa: S608
        _all(Step, f"SELECT * FROM step WHERE job_id = {job.id} ORDER BY order_num"),  # noqa: S608
        _all(Environment, f"SELECT * FROM environment WHERE job_id = {job.id} ORDER BY id"),  # noqa: S608
    )
    job.definition = definitions[0]
    return steps, variables


async def _all(model: type[M], statement: str) -> list[M]:
    """The rows of a SELECT of all columns of `model`."""
    return cast("list[M]", await model.raw(statement))


@uncancelled
async def environment_of(job_id: int) -> list[Environment]:
    """The variables that the job was given."""
    return await Environment.filter(job_id=job_id).order_by("id")


@uncancelled
async def unsealed() -> list[Job]:
    """All jobs that are not wholly finished, oldest first."""
    return await Job.filter(log_size__isnull=True).order_by("id").select_related("definition")


@uncancelled
async def last_in_containers(limit: int) -> list[Job]:
    """The last jobs that ran in containers, with their definitions, oldest first."""
    ran = Job.filter(container_id__isnull=False, image__isnull=False)
    return (await ran.order_by("-id").limit(limit).select_related("definition"))[::-1] if limit else []


@uncancelled
async def ids(*, ended: bool) -> list[int]:
    """The ids of all jobs, or with `ended` of those that are wholly finished; the oldest first."""
    where = "WHERE log_size IS NOT NULL" if ended else ""
    return [row[0] for row in await rows(f"SELECT id FROM job {where} ORDER BY id")]  # noqa: S608


@uncancelled
async def unexplained(most: int) -> list[int]:
    """Of the last `most` jobs that failed, those whose logs were not looked at, the newest first."""
    query = Job.filter(status="failed", log_size__isnull=False).order_by("-id").limit(most)
    return [job.id for job in await query.only("id", "failure") if job.failure is None]


async def supersede(group: str, by: int, *, also_running: bool) -> None:
    """Has a build take the place of the older ones in its concurrency group; for a transaction.

    Those that wait are to be cancelled then, and with `also_running` those that run (see `superseded`).
    """
    statuses = ("pending", "running") if also_running else ("pending",)
    query = Job.filter(concurrency_group=group, status__in=statuses, id__lt=by, superseded_by__isnull=True)
    await query.update(superseded_by=by)


@uncancelled
async def superseded() -> list[int]:
    """The jobs that another one takes the place of, and that have not ended."""
    query = Job.filter(superseded_by__not_isnull=True, status__in=("pending", "running"), cancelled=False)
    return [job.id for job in await query.order_by("id").only("id")]


@uncancelled
async def unread() -> list[tuple[int, int]]:
    """The jobs that wait for their definition to be read, the oldest first, each with its repository."""
    query = Job.filter(status="pending", cancelled=False, unread=True).order_by("id")
    found = await query.values_list("id", "pipeline__repository_id")
    return [(job_id, repository_id or 0) for job_id, repository_id in found]


@patient
@uncancelled
async def define(
    job_id: int, steps: Sequence[StepDefinition] | None, environment: Mapping[str, str], **fields: Any
) -> bool:
    """Gives a job that waits what was read of its definition; False where it does not wait any more.

    The listeners are told again that it waits; `outbox.wake` comes after it.
    With `steps` None it has its steps and environment already.
    """
    async with in_transaction():
        waits = Job.filter(id=job_id, status="pending", unread=True)
        if not await waits.update(unread=False, **fields):
            return False
        if steps is not None:
            await Environment.filter(job_id=job_id).delete()
            await _add_parts(job_id, steps, environment, now_ms())
        if outbox.has_listeners():
            # Only now there are a commit, and whether it waits for an approval.
            await outbox.add(job_id, "pending")
    return True


@uncancelled
async def approve(job_id: int, commit: str) -> bool:
    """Lets a job go that waits for an approval; False where it does not, or not for that commit."""
    query = Job.filter(id=job_id, status="pending", approval="waiting", commit=commit, cancelled=False)
    return await query.update(approval="approved") > 0
