"""Authentication: who sends a request, and what they may see."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rapidflow_web import addresses
from rapidflow_web.accounts import credentials
from rapidflow_web.accounts.hosts import Hosts
from rapidflow_web.accounts.roles import ANYONE, Actor, Role, role_named
from rapidflow_web.accounts.throttle import SITE, Key, Throttle
from rapidflow_web.db import audit, users
from rapidflow_web.db.database import is_away, now_ms
from rapidflow_web.db.models import Token, User
from rapidflow_web.db.visibility import Visibility
from rapidflow_web.errors import TooManyRequests, Unauthorized
from rapidflow_web.pipeline.durations import format_duration
from rapidflow_web.settings import Settings

SESSION_SECONDS = 14 * 24 * 3600
_CACHE_SECONDS = 5.0
"""For how long what was found is taken to be so still; `rapidflow user` may change it beside the server."""
_MOST_CACHED = 10_000


class Reader(NamedTuple):
    """Who reads what: `credential` is that of an `Actor`."""

    credential: str
    pipeline_id: int


@dataclass(frozen=True, slots=True)
class _ReadAccess:
    """What somebody may see, as far as it is not a pipeline's own."""

    user_id: int | None
    sees_restricted: bool
    only: frozenset[int] | None = None

    def may_see(self, pipeline_id: int, granted: Collection[int] | None) -> bool:
        """Whether they may see a pipeline, which if it is restricted is `granted` to these users."""
        if self.only is not None and pipeline_id not in self.only:
            return False
        return granted is None or self.sees_restricted or self.user_id in granted


@dataclass(frozen=True, slots=True)
class _CachedActor:
    actor: Actor
    until: float


class Access:
    """Who may do what on this server."""

    def __init__(self, settings: Settings) -> None:
        public = settings.public_url
        self.hosts = Hosts((*settings.hosts, *([public.name] if public is not None else [])))
        self._settings = settings
        self._throttle = Throttle()
        self._cache: dict[str, _CachedActor] = {}
        self._has_users: bool | None = None
        self._checked_at = float("-inf")

    # Whether a login is needed

    async def is_open(self) -> bool:
        """Whether nobody needs to log in: on a loopback address, as long as there are no users."""
        if not self._needs_no_login():
            return False
        if time.monotonic() - self._checked_at > _CACHE_SECONDS:
            await self._check_for_users()
        return not self._has_users

    def _needs_no_login(self) -> bool:
        """Whether nobody needs to log in while there are no users."""
        return self._settings.login == "users" and self._settings.bind.is_loopback

    async def _check_for_users(self) -> None:
        known = self._cache
        try:
            self._has_users = await users.any_exist()
        except Exception as error:
            # While the database is away everything else must still say so, and nobody can add a user.
            if self._has_users is None or not is_away(error):
                raise
        if known is self._cache:
            self._checked_at = time.monotonic()

    def clear_cache(self) -> None:
        """Takes nothing of what was found for granted any more: users, tokens or visibility have changed."""
        # Not cleared: what somebody is finding out just now belongs to what was.
        self._cache = {}
        self._checked_at = float("-inf")

    # Who it is

    async def who(
        self, authorization: str | None, proxy_names: Sequence[str], session: str | None, peer: str
    ) -> Actor:
        """Who sends a request with this Authorization header and cookie, from the address `peer`.

        `proxy_names` are the values of the header in which a proxy in front names the user, if one logs users
        in. Raises `Unauthorized`.
        """
        if authorization is not None:
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() == "bearer":
                return await self.of_token(token.strip())
        if self._settings.login == "proxy":
            header = self._settings.proxy_header
            names = [name.strip() for name in proxy_names if name.strip()]
            if len(names) > 1:
                raise Unauthorized(f"the header {header} came {len(names)} times; the proxy must replace it")
            if names:
                return await self.of_proxy(names[0], peer)
            raise Unauthorized(f"the proxy in front must name the user in the header {header}")
        if session and (actor := await self.of_session(session)) is not None:
            return actor
        if await self.is_open():
            return ANYONE
        raise Unauthorized(
            "log in at /login, or send a token: Authorization: Bearer TOKEN, "
            "which the rapidflow command takes from RAPIDFLOW_TOKEN"
        )

    async def of_token(self, secret: str) -> Actor:
        """Who shows a token. Raises `Unauthorized`."""
        credential = _by_token(secret)
        if (actor := self._cached(credential)) is not None:
            return actor
        known, token = self._cache, await users.of_token(_digest(credential))
        if token is None:
            raise Unauthorized("this token is not known, was revoked, or has expired; make a new one")
        return _cache_actor(known, await self._of_token(token, credential), token.expires_at)

    async def of_session(self, secret: str) -> Actor | None:
        """Who is logged in with a cookie; None where it has expired."""
        credential = f"session {credentials.digest(secret)}"
        if (actor := self._cached(credential)) is not None:
            return actor
        known, session = self._cache, await users.of_session(_digest(credential))
        if session is None:
            return None
        return _cache_actor(known, await self._of_user(session.user, credential), session.expires_at)

    async def of_proxy(self, name: str, address: str) -> Actor:
        """Whom a proxy in front has logged in. Raises `Unauthorized` where it is not the proxy that asks."""
        if not self.is_proxy(address):
            raise Unauthorized(
                f"only a proxy may name the user, and {address} is not in RAPIDFLOW_PROXY_ADDRESSES"
            )
        if audit.is_kept(name):
            raise Unauthorized(
                f"the proxy names the user '{name[:80]}', which the audit log has for others; "
                "have it send another, without ' ('"
            )
        credential = f"proxy {name}"
        if (actor := self._cached(credential)) is not None:
            return actor
        known, user = self._cache, await users.named(name)
        if user is not None:
            return _cache_actor(known, await self._of_user(user, credential))
        # Somebody whom the proxy knows and this server does not.
        visibility = Visibility(await users.hidden_from(None))
        return _cache_actor(known, Actor(name, Role.VIEWER, visibility, credential=credential))

    async def may_read(self, readers: Collection[Reader]) -> set[Reader]:
        """Those of `readers` who may read still, asked of the database now."""
        access = await self._read_access({reader.credential for reader in readers})
        restricted = await users.restricted({reader.pipeline_id for reader in readers})
        return {
            reader
            for reader in readers
            if (found := access.get(reader.credential)) is not None
            and found.may_see(reader.pipeline_id, restricted.get(reader.pipeline_id))
        }

    async def _read_access(self, wanted: Collection[str]) -> dict[str, _ReadAccess]:
        """The credentials of `wanted` that let somebody in now, each with what they may see."""
        found: dict[str, _ReadAccess] = {}
        if ANYONE.credential in wanted:
            await self._check_for_users()
            if await self.is_open():
                found[ANYONE.credential] = _ReadAccess(None, sees_restricted=True)
        kinds: dict[str, list[str]] = {"token": [], "session": [], "proxy": []}
        for one in wanted:
            kind, _, rest = one.partition(" ")
            if kind in kinds:
                kinds[kind].append(rest)
        for token in await users.valid_tokens(kinds["token"]):
            found[f"token {token.digest}"] = _read_access_of(token.user, token)
        for session in await users.valid_sessions(kinds["session"]):
            found[f"session {session.digest}"] = _read_access_of(session.user)
        known = {user.name: user for user in await users.all_named(kinds["proxy"])}
        for name in kinds["proxy"]:
            found[f"proxy {name}"] = _read_access_of(known.get(name))
        return found

    def is_proxy(self, address: str) -> bool:
        """Whether a proxy connects from there, whose word on the client is taken."""
        try:
            peer = addresses.parse(address)
        except ValueError:
            return False
        return any(peer in network for network in self._settings.proxy_addresses)

    async def _of_user(self, user: User, credential: str) -> Actor:
        return Actor(
            user.name, role_named(user.role), Visibility(await _hidden(user)), user.id, credential=credential
        )

    async def _of_token(self, token: Token, credential: str) -> Actor:
        # A role that was taken from a user is taken from their tokens, too.
        may = min(role_named(token.role), role_named(token.user.role))
        only = _only(token)
        if only is not None:
            # Users and other pipelines are what an administrator has to do with.
            may = min(may, Role.BUILDER)
        return Actor(
            token.user.name,
            may,
            Visibility(await _hidden(token.user), only),
            token.user_id,
            token.name,
            token.id,
            limited=token.limited,
            credential=credential,
        )

    def _cached(self, key: str) -> Actor | None:
        known = self._cache.get(key)
        return known.actor if known is not None and known.until > time.monotonic() else None

    # Login

    async def log_in(self, name: str, password: str, address: str, session: str | None = None) -> str:
        """Begins a session, in place of the one `session`, and returns the value of the cookie.

        Each wrong password slows down who tries the next, for the name or from the address; but nobody slows
        down a user where that user is logged in, or has logged in before. Raises `Unauthorized`,
        `TooManyRequests`.
        """
        user, client, site = await users.named(name), addresses.client(address), addresses.site(address)
        # No user has a longer name, and the throttle is to remember none that fill the memory. Names of users
        # are remembered apart, so that no flood of other names has them forgotten.
        named = Key("user", name) if user is not None else Key("stranger", name[:64])
        own = Key("user at", f"{named.value} {client}")
        of_all = (named, Key("client", client), Key(SITE, site))
        if self._throttle.wait(of_all) and user is not None:
            here = await self.of_session(session) if session else None
            if here is not None and here.user_id == user.id:
                own, of_all = _by_session(user), ()
            elif client in {addresses.client(one) for one in await audit.addresses_of(user.name)}:
                of_all = ()
        if not await self._is_right(user, password, own, of_all, site) or user is None:
            raise Unauthorized("wrong name or password")
        secret = credentials.new_secret()
        # Checking takes a while, in which the user may have got another password, for good reason.
        if not await users.begin_session(user, credentials.digest(secret), now_ms() + SESSION_SECONDS * 1000):
            raise Unauthorized("wrong name or password")
        if session:
            await self.log_out(session)
        return secret

    async def is_password(self, user: User, password: str) -> bool:
        """Whether it is the password of a user who is logged in. Raises `TooManyRequests`."""
        return await self._is_right(user, password, _by_session(user), (), user.name)

    async def _is_right(
        self, user: User | None, password: str, own: Key, of_all: Sequence[Key], whose: str
    ) -> bool:
        keys = (own, *of_all)
        if wait := self._throttle.wait(keys):
            raise TooManyRequests(
                f"there were too many wrong passwords; wait {format_duration(math.ceil(wait))}", wait
            )
        # Noted before the slow part, for those who try many at once.
        self._throttle.failed(keys)
        right = await credentials.is_right(password, user.password if user is not None else None, whose)
        if right:
            self._throttle.forget(own)
            # Not more than that: others have failed by the same name or from the same address.
            self._throttle.take_back(of_all)
        return right

    async def log_out(self, secret: str) -> bool:
        """Ends a session; False if there is none."""
        if not await users.end_session(credentials.digest(secret)):
            return False  # strangers send anything, and it is to cost nothing of what others need
        self.clear_cache()
        return True


def _by_session(user: User) -> Key:
    return Key("session of", user.name)


def _by_token(secret: str) -> str:
    return f"token {credentials.digest(secret)}"


def _digest(credential: str) -> str:
    return credential.partition(" ")[2]


def _cache_actor(known: dict[str, _CachedActor], actor: Actor, expires_at: int | None = None) -> Actor:
    if len(known) >= _MOST_CACHED:
        known.clear()
    seconds = _CACHE_SECONDS
    if expires_at is not None:
        seconds = min(seconds, (expires_at - now_ms()) / 1000)
    known[actor.credential] = _CachedActor(actor, time.monotonic() + seconds)
    return actor


def _only(token: Token) -> frozenset[int] | None:
    return frozenset(token.pipelines) if token.pipelines is not None else None


def _read_access_of(user: User | None, token: Token | None = None) -> _ReadAccess:
    return _ReadAccess(
        user.id if user is not None else None,
        sees_restricted=user is not None and role_named(user.role) is Role.ADMIN,
        only=_only(token) if token is not None else None,
    )


async def _hidden(user: User) -> frozenset[int]:
    """The pipelines that a user may not see."""
    return frozenset() if role_named(user.role) is Role.ADMIN else await users.hidden_from(user.id)


async def new_token(
    user: User, name: str, may: Role, pipelines: Sequence[int] | None, days: int | None
) -> tuple[Token, str]:
    """Makes a token, which expires after `days`; returns its row and its text, shown only this once.

    One that is limited to `pipelines` can't administer, whatever its role.
    """
    if pipelines is not None:
        may = min(may, Role.BUILDER)
    secret = credentials.TOKEN_PREFIX + credentials.new_secret()
    expires_at = now_ms() + days * 24 * 3600 * 1000 if days is not None else None
    token = await users.create_token(
        user.id,
        name,
        may.label,
        pipelines,
        credentials.digest(secret),
        expires_at,
        # Kept, because it can't be seen later: a viewer's token of an administrator who has become a viewer
        # was made to be given away nevertheless.
        limited=pipelines is not None or may < role_named(user.role),
    )
    return token, secret


async def hashed(password: str, whose: str) -> str:
    """The hash of a password, made beside the event loop; `whose` turn it takes. Raises ValueError."""
    return await credentials.hashed_slowly(password, whose)
