"""Finds out who sends a request, and what they may see."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rapidflow_web.access import credentials
from rapidflow_web.access.hosts import Hosts
from rapidflow_web.access.roles import Actor, Role, role
from rapidflow_web.access.throttle import Throttle
from rapidflow_web.db import users
from rapidflow_web.db.database import is_away, now_ms
from rapidflow_web.db.models import Token, User
from rapidflow_web.db.sight import Sight
from rapidflow_web.errors import TooManyRequests, Unauthorized
from rapidflow_web.settings import Settings

SESSION_SECONDS = 14 * 24 * 3600
_KNOWN_SECONDS = 5.0
"""For how long what was found is taken to be so still; `rapidflow user` may change it beside the server."""
_MOST_KNOWN = 10_000


@dataclass(frozen=True, slots=True)
class _Known:
    actor: Actor
    until: float


class Access:
    """Who may do what on this server."""

    def __init__(self, settings: Settings) -> None:
        public = settings.public_url
        self.hosts = Hosts((*settings.hosts, *([public.name] if public is not None else [])))
        self._settings = settings
        self._throttle = Throttle()
        self._known: dict[str, _Known] = {}
        self._has_users: bool | None = None
        self._looked_at = float("-inf")

    # Whether a login is needed

    async def is_open(self) -> bool:
        """Whether nobody needs to log in: on a loopback address, as long as there are no users."""
        if self._settings.login == "proxy" or not self._settings.bind.is_loopback:
            return False
        if time.monotonic() - self._looked_at > _KNOWN_SECONDS:
            known = self._known
            try:
                self._has_users = await users.any_exist()
            except Exception as error:
                # While the database is away everything else must still say so, and nobody can add a user.
                if self._has_users is None or not is_away(error):
                    raise
            if known is self._known:
                self._looked_at = time.monotonic()
        return not self._has_users

    def sees_all(self, token: str | None) -> bool:
        """Whether it is known, without asking the database, that whoever shows `token` may see everything."""
        now = time.monotonic()
        if token is None:
            fresh = now - self._looked_at <= _KNOWN_SECONDS
            return fresh and self._has_users is False and self._settings.login == "users"
        known = self._known.get(credentials.digest(token))
        return known is not None and known.until > now and known.actor.sight.is_whole

    def forget(self) -> None:
        """Takes nothing of what was found for granted any more: users, tokens or visibility have changed."""
        # Not cleared: what somebody is finding out just now belongs to what was.
        self._known = {}
        self._looked_at = float("-inf")

    # Who it is

    async def of_token(self, word: str) -> Actor:
        """Who shows a token. Raises `Unauthorized`."""
        found = credentials.digest(word)
        if (actor := self._remembered(found)) is not None:
            return actor
        known, token = self._known, await users.of_token(found)
        if token is None:
            raise Unauthorized("this token is not known, was revoked, or has expired; make a new one")
        return _remember(known, found, await self._of_token(token))

    async def of_session(self, word: str) -> Actor | None:
        """Who is logged in with a cookie; None where it has expired."""
        found = credentials.digest(word)
        if (actor := self._remembered(found)) is not None:
            return actor
        known, user = self._known, await users.of_session(found)
        return _remember(known, found, await self._of_user(user)) if user is not None else None

    async def of_proxy(self, name: str, address: str) -> Actor:
        """Whom a proxy in front has logged in. Raises `Unauthorized` where it is not the proxy that asks."""
        if not self.is_proxy(address):
            raise Unauthorized(
                f"only a proxy may say who somebody is, and {address} is none of RAPIDFLOW_PROXY_ADDRESSES"
            )
        key = f"proxy {name}"
        if (actor := self._remembered(key)) is not None:
            return actor
        known, user = self._known, await users.named(name)
        if user is not None:
            return _remember(known, key, await self._of_user(user))
        hidden = frozenset(await users.restricted())
        return _remember(known, key, Actor(name, Role.VIEWER, Sight(hidden)))

    def is_proxy(self, address: str) -> bool:
        """Whether a proxy connects from there, whose word on the client is taken."""
        try:
            peer = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(peer in network for network in self._settings.proxy_addresses)

    async def _of_user(self, user: User) -> Actor:
        may = role(user.role)
        return Actor(user.name, may, Sight(await self._hidden(user.id, may)), user.id)

    async def _of_token(self, token: Token) -> Actor:
        # A role that was taken from a user is taken from their tokens, too.
        may = min(role(token.role), role(token.user.role))
        only = frozenset(token.pipelines) if token.pipelines is not None else None
        if only is not None:
            # Users and other pipelines are what an administrator has to do with.
            may = min(may, Role.BUILDER)
        hidden = await self._hidden(token.user_id, role(token.user.role))
        return Actor(token.user.name, may, Sight(hidden, only), token.user_id, token.name)

    async def _hidden(self, user_id: int, may: Role) -> frozenset[int]:
        if may is Role.ADMIN:
            return frozenset()
        granted = await users.restricted()
        return frozenset(number for number, user_ids in granted.items() if user_id not in user_ids)

    def _remembered(self, key: str) -> Actor | None:
        known = self._known.get(key)
        return known.actor if known is not None and known.until > time.monotonic() else None

    # Login

    async def log_in(self, name: str, password: str, address: str) -> str:
        """Begins a session; returns the word for the cookie. Raises `Unauthorized`, `TooManyRequests`."""
        user = await users.named(name)
        if not await self.is_password(name, user, password, address) or user is None:
            raise Unauthorized("this name with this password is not known; try again")
        word = credentials.new_word()
        await users.begin_session(user.id, credentials.digest(word), now_ms() + SESSION_SECONDS * 1000)
        return word

    async def is_password(self, name: str, user: User | None, password: str, address: str) -> bool:
        """Whether it is the password of the user of this name. Raises `TooManyRequests`.

        Each wrong one slows down who tries the next, for the name or from the address.
        """
        keys = (f"name {name}", f"address {address}")
        if wait := self._throttle.wait(keys):
            raise TooManyRequests(f"there were too many wrong passwords; wait {math.ceil(wait)} s", wait)
        # Noted before the slow part, for those who try many at once.
        self._throttle.failed(keys)
        right = await credentials.is_right(password, user.password if user is not None else None)
        if right:
            self._throttle.succeeded(keys)
        return right

    async def log_out(self, word: str) -> None:
        """Ends a session."""
        await users.end_session(credentials.digest(word))
        self.forget()


def _remember(known: dict[str, _Known], key: str, actor: Actor) -> Actor:
    if len(known) >= _MOST_KNOWN:
        known.clear()
    known[key] = _Known(actor, time.monotonic() + _KNOWN_SECONDS)
    return actor


async def new_token(
    user: User, name: str, may: Role, pipelines: Sequence[int] | None, days: int | None
) -> tuple[Token, str]:
    """Makes a token, which expires after `days`; returns it and the word, which is shown only this once.

    One that is limited to `pipelines` can't administer, whatever its role.
    """
    if pipelines is not None:
        may = min(may, Role.BUILDER)
    word = credentials.TOKEN_PREFIX + credentials.new_word()
    expires_at = now_ms() + days * 24 * 3600 * 1000 if days is not None else None
    token = await users.create_token(user.id, name, may.word, pipelines, credentials.digest(word), expires_at)
    return token, word


async def hashed(password: str) -> str:
    """The hash of a password, made beside the event loop. Raises ValueError."""
    return await asyncio.to_thread(credentials.hashed, password)
