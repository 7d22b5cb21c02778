"""Queries on images that were pulled for builds."""

from __future__ import annotations

from rapidflow_web.db.database import now_ms, patient, uncancelled
from rapidflow_web.db.models import Image


@patient
@uncancelled
async def pulled(name: str) -> None:
    """Notes that an image was pulled for a build, so that it may be removed some day."""
    await Image.update_or_create(defaults={"used_at": now_ms()}, name=name)


@uncancelled
async def used(name: str, at: int) -> None:
    """Notes when, in ms, a build used an image; those not pulled for builds are none of our business."""
    await Image.filter(name=name).update(used_at=at)


@uncancelled
async def longest_unused() -> list[str]:
    """All images that were pulled for builds, the longest unused first."""
    return [image.name for image in await Image.all().order_by("used_at", "id")]


@uncancelled
async def forget(name: str) -> None:
    """Takes note that an image is gone."""
    await Image.filter(name=name).delete()
