"""Queries on secrets and masks. Values are encrypted before they come here (see `secrets.cipher`)."""

from __future__ import annotations

from collections.abc import Sequence

from rapidflow_web.db.database import now_ms, patient, uncancelled
from rapidflow_web.db.models import Mask, Secret

EVERYWHERE = 0
"""The scope of secrets that any pipeline may name; other scopes are ids of pipelines."""


@uncancelled
async def put(scope: int, name: str, value: str, by: str) -> None:
    """Stores a value, or replaces it. `by` is who does."""
    secret = Secret(scope=scope, name=name, value=value, updated_at=now_ms(), updated_by=by[:160])
    await Secret.bulk_create(
        [secret], on_conflict=["scope", "name"], update_fields=["value", "updated_at", "updated_by"]
    )


@patient
@uncancelled
async def get(scope: int, name: str) -> Secret | None:
    """The secret of this name."""
    return await Secret.get_or_none(scope=scope, name=name)


@uncancelled
async def remove(scope: int, name: str) -> bool:
    """Removes a value; False if there is none."""
    return await Secret.filter(scope=scope, name=name).delete() > 0


@uncancelled
async def listed(scope: int) -> list[Secret]:
    """The secrets of a scope by name."""
    return await Secret.filter(scope=scope).order_by("name")


@uncancelled
async def scopes_of(name: str) -> list[int]:
    """The scopes that have a secret of this name."""
    return [secret.scope for secret in await Secret.filter(name=name).order_by("scope")]


@uncancelled
async def count() -> int:
    """How many secrets there are."""
    return await Secret.all().count()


@patient
@uncancelled
async def of_build(pipeline_id: int, names: Sequence[str]) -> list[Secret]:
    """Those of `names` that a build of the pipeline has; its own go before those of all pipelines."""
    found = await Secret.filter(scope__in=[EVERYWHERE, pipeline_id], name__in=list(names)).order_by("scope")
    return list({secret.name: secret for secret in found}.values())


@patient
@uncancelled
async def add_mask(job_id: int, value: str, before: str | None = None) -> None:
    """Notes one more value that a running build masks, in the place of one that is stored as `before`."""
    if before is None or not await Mask.filter(job_id=job_id, value=before).update(value=value):
        await Mask.create(job_id=job_id, value=value)


@patient
@uncancelled
async def masks_of(job_id: int) -> list[Mask]:
    """What a build masks, in the order in which it was noted."""
    return await Mask.filter(job_id=job_id).order_by("id")


@patient
@uncancelled
async def remove_masks(job_id: int) -> None:
    """Removes all that a build masked."""
    await Mask.filter(job_id=job_id).delete()


@uncancelled
async def every() -> list[Secret | Mask]:
    """All that is encrypted."""
    return [*await Secret.all().order_by("id"), *await Mask.all().order_by("id")]


@uncancelled
async def replace(row: Secret | Mask, value: str) -> None:
    """Gives a row another value, unless somebody else did meanwhile."""
    await type(row).filter(id=row.id, value=row.value).update(value=value)
