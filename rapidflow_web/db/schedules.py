"""Queries on schedules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tortoise.transactions import in_transaction

from rapidflow_web.db.database import patient, uncancelled
from rapidflow_web.db.models import Pipeline
from rapidflow_web.db.sql import rows
from rapidflow_web.db.trigger_models import Schedule


class Due(NamedTuple):
    """When a schedule is due next, in ms. `latest`: later than this only a wrong clock can have said."""

    at: int
    latest: int


@patient
@uncancelled
async def state_of_pipelines() -> tuple[int, ...]:
    """What differs once a pipeline was made, changed or hidden."""
    counted = (
        "COUNT(*), COALESCE(MAX(updated_at), 0), COALESCE(SUM(definition_id), 0), "
        "COALESCE(SUM(CASE WHEN on_default_branch THEN 1 ELSE 0 END), 0)"
    )
    found = await rows(f"SELECT {counted} FROM pipeline WHERE deleted_at IS NULL")  # noqa: S608
    return tuple(int(one) for one in found[0])


@patient
@uncancelled
async def pipelines_with_any() -> list[Pipeline]:
    """The pipelines whose definitions may have a schedule."""
    query = Pipeline.filter(deleted_at__isnull=True, definition__config__contains="schedule")
    return await query.order_by("id").select_related("definition")


@patient
@uncancelled
async def replace(wanted: Mapping[tuple[int, str], Due]) -> None:
    """Keeps the schedules that are wanted, by pipeline and key; `wanted` says when one is due."""
    async with in_transaction():
        known = {(row.pipeline_id, row.key): row for row in await Schedule.all()}
        await Schedule.filter(id__in=[known[which].id for which in known.keys() - wanted.keys()]).delete()
        await Schedule.bulk_create(
            Schedule(pipeline_id=which[0], key=which[1], due_at=wanted[which].at)
            for which in wanted.keys() - known.keys()
        )
        for which in wanted.keys() & known.keys():
            if known[which].due_at > wanted[which].latest:
                await set_due(known[which].id, wanted[which].at)


@patient
@uncancelled
async def due(now: int) -> list[Schedule]:
    """The schedules that are due by `now`, in ms, with their pipelines; the longest due first."""
    return await Schedule.filter(due_at__lte=now).order_by("due_at", "id").select_related("pipeline")


async def set_due(schedule_id: int, at: int) -> None:
    """Says when a schedule is due next, in ms; for the transaction that starts its build."""
    await Schedule.filter(id=schedule_id).update(due_at=at)


@uncancelled
async def remove(schedule_id: int) -> None:
    """Removes a schedule that no definition has any more."""
    await Schedule.filter(id=schedule_id).delete()
