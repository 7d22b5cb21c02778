"""Queries on deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tortoise.exceptions import IntegrityError

from rapidflow_web.db.database import now_ms, patient, uncancelled
from rapidflow_web.db.sql import rows
from rapidflow_web.db.trigger_models import Delivery
from rapidflow_web.errors import NotFound

_DAY = 24 * 3600 * 1000
KEPT = 30 * _DAY
"""How long deliveries are kept, in ms."""
MOST_BYTES = 1024**3
"""What their bodies take together at most."""
_MOST_REFUSED = 100
"""Refused deliveries that are kept of a repository: anybody can send them."""
_LIST = (
    "id", "repository_id", "key", "event", "size", "at", "status", "reason", "replay_of",
    "handled_at", "outcome",
)  # fmt: skip


@uncancelled
async def create(**fields: Any) -> Delivery | None:
    """Stores a delivery for good; None where one with this key has been stored before."""
    try:
        return await Delivery.create(at=now_ms(), **fields)
    except IntegrityError:
        return None


@uncancelled
async def refused(repository_id: int, **fields: Any) -> None:
    """Notes a delivery whose signature was wrong, in the place of the oldest such."""
    await Delivery.create(repository_id=repository_id, at=now_ms(), handled_at=now_ms(), status=401, **fields)
    kept = Delivery.filter(repository_id=repository_id, status=401).order_by("-id")
    if last := await kept.offset(_MOST_REFUSED).first().only("id"):
        await Delivery.filter(repository_id=repository_id, status=401, id__lte=last.id).delete()


@uncancelled
async def with_key(repository_id: int, key: str) -> int | None:
    """The id of the delivery that the forge calls so."""
    found = await Delivery.filter(repository_id=repository_id, key=key).first().only("id")
    return found.id if found is not None else None


@patient
@uncancelled
async def waiting() -> list[tuple[int, int]]:
    """The ids of deliveries that are to be handled, the oldest first, each with that of its repository."""
    found = await rows("SELECT id, repository_id FROM delivery WHERE handled_at IS NULL ORDER BY id")
    return [(row[0], row[1]) for row in found]


@patient
@uncancelled
async def get(delivery_id: int) -> Delivery | None:
    """The delivery with its body."""
    return await Delivery.get_or_none(id=delivery_id)


async def existing(delivery_id: int) -> Delivery:
    """The delivery with its body. Raises `NotFound`."""
    found = await get(delivery_id)
    if found is None:
        raise NotFound(f"there is no delivery {delivery_id}; deliveries are kept for 30 days")
    return found


@uncancelled
async def listed(repository_id: int, *, before: int | None = None, limit: int = 50) -> list[Delivery]:
    """Up to `limit` deliveries of a repository, without their bodies, newest first."""
    query = Delivery.filter(repository_id=repository_id)
    if before is not None:
        query = query.filter(id__lt=before)
    return await query.order_by("-id").limit(limit).only(*_LIST)


@patient
@uncancelled
async def note(delivery_id: int, outcome: str) -> None:
    """Notes what keeps a delivery from being handled."""
    await Delivery.filter(id=delivery_id).update(outcome=outcome)


@patient
@uncancelled
async def handled(delivery_id: int, outcome: str | None) -> None:
    """Notes that nothing is left to do for a delivery. `outcome` says why nothing came of it."""
    await Delivery.filter(id=delivery_id).update(handled_at=now_ms(), outcome=outcome)


@uncancelled
async def prune(now: int) -> None:
    """Removes deliveries that are too old, and the oldest of those that take too much room."""
    await Delivery.filter(at__lt=now - KEPT, handled_at__isnull=False).delete()
    statement = (
        "SELECT MAX(id) FROM (SELECT id, SUM(size) OVER (ORDER BY id DESC) AS taken FROM delivery "
        "WHERE body IS NOT NULL AND handled_at IS NOT NULL) AS sizes WHERE taken > ?1"
    )
    found: Sequence[Sequence[Any]] = await rows(statement, [MOST_BYTES])
    if found and found[0][0] is not None:
        await Delivery.filter(id__lte=found[0][0], handled_at__isnull=False).delete()
