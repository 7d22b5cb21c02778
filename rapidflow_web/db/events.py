"""Queries on events and the decisions on them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rapidflow_web.db.database import now_ms, uncancelled
from rapidflow_web.db.models import Job
from rapidflow_web.db.trigger_models import Decision, Event
from rapidflow_web.db.visibility import current


async def create(**fields: Any) -> Event:
    """Stores an event; for the transaction that stores its decisions."""
    return await Event.create(at=now_ms(), **fields)


async def decide(event_id: int, pipeline_id: int, outcome: str, reason: str, job_id: int | None) -> Decision:
    """Stores what an event means for a pipeline; for the transaction that stores the job."""
    return await Decision.create(
        event_id=event_id, pipeline_id=pipeline_id, outcome=outcome, reason=reason, job_id=job_id
    )


@uncancelled
async def forget(before: int) -> None:
    """Removes events from before then, in ms, with their decisions."""
    await Event.filter(at__lt=before).delete()


@uncancelled
async def of_delivery(delivery_id: int) -> list[Event]:
    """What a delivery has led to, in that order."""
    return await Event.filter(delivery_id=delivery_id).order_by("id")


@uncancelled
async def value_before(repository_id: int, ref: str) -> str | None:
    """The commit to which a ref led before its last change; None where that is not known."""
    last = await Event.filter(repository_id=repository_id, ref=ref).order_by("-id").first()
    return last.before if last is not None else None


@uncancelled
async def listed(repository_id: int, *, before: int | None = None, limit: int = 50) -> list[Event]:
    """Up to `limit` events of a repository, newest first."""
    query = Event.filter(repository_id=repository_id)
    if before is not None:
        query = query.filter(id__lt=before)
    return await query.order_by("-id").limit(limit)


@uncancelled
async def decisions_on(event_ids: Sequence[int]) -> dict[int, list[Decision]]:
    """The decisions on each of these events, of pipelines that may be seen."""
    found: dict[int, list[Decision]] = {event_id: [] for event_id in event_ids}
    query = Decision.filter(event_id__in=list(event_ids), **current().filters("pipeline_id"))
    for decision in await query.order_by("id"):
        found[decision.event_id].append(decision)
    return found


@uncancelled
async def decided(
    pipeline_id: int, *, ref: str | None = None, commit: str | None = None, limit: int = 20
) -> list[Decision]:
    """Decisions for a pipeline on events of a ref or commit, each with its event, newest first."""
    query = Decision.filter(pipeline_id=pipeline_id)
    if ref is not None:
        query = query.filter(event__ref=ref)
    if commit is not None:
        query = query.filter(event__after__startswith=commit)
    return await query.order_by("-id").limit(limit).select_related("event")


@uncancelled
async def successes(pipeline_id: int, ref: str, limit: int = 20) -> list[str]:
    """Commits that a pipeline has built with success on a ref, the newest first."""
    query = Job.filter(
        pipeline_id=pipeline_id, status="success", ref=ref, commit__not_isnull=True, lead_id__isnull=True
    )
    found = await query.order_by("-id").limit(limit).only("id", "commit")
    return [job.commit for job in found if job.commit is not None]


@uncancelled
async def builds_of(pipeline_id: int, commit: str, events: Sequence[str]) -> list[Job]:
    """Builds of a commit that these kinds of events started, with what they ran with; the newest first."""
    query = Job.filter(pipeline_id=pipeline_id, commit=commit, event__in=list(events), lead_id__isnull=True)
    return await query.order_by("-id").limit(20).select_related("definition")
