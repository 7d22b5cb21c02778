"""Queries on users, their sessions and tokens, and on who may see what."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from tortoise.expressions import Q
from tortoise.queryset import QuerySet
from tortoise.transactions import in_transaction

from rapidflow_web.db import uploads
from rapidflow_web.db.database import now_ms, uncancelled
from rapidflow_web.db.models import Grant, Pipeline, Session, Token, User

_USED_EVERY = 60_000
"""Milliseconds between two notes of when a token was used."""
_LONGEST_NAME = 64
_BATCH = 500
_Value = TypeVar("_Value", str, int)
_MOST_SESSIONS = 100
"""Of a user; the newest."""


@uncancelled
async def any_exist() -> bool:
    """Whether there is a user at all."""
    return await User.exists()


@uncancelled
async def create(name: str, role: str, password: str | None) -> User | None:
    """Stores a user, whose `password` is hashed; None where the name is taken."""
    async with in_transaction():
        if await User.exists(name=name):
            return None
        return await User.create(name=name, role=role, password=password, created_at=now_ms())


@uncancelled
async def named(name: str) -> User | None:
    """The user; None for what can't be the name of one, too."""
    return await User.get_or_none(name=name) if _fits(name) else None


@uncancelled
async def all_named(names: Sequence[str]) -> list[User]:
    """Those of the users that there are."""
    found: list[User] = []
    for some in _batches([*filter(_fits, names)]):
        found += await User.filter(name__in=some)
    return found


def _batches(values: Sequence[_Value]) -> Iterator[Sequence[_Value]]:
    """A few at a time: a database takes only so many values in a query."""
    return (values[start : start + _BATCH] for start in range(0, len(values), _BATCH))


def _fits(name: str) -> bool:
    """Whether the database can be asked for it, which refuses what it could not store."""
    return len(name) <= _LONGEST_NAME and "\0" not in name


@uncancelled
async def get(user_id: int) -> User | None:
    """The user."""
    return await User.get_or_none(id=user_id)


@uncancelled
async def listed() -> list[User]:
    """All users by name."""
    return await User.all().order_by("name")


@uncancelled
async def change(user_id: int, *, by_password: bool = False, **fields: Any) -> bool:
    """Sets columns; False where that would leave users and no administrator among them.

    With `by_password` only administrators who have a password count.

    A new password ends all sessions of the user.
    """
    async with in_transaction():
        if fields.get("role", "admin") != "admin" and await _is_last_admin(user_id, by_password):
            return False
        await User.filter(id=user_id).update(**fields)
        if "password" in fields:
            await Session.filter(user_id=user_id).delete()
    return True


@uncancelled
async def change_password(user: User, password: str, *, but: str | None) -> bool:
    """Sets the hash of a password and ends all sessions of the user `but` the one with this digest.

    False where the password of `user` has changed since, or the user was removed.
    """
    async with in_transaction():
        if not await User.filter(id=user.id, password=user.password).update(password=password):
            return False
        await Session.filter(user_id=user.id).exclude(digest=but or "").delete()
    return True


@uncancelled
async def remove(user_id: int, *, keep_one: bool = False, by_password: bool = False) -> bool:
    """Removes a user with sessions and tokens; False where it is the last administrator of several users.

    With `keep_one` also where it is the last of all; with `by_password` only administrators with a password
    count. What the user has uploaded is nobody's then.
    """
    async with in_transaction():
        if await _is_last_admin(user_id, by_password) and (keep_one or await User.all().count() > 1):
            return False
        for user in await User.filter(id=user_id):
            await uploads.disown(user.name)
        for model in (Session, Token, Grant):
            await model.filter(user_id=user_id).delete()
        await User.filter(id=user_id).delete()
    return True


async def _is_last_admin(user_id: int, by_password: bool) -> bool:
    async def is_only(some: QuerySet[User]) -> bool:
        return list(await some.limit(2).values_list("id", flat=True)) == [user_id]

    admins = User.filter(role="admin")
    return await is_only(admins) or (by_password and await is_only(admins.filter(password__isnull=False)))


# Sessions


@uncancelled
async def begin_session(user: User, digest: str, expires_at: int) -> bool:
    """Stores that a browser logged in, and forgets what has expired and what is too much.

    False where the password of `user` has changed since, or the user was removed: that ended all sessions.
    """
    now = now_ms()
    async with in_transaction():
        if not await User.filter(id=user.id, password=user.password).select_for_update():
            return False
        await Session.filter(expires_at__lt=now).delete()
        await Session.create(user_id=user.id, digest=digest, created_at=now, expires_at=expires_at)
        of_user = Session.filter(user_id=user.id)
        oldest = await of_user.order_by("-id").offset(_MOST_SESSIONS).first().only("id")
        if oldest is not None:
            await of_user.filter(id__lte=oldest.id).delete()
    return True


@uncancelled
async def of_session(digest: str) -> Session | None:
    """The session that is valid now, with its user."""
    return await Session.get_or_none(digest=digest, expires_at__gt=now_ms()).select_related("user")


@uncancelled
async def valid_sessions(digests: Sequence[str]) -> list[Session]:
    """Those of the sessions that are valid now, with their users."""
    found: list[Session] = []
    for some in _batches(digests):
        found += await Session.filter(digest__in=some, expires_at__gt=now_ms()).select_related("user")
    return found


@uncancelled
async def sessions(user_id: int) -> list[Session]:
    """The sessions of a user that have not expired, newest first."""
    return await Session.filter(user_id=user_id, expires_at__gt=now_ms()).order_by("-id")


@uncancelled
async def end_sessions(user_id: int, but: str) -> None:
    """Forgets the sessions of a user, `but` the one with this digest."""
    await Session.filter(user_id=user_id).exclude(digest=but).delete()


@uncancelled
async def end_session(digest: str) -> bool:
    """Forgets a session; False if there is none."""
    return await Session.filter(digest=digest).delete() > 0


# Tokens


@uncancelled
async def create_token(
    user_id: int,
    name: str,
    role: str,
    pipelines: Sequence[int] | None,
    digest: str,
    expires_at: int | None,
    *,
    limited: bool,
) -> Token:
    """Stores a token."""
    return await Token.create(
        user_id=user_id,
        name=name,
        role=role,
        pipelines=list(pipelines) if pipelines is not None else None,
        limited=limited,
        digest=digest,
        created_at=now_ms(),
        expires_at=expires_at,
    )


@uncancelled
async def of_token(digest: str) -> Token | None:
    """The token that is valid now, with its user; notes that it was used."""
    now = now_ms()
    token = await Token.get_or_none(digest=digest).select_related("user")
    if token is None or (token.expires_at is not None and token.expires_at <= now):
        return None
    if token.used_at is None or now - token.used_at > _USED_EVERY:
        await Token.filter(id=token.id).update(used_at=now)
    return token


@uncancelled
async def valid_tokens(digests: Sequence[str]) -> list[Token]:
    """Those of the tokens that are valid now, with their users."""
    found: list[Token] = []
    for some in _batches(digests):
        query = Token.filter(Q(expires_at__isnull=True) | Q(expires_at__gt=now_ms()), digest__in=some)
        found += await query.select_related("user")
    return found


@uncancelled
async def tokens(user_id: int | None = None) -> list[Token]:
    """The tokens of a user, or of all users, newest first, with their users."""
    query = Token.all() if user_id is None else Token.filter(user_id=user_id)
    return await query.order_by("-id").select_related("user")


@uncancelled
async def token(token_id: int) -> Token | None:
    """The token with its user."""
    return await Token.get_or_none(id=token_id).select_related("user")


@uncancelled
async def revoke(token_id: int) -> bool:
    """Removes a token; False if there is none."""
    return await Token.filter(id=token_id).delete() > 0


# Visibility


@uncancelled
async def hidden_from(user_id: int | None) -> frozenset[int]:
    """The pipelines that this user may not see, or with None whoever is no user; administrators see all."""
    restricted = await Pipeline.filter(restricted=True).values_list("id", flat=True)
    if not restricted or user_id is None:
        return _ids(restricted)
    return _ids(restricted) - _ids(await Grant.filter(user_id=user_id).values_list("pipeline_id", flat=True))


@uncancelled
async def restricted(among: Collection[int]) -> dict[int, frozenset[int]]:
    """Those of the pipelines that not everyone may see, each with the ids of those who may."""
    granted: dict[int, set[int]] = {}
    for some in _batches([*among]):
        ids = await Pipeline.filter(restricted=True, id__in=some).values_list("id", flat=True)
        granted |= {number: set() for number in _ids(ids)}
    for some in _batches([*granted]):
        for grant in await Grant.filter(pipeline_id__in=some).values_list("pipeline_id", "user_id"):
            granted[int(str(grant[0]))].add(int(str(grant[1])))
    return {pipeline_id: frozenset(user_ids) for pipeline_id, user_ids in granted.items()}


def _ids(values: Iterable[object]) -> frozenset[int]:
    return frozenset(int(str(value)) for value in values)


@uncancelled
async def visibility(pipeline_id: int) -> tuple[bool, list[str]]:
    """Whether a pipeline is restricted, and the names of those who may see it then."""
    pipeline = await Pipeline.get(id=pipeline_id)
    grants = await Grant.filter(pipeline_id=pipeline_id).select_related("user")
    return pipeline.restricted, sorted(grant.user.name for grant in grants)


class NoSuchUser(LookupError):
    """`name` is that of no user."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is no user {name[:_LONGEST_NAME]}")
        self.name = name


@uncancelled
async def set_visibility(pipeline_id: int, restricted: bool, names: Sequence[str]) -> None:
    """Sets it. Raises `NoSuchUser`, and changes nothing."""
    async with in_transaction():
        await apply_visibility(pipeline_id, restricted, names)


async def apply_visibility(pipeline_id: int, restricted: bool, names: Sequence[str]) -> None:
    """The same as a part of a transaction, which must be given up where this raises `NoSuchUser`."""
    found = {user.name: user.id for user in await User.filter(name__in=[*filter(_fits, names)])}
    for name in names:
        if name not in found:
            raise NoSuchUser(name)
    await Pipeline.filter(id=pipeline_id).update(restricted=restricted)
    await Grant.filter(pipeline_id=pipeline_id).delete()
    await Grant.bulk_create(Grant(pipeline_id=pipeline_id, user_id=number) for number in found.values())
