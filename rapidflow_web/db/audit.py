"""The audit log: who did what, and when."""

from __future__ import annotations

from tortoise.expressions import Q
from tortoise.functions import Max

from rapidflow_web.db.database import now_ms, uncancelled
from rapidflow_web.db.models import Deed

LOG_IN = "pages.log_in"
_LONGEST_ACTOR = 160


@uncancelled
async def note(actor: str, address: str, action: str, target: str, status: int) -> None:
    """Adds a line. `action` is the name of a route or command, `target` what it was done to."""
    await Deed.create(
        at=now_ms(),
        actor=_storable(actor)[:_LONGEST_ACTOR],
        address=_storable(address)[:64],
        action=action[:64],
        target=_storable(target)[:1000],
        status=status,
    )


def _storable(text: str) -> str:
    # PostgreSQL has no NUL in its texts.
    return text.replace("\0", "\ufffd")


@uncancelled
async def listed(*, user: str | None = None, before: int | None = None, limit: int = 50) -> list[Deed]:
    """Up to `limit` lines, newest first, with ids below `before`; of one `user`, with tokens or without."""
    query = Deed.all()
    if user is not None:
        user = _storable(user)[:_LONGEST_ACTOR]
        query = query.filter(Q(actor=user) | Q(actor__startswith=f"{user} ("))
    if before is not None:
        query = query.filter(id__lt=before)
    return await query.order_by("-id").limit(limit)


@uncancelled
async def logins() -> dict[str, int]:
    """When each user logged in last, in ms since 1970, as far back as the log goes."""
    rows = (
        await Deed.filter(action=LOG_IN, status__lt=400)
        .annotate(last=Max("at"))
        .group_by("actor")
        .values_list("actor", "last")
    )
    return {str(actor): int(str(last)) for actor, last in rows}


@uncancelled
async def forget(before: int) -> None:
    """Removes lines that are older than `before`, in ms since 1970."""
    newest = await Deed.filter(at__lt=before).order_by("-id").first().only("id")
    if newest is not None:
        await Deed.filter(id__lte=newest.id, at__lt=before).delete()
