"""The audit log: who did what, and when."""

from __future__ import annotations

from rapidflow_web.db.database import now_ms, uncancelled
from rapidflow_web.db.models import Deed


@uncancelled
async def note(actor: str, address: str, action: str, target: str, status: int) -> None:
    """Adds a line. `action` is the name of a route or command, `target` what it was done to."""
    await Deed.create(
        at=now_ms(),
        actor=actor[:160],
        address=address[:64],
        action=action[:64],
        target=target[:1000],
        status=status,
    )


@uncancelled
async def listed(*, before: int | None = None, limit: int = 50) -> list[Deed]:
    """Up to `limit` lines, newest first, with ids below `before`."""
    query = Deed.all() if before is None else Deed.filter(id__lt=before)
    return await query.order_by("-id").limit(limit)


@uncancelled
async def forget(before: int) -> None:
    """Removes lines that are older than `before`, in ms since 1970."""
    newest = await Deed.filter(at__lt=before).order_by("-id").first().only("id")
    if newest is not None:
        await Deed.filter(id__lte=newest.id, at__lt=before).delete()
