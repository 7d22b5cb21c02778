"""From a delivery or a look at the refs to events: one repository at a time, each change once."""

from __future__ import annotations

import asyncio
import contextlib
import random
import weakref
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace

from tortoise.transactions import in_transaction

from rapidflow_web.builds.beginning import Beginning
from rapidflow_web.db import deliveries, events, jobs, repositories
from rapidflow_web.db.database import now_ms, uncancelled
from rapidflow_web.db.trigger_models import Delivery, Repository
from rapidflow_web.errors import BadRequest, BuildError, RapidFlowError, RequestError
from rapidflow_web.forges import base as forges
from rapidflow_web.forges.base import Unreadable
from rapidflow_web.secrets.vault import Vault
from rapidflow_web.source.fetching import RemoteRefs
from rapidflow_web.source.mirrors import Mirrors
from rapidflow_web.triggers import decisions, sync
from rapidflow_web.triggers.access import account_of
from rapidflow_web.triggers.definitions import DefinitionFile
from rapidflow_web.triggers.hooks import is_refs, read_refs
from rapidflow_web.triggers.judging import Judge
from rapidflow_web.triggers.occurrence import HEADS, TAGS, Occurrence

_USUAL_PAUSE, _LONGEST_PAUSE = 60, 3600
"""Seconds between two looks at a repository that can't be looked at."""
_MOST_AT_A_TURN = 10
"""Refs of which a look makes events before it lets others come in between."""
_BROKEN = "internal error; the server's log has more"
_EARLY = 60_000
"""Milliseconds in which a forge makes the ref of a pull request that it has told of."""
_NEW_COMMITS = ("opened", "synchronize", "reopened")
"""What happens to a pull request when its head changes, or is looked at for the first time."""


@dataclass(slots=True)
class _Look:
    """What a look has found: the refs as they are `seen`, and the changes `left` that have no event yet.

    The next one is the last.
    """

    seen: RemoteRefs | None = None
    had_refs: bool = False
    left: list[Occurrence] = field(default_factory=list[Occurrence])


class NotYet(BuildError):
    """What a delivery tells of is not in the repository, but it may come."""


class Handling:
    """Makes events of what happens at repositories. `cancel` cancels a build."""

    def __init__(
        self,
        judge: Judge,
        mirrors: Mirrors,
        vault: Vault,
        beginning: Beginning,
        cancel: Callable[[int], Awaitable[None]],
    ) -> None:
        self._judge = judge
        self._mirrors = mirrors
        self._vault = vault
        self._beginning = beginning
        self._cancel = cancel
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
                occurrences, default_branch = await occurrences_of(repository, delivery)
            except (Unreadable, BadRequest) as error:
                await deliveries.handled(delivery.id, str(error))
                return
            done = {event.ref for event in await events.of_delivery(delivery.id)}
            remarks: list[str] = []
            if default_branch not in (None, repository.default_branch):
                # What a delivery says is a hint: git is asked.
                account = await account_of(self._vault, repository)
                await self._follow_default(repository, await self._mirrors.refs(repository.url, account))
            for occurrence in occurrences:
                early = abs(now_ms() - delivery.at) < _EARLY  # the clock may have been set back
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
            if not occurrence.replay:
                await self._give_up_approvals(repository, occurrence.ref)
            await self._closed(repository, occurrence)
            return None
        repeats = occurrence.kind != "schedule" and (request is None or request.action in _NEW_COMMITS)
        already = f"{occurrence.ref} was seen at {(last or '')[:12]} before"
        if repeats and not occurrence.replay and last is not None and last == occurrence.after:
            return already
        if occurrence.kind == "delete" and not occurrence.replay:
            if last is None:
                return f"{occurrence.ref} was not there before"
            if occurrence.before not in (None, last) and occurrence.before == await events.value_before(
                repository.id, occurrence.ref
            ):
                # Deliveries overtake each other; it is no new one when a look finds it.
                return f"{occurrence.ref} has another value since"
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
        return None

    async def _give_up_approvals(self, repository: Repository, ref: str) -> None:
        """Cancels builds of a pull request that nobody has approved: nobody will, and they would stay."""
        for job_id in await jobs.unapproved(repository.url, ref):
            with contextlib.suppress(RequestError):  # it has ended by itself
                await self._cancel(job_id)

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
        """Looks at the refs of a repository, and makes events of what has changed, some at a turn.

        Between two turns deliveries are handled, whose refs the look leaves to them. Raises `BuildError`
        where that can't be done; when it is tried again is stored.
        """
        look = _Look()
        while not await self._turn(repository.id, look):
            pass

    async def _turn(self, repository_id: int, look: _Look) -> bool:
        """Makes events of some refs that have changed. Whether that is all."""
        async with self.lock(repository_id):
            repository, now = await repositories.get(repository_id), now_ms()
            if repository is None:
                return True  # it was removed meanwhile
            try:
                if not await self._look(repository, look):
                    return False
            except Exception as error:
                said = str(error) if isinstance(error, RapidFlowError) else _BROKEN
                failures = repository.poll_failures + 1
                await repositories.update(
                    repository.id, polled_at=now, poll_failures=failures, poll_error=said,
                    next_poll_at=_soon(now, pause_after(failures, repository.poll)),
                )  # fmt: skip
                raise
            await repositories.update(
                repository.id, polled_at=now, poll_failures=0, poll_error=None,
                next_poll_at=None if repository.poll is None else _soon(now, repository.poll),
            )  # fmt: skip
            return True

    async def _look(self, repository: Repository, look: _Look) -> bool:
        if look.seen is None:
            known = await repositories.refs_of(repository.id)
            look.seen = await self._mirrors.refs(repository.url, await account_of(self._vault, repository))
            await self._follow_default(repository, look.seen)
            look.had_refs = bool(known)
            # Others decide how many there are.
            look.left = (await asyncio.to_thread(changes, known, look.seen.values))[::-1]
        for _ in range(min(_MOST_AT_A_TURN, len(look.left))):
            change = look.left.pop()
            # Where it is another one, somebody else has told of the ref since the look began.
            if await repositories.value_of(repository.id, change.ref) == change.before:
                await self.happened(repository, change)
        if look.left:
            return False
        if not look.seen.values and look.had_refs:
            raise BuildError("the repository has no branch any more")
        return True

    async def _follow_default(self, repository: Repository, seen: RemoteRefs) -> None:
        """Has the pipelines be those of the default branch, where that is another one now."""
        default = seen.default_branch
        if default in (None, repository.default_branch) or f"{HEADS}{default}" not in seen.values:
            return
        files = await self._judge.definitions_of(repository, default)
        await _follow(repository, default, files)


@uncancelled
async def _follow(repository: Repository, default: str, files: Sequence[DefinitionFile]) -> None:
    async with in_transaction():
        await repositories.update(repository.id, default_branch=default)
        await sync.apply(repository, files, whole=True)
    repository.default_branch = default


def pause_after(failures: int, usual: int | None) -> int:
    """Seconds until a repository is looked at again after so many failures in a row.

    `usual` is how often it is looked at otherwise. It doubles, up to an hour; what is looked at less often
    keeps its pace.
    """
    usual = usual or _USUAL_PAUSE
    return max(usual, min(usual * 2 ** min(failures, 10), _LONGEST_PAUSE))


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


async def occurrences_of(
    repository: Repository, delivery: Delivery
) -> tuple[Sequence[Occurrence], str | None]:
    """What a delivery says, and what it says of the default branch. Raises `Unreadable`, `BadRequest`."""
    replay, body = delivery.replay_of is not None, delivery.body or b""
    if is_refs(delivery):
        return [
            Occurrence(
                "delete" if new is None else "push" if ref.startswith(HEADS) else "tag",
                "push", ref, old, new, delivery_id=delivery.id, replay=replay,
            )
            for old, new, ref in read_refs(body)
            if ref.startswith((HEADS, TAGS))
        ], None  # fmt: skip
    read = await asyncio.to_thread(forges.read, delivery.headers, body)
    found = [Occurrence.of(change, delivery.id, "webhook", replay=replay) for change in read.changes]
    return found, read.default_branch
