"""The audit log: who did what, and when.

However much is tried, it takes a bounded number of lines: what is refused again within an hour is counted in
the line that there is. When there are too many, the oldest go of each user who has more than a fair share.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection

from tortoise.expressions import F
from tortoise.functions import Max
from tortoise.queryset import QuerySet
from tortoise.transactions import in_transaction

from rapidflow_web.db import sql
from rapidflow_web.db.database import now_ms, uncancelled
from rapidflow_web.db.models import AuditEntry, User

LOG_IN = "pages.log_in"
UNKNOWN = "unknown name"
"""Who failed to log in by a name that no user has. It may be a password, typed into the wrong field."""
COMMAND = " (command line)"
"""What the actor of a command ends with, who is a user of the machine."""
_BEFORE_TOKEN = " (token "  # noqa: S105, what follows is the token's name
_LONGEST_ACTOR = 160
_MOST_DONE = 1_000_000
_MOST_REFUSED = 100_000
_MOST_FAILED_LOGINS = 10_000
_TRIMMED_EVERY = 1_000
_COUNTS = """SELECT user_name, CASE WHEN status < 400 THEN 0 WHEN action = ?1 THEN 1 ELSE 2 END AS kind,
    COUNT(*) FROM deed GROUP BY user_name, kind"""
"""The lines of each user by kind: done, failed logins, other refusals."""
_COUNTED_FOR = 3_600_000
"""Milliseconds."""
_MOST_COUNTED = 1_000
_MOST_ADDRESSES = 1_000


def is_kept(name: str) -> bool:
    """Whether a name looks like an actor that is no user by this name: a command, a token, a failed login."""
    return " (" in name or name == UNKNOWN


class _Repeated:
    """The lines that are counted on, by what they say, each with its id and time; and the lines added."""

    def __init__(self) -> None:
        self.lines: OrderedDict[tuple[str, str, str, str, int], tuple[int, int]] = OrderedDict()
        self.added = 0


_repeated = _Repeated()


@uncancelled
async def note(actor: str, address: str, action: str, target: str, status: int) -> None:
    """Adds a line, or counts it. `action` is the name of a route or command, `target` what it was done to."""
    actor, address = _plain(actor)[:_LONGEST_ACTOR], _plain(address)[:64]
    action, target, now = action[:64], _plain(target)[:1000], now_ms()
    key = (actor, address, action, target, status)
    async with in_transaction():
        line, at = _repeated.lines.get(key, (0, 0))
        if 0 <= now - at < _COUNTED_FOR:
            same = AuditEntry.filter(id=line, actor=actor, action=action, target=target, status=status)
            if await same.update(count=F("count") + 1):
                return
        made = await AuditEntry.create(
            at=now,
            actor=actor,
            user_name=_user_of(actor),
            address=address,
            action=action,
            target=target,
            status=status,
        )
        if status >= 400:
            _repeated.lines[key] = (made.id, now)
            _repeated.lines.move_to_end(key)
            if len(_repeated.lines) > _MOST_COUNTED:
                _repeated.lines.popitem(last=False)
        _repeated.added += 1
        if _repeated.added % _TRIMMED_EVERY == 0:
            await _trim()


@uncancelled
async def note_failed_login(name: str, address: str, status: int) -> None:
    """Notes that somebody failed to log in by a name."""
    known = len(name) <= _LONGEST_ACTOR and "\0" not in name and await User.exists(name=name)
    await note(name if known else UNKNOWN, address, LOG_IN, "/login", status)


async def _trim() -> None:
    """Removes lines of each kind that are too many: nobody can push out lines of others.

    The oldest go of each user who has more than their share, as `_share` says.
    """
    kinds = (
        (AuditEntry.filter(status__lt=400), _MOST_DONE),
        (AuditEntry.filter(status__gte=400, action=LOG_IN), _MOST_FAILED_LOGINS),
        (AuditEntry.filter(status__gte=400).exclude(action=LOG_IN), _MOST_REFUSED),
    )
    counts: list[dict[str, int]] = [{} for _ in kinds]
    for user, kind, count in await sql.rows(_COUNTS, [LOG_IN]):
        counts[kind][user] = count
    for (lines, most), of_kind in zip(kinds, counts, strict=True):
        share = _share(of_kind.values(), most)
        for user, count in of_kind.items():
            if count > share:
                await _keep_newest(lines.filter(user_name=user), share)


def _share(counts: Collection[int], most: int) -> int:
    """How many of each may stay for all to be `most` at most. Who has fewer leaves the rest to the others."""
    left = most
    for done, count in enumerate(sorted(counts)):
        share = left // (len(counts) - done)
        if count > share:
            return share
        left -= count
    return most


async def _keep_newest(lines: QuerySet[AuditEntry], most: int) -> None:
    last = await lines.order_by("-id").offset(most).first().only("id")
    if last is not None:
        await lines.filter(id__lte=last.id).delete()


def _user_of(actor: str) -> str:
    """Whose token or session it was."""
    return actor.partition(_BEFORE_TOKEN)[0]


def _plain(text: str) -> str:
    """The text with escapes for what would not be seen, or would change how the rest is read."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


@uncancelled
async def listed(*, user: str | None = None, before: int | None = None, limit: int = 50) -> list[AuditEntry]:
    """Up to `limit` lines, newest first, with ids below `before`.

    Of one `user` with tokens or without, and of the user of the machine who has that name.
    """
    query = AuditEntry.all()
    if user is not None:
        user = _plain(user)[:_LONGEST_ACTOR]
        query = query.filter(user_name__in=(_user_of(user), (user + COMMAND)[:_LONGEST_ACTOR]))
        if _user_of(user) != user:
            query = query.filter(actor=user)
    if before is not None:
        query = query.filter(id__lt=before)
    return await query.order_by("-id").limit(limit)


@uncancelled
async def logins() -> dict[str, int]:
    """When each user logged in last, in ms since 1970, as far back as the log goes."""
    rows = (
        await AuditEntry.filter(action=LOG_IN, status__lt=400)
        .annotate(last=Max("at"))
        .group_by("actor")
        .values_list("actor", "last")
    )
    return {str(actor): int(str(last)) for actor, last in rows}


@uncancelled
async def addresses_of(user: str) -> list[str]:
    """From where a user has logged in, as far back as the log goes."""
    rows = (
        await AuditEntry.filter(action=LOG_IN, actor=user, status__lt=400)
        .order_by("-id")
        .limit(_MOST_ADDRESSES)
        .values_list("address", flat=True)
    )
    return sorted({str(address) for address in rows})


@uncancelled
async def forget(before: int) -> None:
    """Removes lines that are older than `before`, in ms since 1970, and those that are too many."""
    await _trim()
    newest = await AuditEntry.filter(at__lt=before).order_by("-id").first().only("id")
    if newest is not None:
        await AuditEntry.filter(id__lte=newest.id, at__lt=before).delete()
