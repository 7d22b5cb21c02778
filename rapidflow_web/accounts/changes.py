"""Changes to users, tokens and visibility, by the rules that the API and the pages share.

The whole server knows of each when it returns: nobody goes on with what was taken from them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from rapidflow_web.accounts.authentication import Access, hashed, new_token
from rapidflow_web.accounts.roles import Actor, Role, role_named
from rapidflow_web.db import pipelines, users
from rapidflow_web.db.models import Token, User
from rapidflow_web.errors import BadRequest, Conflict, Forbidden, Invalid, NotFound, Problem

_MOST_TOKENS = 500
_LAST = "this is the last administrator; make another user an administrator first"
_LAST_TO_LOG_IN = (
    "this is the last administrator who can log in; make another user with a password an administrator first"
)


async def existing(user_id: int) -> User:
    """The user. Raises `NotFound`."""
    user = await users.get(user_id)
    if user is None:
        raise NotFound(f"there is no user {user_id}")
    return user


async def own(actor: Actor) -> User:
    """The user behind `actor`, who has a session of their own. Raises `BadRequest`, `Forbidden`."""
    user = await users.get(actor.user_id) if actor.user_id is not None else None
    if user is None:
        raise BadRequest("there is no such user here; add one with 'rapidflow user add', and log in")
    if actor.token is not None:
        raise Forbidden("a token can't make tokens or change passwords; log in with your password")
    return user


async def own_tokens(actor: Actor) -> list[Token]:
    """The tokens of `actor`; a limited token sees itself alone."""
    if actor.user_id is None:
        return []
    return [token for token in await users.tokens(actor.user_id) if _may_manage(actor, token)]


def audience(names: Sequence[str]) -> str:
    """The audit log's word for a pipeline that only administrators and the users named see."""
    return f"{', '.join(names) or 'administrators'} only"


def described_change(name: str, role: str | None, *, password: bool = False) -> str:
    """The audit log's word for a user who gets a role, a new password, or both."""
    what = [part for part in (role, "new password" if password else None) if part is not None]
    return f"{name}: {', '.join(what)}" if what else name


class AccountChanges:
    """Changes users, tokens and visibility.

    `review` ends the streams of those who may not read them any more. `audit` tells the audit log whom or
    what a change is about. With `needs_users` nobody could log in without users, so one administrator stays;
    with `by_password` that is one who has a password, as no proxy logs the others in.
    `removed` takes away what a removed user leaves behind.
    """

    def __init__(
        self,
        access: Access,
        *,
        review: Callable[[], Awaitable[None]],
        audit: Callable[[str], None],
        needs_users: bool,
        by_password: bool,
        removed: Callable[[], Awaitable[None]],
    ) -> None:
        self._access = access
        self._review = review
        self._audit = audit
        self._needs_users = needs_users
        self._by_password = by_password
        self._removed = removed
        # Two transactions of PostgreSQL don't see each other: two users of a name, no administrator left.
        self._one_at_a_time = asyncio.Lock()

    # Users

    async def add(self, name: str, role: str, password: str | None) -> User:
        """Adds a user. Raises `BadRequest`, `Conflict`, `Invalid`."""
        self._audit(described_change(name, role))
        if not await users.any_exist() and (role != Role.ADMIN.label or password is None):
            raise BadRequest("the first user must be an admin with a password, or nobody could log in")
        stored = await _hashed(password, name) if password is not None else None
        async with self._one_at_a_time:
            user = await users.create(name, role, stored)
        if user is None:
            raise Conflict(f"there is a user {name} already; choose another name, or change that one")
        await self.announce()
        return user

    async def change(self, user_id: int, *, role: str | None = None, password: str | None = None) -> User:
        """Gives a user another role or password, which ends their sessions.

        Raises `NotFound`, `Invalid`, and `BadRequest` for the last administrator.
        """
        user = await existing(user_id)
        self._audit(described_change(user.name, role, password=password is not None))
        changes = {"role": role} if role is not None else {}
        if password is not None:
            changes["password"] = await _hashed(password, user.name)
        async with self._one_at_a_time:
            if changes and not await users.change(user_id, by_password=self._by_password, **changes):
                raise BadRequest(self._last())
        await self.announce()
        return await existing(user_id)

    async def remove(self, user_id: int) -> None:
        """Removes a user with sessions and tokens.

        Raises `NotFound`, and `BadRequest` for the last administrator; the last user may go where nobody
        needs to log in without users.
        """
        self._audit((await existing(user_id)).name)
        async with self._one_at_a_time:
            if not await users.remove(user_id, keep_one=self._needs_users, by_password=self._by_password):
                raise BadRequest(self._last())
        await self.announce()
        await self._removed()

    def _last(self) -> str:
        return _LAST_TO_LOG_IN if self._by_password else _LAST

    # Of whoever asks

    async def change_own_password(self, actor: Actor, session: str | None, password: str, new: str) -> None:
        """Gives `actor` a new password, and ends their sessions but `session`, which is a digest.

        Raises `TooManyRequests`, and `Invalid` where `password` is not the current one.
        """
        user = await own(actor)
        if user.password is None:
            raise BadRequest("you have no password to change; an administrator can give you one")
        wrong = Invalid([Problem("password", "the current password is wrong; try again")])
        if not await self._access.is_password(user, password):
            raise wrong
        hash_of_new = await _hashed(new, user.name, "new_password")
        # That took a while, in which an administrator may have given the user another one, for good reason.
        if not await users.change_password(user, hash_of_new, but=session):
            raise wrong
        await self.announce()

    async def end_other_sessions(self, actor: Actor, session: str | None) -> None:
        """Ends all sessions of `actor` but `session`, which is a digest. Raises `BadRequest`, `Forbidden`."""
        await users.end_sessions((await own(actor)).id, session or "")
        await self.announce()

    async def make_token(
        self, actor: Actor, name: str, role: str | None, only: Sequence[int] | None, days: int | None
    ) -> tuple[Token, str]:
        """Makes a token of `actor`; returns it and its text, which is shown only this once.

        Without a `role` it has theirs. Raises `BadRequest`, `Forbidden`, `Invalid`.
        """
        user = await own(actor)
        self._audit(name)
        if len(await users.tokens(user.id)) >= _MOST_TOKENS:
            raise BadRequest(f"you have {_MOST_TOKENS} tokens; revoke those that are not used")
        may = role_named(role) if role is not None else actor.role
        if may > actor.role:
            raise Forbidden(f"your role is {actor.role.label}; a token can't have more", by_role=True)
        for number in only or ():
            if await pipelines.get(number) is None:
                raise Invalid([Problem("pipelines", f"there is no pipeline {number}")])
        token, secret = await new_token(user, name, may, only, days)
        token.user = user
        return token, secret

    async def revoke_token(self, actor: Actor, token_id: int) -> None:
        """Revokes a token of `actor`; an administrator revokes anybody's. Raises `NotFound`."""
        token = await users.token(token_id)
        if token is None or not _may_manage(actor, token):
            raise NotFound(f"there is no token {token_id}")
        self._audit(f"{token.user.name}: {token.name}")
        await users.revoke(token_id)
        await self.announce()

    # Visibility

    async def set_visibility(self, pipeline_id: int, restricted: bool, names: Sequence[str]) -> None:
        """Restricts a pipeline to administrators and the users named, or shows it to all.

        Raises `Invalid`.
        """
        self._audit(audience(names) if restricted else "everyone")
        try:
            async with self._one_at_a_time:
                await users.set_visibility(pipeline_id, restricted, names)
        except users.NoSuchUser as error:
            raise Invalid([Problem("users", str(error))]) from None
        await self.announce()

    async def announce(self) -> None:
        """Makes known that users, sessions, tokens or visibility changed, also to whoever follows a log."""
        self._access.clear_cache()
        await self._review()


def _may_manage(actor: Actor, token: Token) -> bool:
    if actor.limited:
        # It was made to be given away, and would otherwise lead to what it was not made for.
        return token.id == actor.token_id
    return actor.role is Role.ADMIN or token.user_id == actor.user_id


async def _hashed(password: str, whose: str, field: str = "password") -> str:
    try:
        return await hashed(password, whose)
    except ValueError as error:
        raise Invalid([Problem(field, f"{field}: {error}")]) from None
