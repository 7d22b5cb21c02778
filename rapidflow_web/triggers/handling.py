"""From a delivery or a look at the refs to events: one repository at a time, each change once."""

from __future__ import annotations

import asyncio
import random
import weakref
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from tortoise.transactions import in_transaction

from rapidflow_web.builds.beginning import Beginning
from rapidflow_web.db import deliveries, events, repositories
from rapidflow_web.db.database import now_ms, uncancelled
from rapidflow_web.db.trigger_models import Delivery, Repository
from rapidflow_web.errors import BadRequest, BuildError, RapidFlowError
from rapidflow_web.forges import base as forges
from rapidflow_web.forges.base import Unreadable
from rapidflow_web.secrets.vault import Vault
from rapidflow_web.source.mirrors import Mirrors
from rapidflow_web.triggers import decisions
from rapidflow_web.triggers.access import account_of
from rapidflow_web.triggers.hooks import is_refs, read_refs
from rapidflow_web.triggers.judging import Judge
from rapidflow_web.triggers.occurrence import HEADS, TAGS, Occurrence

_LONGEST_PAUSE = 3600
_BROKEN = "internal error; the server's log has more"
_EARLY = 60_000
"""Milliseconds in which a forge makes the ref of a pull request that it has told of."""
_NEW_COMMITS = ("opened", "synchronize", "reopened")
"""What happens to a pull request when its head changes, or is looked at for the first time."""


class NotYet(BuildError):
    """What a delivery tells of is not in the repository, but it may come."""


class Handling:
    """Makes events of what happens at repositories."""

    def __init__(self, judge: Judge, mirrors: Mirrors, vault: Vault, beginning: Beginning) -> None:
        self._judge = judge
        self._mirrors = mirrors
        self._vault = vault
        self._beginning = beginning
        self._locks: weakref.WeakValueDictionary[int, asyncio.Lock] = weakref.WeakValueDictionary()

    def lock(self, repository_id: int) -> asyncio.Lock:
        """Whoever has it is the only one who makes events of a repository."""
        return self._locks.setdefault(repository_id, asyncio.Lock())

    async def handle(self, delivery: Delivery) -> None:
        """Handles a delivery to its end. Raises `BuildError` where the repository can't be reached now."""
        async with self.lock(delivery.repository_id):
            repository = await repositories.get(delivery.repository_id)
            if repository is None:
                await deliveries.handled(delivery.id, "the repository was removed")
                return
            try:
                occurrences = await occurrences_of(repository, delivery)
            except (Unreadable, BadRequest) as error:
                await deliveries.handled(delivery.id, str(error))
                return
            done = {event.ref for event in await events.of_delivery(delivery.id)}
            remarks: list[str] = []
            for occurrence in occurrences:
                early = delivery.at > now_ms() - _EARLY
                if occurrence.ref in done:
                    continue
                if (said := await self.happened(repository, occurrence, early=early)) is not None:
                    remarks.append(said)
            await deliveries.handled(delivery.id, "; ".join(remarks) or None)

    async def happened(
        self,
        repository: Repository,
        occurrence: Occurrence,
        then: Callable[[], Awaitable[object]] | None = None,
        *,
        early: bool = False,
    ) -> str | None:
        """Makes an event of what happened, unless it is none; then a sentence says why.

        Raises `BuildError` where the repository can't be reached now, and `NotYet` where it is so `early`
        that the head of a pull request may still come.
        """
        last = await repositories.value_of(repository.id, occurrence.ref)
        request = occurrence.pull_request
        if request is not None and request.action == "closed":
            await self._closed(repository, occurrence)
            return None
        repeats = occurrence.kind != "schedule" and (request is None or request.action in _NEW_COMMITS)
        already = f"{occurrence.ref} was seen at {(last or '')[:12]} before"
        if repeats and not occurrence.replay and last is not None and last == occurrence.after:
            return already
        if occurrence.kind == "delete" and last is None and not occurrence.replay:
            return f"{occurrence.ref} was not there before"
        if occurrence.before is None and repeats:
            occurrence = replace(occurrence, before=last)
        judgement = await self._judge.judge(repository, occurrence)
        commit = judgement.commit
        failed = [one.reason for one in judgement.verdicts if one.outcome == "failed"]
        if early and commit is None and request is not None and failed:
            raise NotYet(failed[0])
        if repeats and not occurrence.replay and commit is not None and commit.id == last:
            return already
        if (
            not repeats
            and request is not None
            and all(one.outcome == "ignored" for one in judgement.verdicts)
        ):
            return f"no pipeline is started by the action '{request.action}'"
        await decisions.store(repository, judgement, self._beginning, then)
        self._beginning.wake()
        return None

    @uncancelled
    async def _closed(self, repository: Repository, occurrence: Occurrence) -> None:
        """Forgets the head of a pull request, so that it is built when it is opened again."""
        async with in_transaction():
            await repositories.saw(repository.id, occurrence.ref, None)
            await events.create(
                repository_id=repository.id, delivery_id=occurrence.delivery_id, kind=occurrence.kind,
                ref=occurrence.ref, before=occurrence.before, after=occurrence.after,
                source=occurrence.source, sender=occurrence.sender, title=occurrence.title,
                pull_request=decisions.pull_request(occurrence.pull_request),
            )  # fmt: skip

    async def look(self, repository: Repository) -> None:
        """Looks at the refs of a repository, and makes events of what has changed.

        Raises `BuildError` where that can't be done; when it is tried again is stored.
        """
        async with self.lock(repository.id):
            current = await repositories.get(repository.id)
            if current is None:
                return  # it was removed meanwhile
            repository, now = current, now_ms()
            try:
                await self._look(repository)
            except Exception as error:
                said = str(error) if isinstance(error, RapidFlowError) else _BROKEN
                failures = repository.poll_failures + 1
                usual = repository.poll or 60
                pause = max(usual, min(usual * 2 ** min(failures, 10), _LONGEST_PAUSE))
                await repositories.update(
                    repository.id, polled_at=now, poll_failures=failures, poll_error=said,
                    next_poll_at=_soon(now, pause),
                )  # fmt: skip
                raise
            await repositories.update(
                repository.id, polled_at=now, poll_failures=0, poll_error=None,
                next_poll_at=None if repository.poll is None else _soon(now, repository.poll),
            )  # fmt: skip

    async def _look(self, repository: Repository) -> None:
        seen = await self._mirrors.refs(repository.url, await account_of(self._vault, repository))
        known = await repositories.refs_of(repository.id)
        default = seen.default_branch
        if default is not None and default != repository.default_branch:
            await repositories.update(repository.id, default_branch=default)
            repository.default_branch = default
        for occurrence in changes(known, seen.values):
            await self.happened(repository, occurrence)
        if not seen.values and known:
            raise BuildError("the repository has no branch any more")


def _soon(now: int, seconds: float) -> int:
    """Then, more or less, so that not all repositories are looked at in the same moment. In ms."""
    return now + int(seconds * 1000 * random.uniform(0.8, 1.2))  # noqa: S311


def changes(known: dict[str, str], seen: dict[str, str]) -> list[Occurrence]:
    """What has happened between two looks at branches and tags: branches first, and what is gone last."""
    found: list[Occurrence] = []
    for ref in sorted(ref for ref, value in seen.items() if known.get(ref) != value):
        kind = "push" if ref.startswith(HEADS) else "tag"
        found.append(Occurrence(kind, "poll", ref, known.get(ref), seen[ref]))
    gone = [ref for ref in known if ref not in seen and ref.startswith((HEADS, TAGS))]
    return found + [Occurrence("delete", "poll", ref, known[ref]) for ref in sorted(gone)]


async def occurrences_of(repository: Repository, delivery: Delivery) -> Sequence[Occurrence]:
    """What a delivery says. Raises `Unreadable`, `BadRequest`."""
    replay, body = delivery.replay_of is not None, delivery.body or b""
    if is_refs(delivery):
        return [
            Occurrence(
                "delete" if new is None else "push" if ref.startswith(HEADS) else "tag",
                "push", ref, old, new, delivery_id=delivery.id, replay=replay,
            )
            for old, new, ref in read_refs(body)
            if ref.startswith((HEADS, TAGS))
        ]  # fmt: skip
    read = await asyncio.to_thread(forges.read, repository.forge, delivery.headers, body)
    return [Occurrence.of(change, delivery.id, "webhook", replay=replay) for change in read.changes]
