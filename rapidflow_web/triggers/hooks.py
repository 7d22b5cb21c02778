"""Takes deliveries: each is verified, stored for good, and answered. What comes of it follows afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ParamSpec, TypeVar

from rapidflow_web.db import deliveries, repositories
from rapidflow_web.db.database import now_ms
from rapidflow_web.db.trigger_models import Delivery, Repository
from rapidflow_web.errors import BadRequest, NotFound, Unauthorized
from rapidflow_web.forges import base as forges
from rapidflow_web.forges.base import Headers, Unreadable, WrongSignature
from rapidflow_web.forges.fields import is_ref
from rapidflow_web.pipeline.repositories import COMMIT_ID
from rapidflow_web.triggers.repositories import Repositories

REFS = "refs"
"""The event of a `post-receive` hook, whose body has lines `OLD NEW REF`."""
_SECRET_HEADERS = frozenset(("authorization", "cookie", "x-gitlab-token", "proxy-authorization"))
_HIDDEN = "(not kept)"
_MOST_HEADERS = 100
_LONGEST_HEADER = 2000
_SMALL = 64 * 1024
"""Bytes up to which a body is read at once; of a larger one it takes a thread, and longer."""
_LONGEST_REF_LINE = 1000
_MOST_REF_LINES = 1000


P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a delivery is answered: 202 where it is going to be handled, 200 where there is nothing to do."""

    status: int
    delivery_id: int | None
    reason: str | None = None


class Hooks:
    """Takes deliveries. `wake` is told of each that is to be handled."""

    def __init__(self, repositories: Repositories, wake: Callable[[], None]) -> None:
        self._repositories = repositories
        self._wake = wake

    async def repository_of(self, key: str) -> Repository:
        """The repository whose webhook has this key. Raises `NotFound`."""
        repository = await repositories.with_hook(key)
        if repository is None:
            raise NotFound("there is no webhook at this address; add the repository, or connect it again")
        return repository

    async def take(self, key: str, headers: Headers, body: bytes) -> Answer:
        """Takes a delivery to the webhook with this key.

        Raises `NotFound`, `Unauthorized` for a wrong signature, `BadRequest` for what can't be read.
        """
        repository = await self.repository_of(key)
        event, kept = forges.event_name(headers), _kept(headers)
        try:
            secrets = await self._repositories.secrets_of(repository)
            await _in_thread_if_large(body, forges.verify, headers, body, secrets, time.time())
        except WrongSignature as error:
            await deliveries.refused(
                repository.id, event=event, headers=kept, size=len(body), reason=str(error)
            )
            raise Unauthorized(str(error)) from None
        delivery_key = forges.delivery_key(headers)
        if delivery_key is not None:
            there = await deliveries.with_key(repository.id, delivery_key)
            if there is not None:
                return Answer(200, there, f"duplicate of delivery {there}")
        reason = None
        try:
            read = await _in_thread_if_large(body, forges.read, headers, body)
            reason = read.reason if not read.changes else None
        except Unreadable as error:
            await self._store(repository, event, delivery_key, kept, body, 400, str(error))
            raise BadRequest(str(error)) from None
        status = 202 if reason is None else 200
        delivery = await self._store(repository, event, delivery_key, kept, body, status, reason)
        if delivery is None:
            there = await deliveries.with_key(repository.id, delivery_key or "")
            return Answer(200, there, f"duplicate of delivery {there}")
        if reason is None:
            self._wake()
        return Answer(status, delivery.id, reason)

    async def take_refs(self, repository_id: int, body: bytes) -> Answer:
        """Takes what git gave to `post-receive`. Raises `NotFound`, `BadRequest`."""
        repository = await repositories.existing(repository_id)
        read_refs(body)
        delivery = await self._store(repository, REFS, None, [], body, 202, None)
        self._wake()
        return Answer(202, delivery.id if delivery is not None else None)

    async def replay(self, delivery_id: int) -> Delivery:
        """Has a delivery judged anew. Raises `NotFound`, `BadRequest` for one whose signature was wrong."""
        old = await replayable(delivery_id)
        made = await deliveries.create(
            repository_id=old.repository_id, key=None, event=old.event, headers=old.headers, body=old.body,
            size=old.size, status=202, replay_of=old.id,
        )  # fmt: skip
        self._wake()
        return made or old

    async def _store(
        self,
        repository: Repository,
        event: str,
        key: str | None,
        headers: list[list[str]],
        body: bytes,
        status: int,
        reason: str | None,
    ) -> Delivery | None:
        return await deliveries.create(
            repository_id=repository.id, key=key, event=event, headers=headers, body=body, size=len(body),
            status=status, reason=reason, outcome=reason,
            **({} if status == 202 else {"handled_at": now_ms()}),
        )  # fmt: skip


async def replayable(delivery_id: int) -> Delivery:
    """A delivery with its body. Raises `NotFound`, `BadRequest` for one that has none."""
    found = await deliveries.existing(delivery_id)
    if found.body is None:
        raise BadRequest(f"delivery {delivery_id} had a wrong signature, so its body was not kept")
    await repositories.existing(found.repository_id)
    return found


async def _in_thread_if_large(body: bytes, call: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    if len(body) <= _SMALL:
        return call(*arguments, **named)
    return await asyncio.to_thread(call, *arguments, **named)


def _kept(headers: Headers) -> list[list[str]]:
    """What is kept of the headers: not the values of those by which somebody proves who they are."""
    return [
        [str(name)[:200], _HIDDEN if str(name).lower() in _SECRET_HEADERS else str(value)[:_LONGEST_HEADER]]
        for name, value in headers[:_MOST_HEADERS]
    ]


def read_refs(body: bytes) -> list[tuple[str | None, str | None, str]]:
    """Lines `OLD NEW REF`: the value before and after, None where there is none. Raises `BadRequest`."""
    lines = body.splitlines()
    if len(lines) > _MOST_REF_LINES:
        raise BadRequest(f"there are {len(lines)} refs; send at most {_MOST_REF_LINES} at once")
    found: list[tuple[str | None, str | None, str]] = []
    for number, line in enumerate(lines, 1):
        try:
            old, new, ref = line[:_LONGEST_REF_LINE].decode().split(" ", 2)
        except ValueError:
            raise BadRequest(f"line {number} is not 'OLD NEW REF', as git gives it to post-receive") from None
        are_ids = COMMIT_ID.fullmatch(old) and COMMIT_ID.fullmatch(new)
        if not are_ids or not is_ref(ref) or not ref.isprintable():
            raise BadRequest(f"line {number} is not 'OLD NEW REF', as git gives it to post-receive")
        found.append((None if not old.strip("0") else old, None if not new.strip("0") else new, ref))
    if not found:
        raise BadRequest("there is no ref; have the post-receive hook send what it reads")
    return found


def is_refs(delivery: Delivery) -> bool:
    """Whether it is what `post-receive` was given, rather than what a forge sent."""
    return delivery.event == REFS and not delivery.headers
