"""Changes to users, tokens and visibility, by the rules that the API and the pages share.

Each is known to the whole server when it returns: nobody goes on with what was taken from them.
"""

from __future__ import annotations

from collections.abc import Sequence

from rapidflow_web.accounts.authentication import hashed, new_token
from rapidflow_web.accounts.roles import Role, role
from rapidflow_web.db import pipelines, users
from rapidflow_web.db.models import Pipeline, Token, User
from rapidflow_web.errors import BadRequest, Conflict, Forbidden, Invalid, NotFound, Problem
from rapidflow_web.web.gate import actor, concern, session
from rapidflow_web.web.services import services

_MOST_TOKENS = 500
_LAST = "this is the last administrator; make somebody else one first"


async def existing(user_id: int) -> User:
    """The user. Raises `NotFound`."""
    user = await users.get(user_id)
    if user is None:
        raise NotFound(f"there is no user {user_id}")
    return user


async def add(name: str, word: str, password: str | None) -> User:
    """Adds a user with the role of this word. Raises `BadRequest`, `Conflict`, `Invalid`."""
    concern(name)
    if not await users.any_exist() and (word != Role.ADMIN.word or password is None):
        raise BadRequest("the first user must be an admin with a password, or nobody could log in any more")
    user = await users.create(name, word, await _hashed(password) if password is not None else None)
    if user is None:
        raise Conflict(f"there is a user {name} already; choose another name, or change that one")
    await changed()
    return user


async def change(user_id: int, *, word: str | None = None, password: str | None = None) -> User:
    """Gives a user another role or password, which ends their sessions.

    Raises `NotFound`, `Invalid`, and `BadRequest` for the last administrator.
    """
    user = await existing(user_id)
    concern(user.name)
    changes = {"role": word} if word is not None else {}
    if password is not None:
        changes["password"] = await _hashed(password)
    if changes and not await users.change(user_id, **changes):
        raise BadRequest(_LAST)
    await changed()
    return await existing(user_id)


async def remove(user_id: int) -> None:
    """Removes a user with sessions and tokens.

    Raises `NotFound`, and `BadRequest` for the last administrator; the last of all may go where nobody needs
    to log in without users.
    """
    concern((await existing(user_id)).name)
    needs_users = not services().settings.bind.is_loopback
    if not await users.remove(user_id, keep_one=needs_users):
        raise BadRequest(_LAST)
    await changed()


# Of whoever asks


async def own() -> User:
    """The user who asks with a session of their own. Raises `BadRequest`, `Forbidden`."""
    who = actor()
    user = await users.get(who.user_id) if who.user_id is not None else None
    if user is None:
        raise BadRequest("there is no such user here; add one with 'rapidflow user add', and log in")
    if who.token is not None:
        raise Forbidden("a token can't make tokens or change passwords; log in with your password")
    return user


async def change_own_password(password: str, new: str) -> None:
    """Gives whoever asks a new password, and ends their other sessions.

    Raises `TooManyRequests`, and `Invalid` where `password` is not the present one.
    """
    user = await own()
    if user.password is None:
        raise BadRequest("you have no password to change; an administrator can give you one")
    if not await services().access.is_password(user, password):
        raise Invalid([Problem("password", "this is not your present password; try again")])
    await users.change(user.id, but=session(), password=await _hashed(new, "new_password"))
    await changed()


async def end_other_sessions() -> None:
    """Ends all sessions of whoever asks but the one that asks."""
    await users.end_sessions((await own()).id, session() or "")
    await changed()


async def make_token(
    name: str, word: str | None, only: Sequence[int] | None, days: int | None
) -> tuple[Token, str]:
    """Makes a token of whoever asks; returns it and the word, which is shown only this once.

    Without the `word` of a role it has theirs. Raises `BadRequest`, `Forbidden`, `Invalid`.
    """
    user = await own()
    concern(name)
    if len(await users.tokens(user.id)) >= _MOST_TOKENS:
        raise BadRequest(f"you have {_MOST_TOKENS} tokens; revoke those that are not used")
    most = actor().role
    may = role(word) if word is not None else most
    if may > most:
        raise Forbidden(f"your role is {most.word}; a token can't have more")
    for number in only or ():
        if await pipelines.get(number) is None:
            raise Invalid([Problem("pipelines", f"there is no pipeline {number}")])
    token, secret = await new_token(user, name, may, only, days)
    token.user = user
    return token, secret


async def tokens_of_asker() -> list[Token]:
    """The tokens of whoever asks; a limited token is told of itself alone."""
    who = actor()
    if who.user_id is None:
        return []
    return [token for token in await users.tokens(who.user_id) if _may_manage(token)]


def _may_manage(token: Token) -> bool:
    who = actor()
    if who.limited:
        # It was made to be given away, and would otherwise lead to what it was not made for.
        return token.id == who.token_id
    return who.role is Role.ADMIN or token.user_id == who.user_id


async def revoke_token(token_id: int) -> None:
    """Revokes a token of whoever asks; an administrator revokes anybody's. Raises `NotFound`."""
    token = await users.token(token_id)
    if token is None or not _may_manage(token):
        raise NotFound(f"there is no token {token_id}")
    concern(f"{token.user.name}: {token.name}")
    await users.revoke(token_id)
    await changed()


# Visibility


async def add_pipeline(config: str, name: str | None, *, by: str, seen_by: Sequence[str] | None) -> Pipeline:
    """Stores a pipeline that administrators and `seen_by` see, or with None everyone. Raises `Invalid`."""
    if seen_by is not None:
        concern(f"{', '.join(seen_by) or 'administrators'} only")
    pipeline = await services().builds.add(config, name, by=by, seen_by=seen_by)
    if seen_by is not None:
        await changed()
    return pipeline


async def set_visibility(pipeline_id: int, restricted: bool, names: Sequence[str]) -> None:
    """Restricts a pipeline to administrators and the users named, or shows it to all. Raises `Invalid`."""
    concern(f"{', '.join(names) or 'administrators'} only" if restricted else "everyone")
    try:
        await users.set_visibility(pipeline_id, restricted, names)
    except users.NoSuchUser as error:
        raise Invalid([Problem("users", str(error))]) from None
    await changed()


async def changed() -> None:
    """Makes known that users, sessions, tokens or visibility changed, also to whoever follows a log."""
    services().access.forget()
    await services().streams.review()


async def _hashed(password: str, field: str = "password") -> str:
    try:
        return await hashed(password)
    except ValueError as error:
        raise Invalid([Problem(field, f"{field}: {error}")]) from None
