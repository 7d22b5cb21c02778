"""Queries on secrets. Values are encrypted before they come here (see `vault`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tortoise.transactions import in_transaction

from rapidflow_web.db.database import now_ms, uncancelled
from rapidflow_web.db.models import Secret

EVERYWHERE = 0
"""The scope of secrets that any pipeline may name; other scopes are ids of pipelines."""


@uncancelled
async def put(scope: int, name: str, value: str) -> bool:
    """Stores a value, or replaces it; tells whether there was none of this name."""
    async with in_transaction():
        changed = await Secret.filter(scope=scope, name=name).update(value=value, updated_at=now_ms())
        if not changed:
            await Secret.create(scope=scope, name=name, value=value, updated_at=now_ms())
    return not changed


@uncancelled
async def remove(scope: int, name: str) -> bool:
    """Removes a value; False if there is none."""
    return await Secret.filter(scope=scope, name=name).delete() > 0


@uncancelled
async def listed(scope: int) -> list[Secret]:
    """The secrets of a scope by name."""
    return await Secret.filter(scope=scope).order_by("name")


@uncancelled
async def of_build(pipeline_id: int, names: Sequence[str]) -> list[Secret]:
    """Those of `names` that a build of the pipeline has; its own go before those of all pipelines."""
    found = await Secret.filter(scope__in=[EVERYWHERE, pipeline_id], name__in=list(names)).order_by("scope")
    return list({secret.name: secret for secret in found}.values())


@uncancelled
async def every() -> list[Secret]:
    """All secrets."""
    return await Secret.all().order_by("id")


@uncancelled
async def replace(values: Mapping[int, str]) -> None:
    """Gives secrets new values, by their ids; all of them or none."""
    async with in_transaction():
        for number, value in values.items():
            await Secret.filter(id=number).update(value=value)
