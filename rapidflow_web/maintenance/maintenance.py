"""Compresses logs that nobody writes any more, packs mirrors, and removes what is not kept."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice

from rapidflow_web.builds.health import Health
from rapidflow_web.builds.preparation import Tools
from rapidflow_web.builds.supervisor import Supervisor
from rapidflow_web.db import audit, deliveries, events, images, jobs, notifications, retention, statuses
from rapidflow_web.db.database import now_ms
from rapidflow_web.errors import RapidFlowError
from rapidflow_web.executors.base import StoredImages
from rapidflow_web.logs.log import LogStore
from rapidflow_web.maintenance.backup_file import remove_left_over
from rapidflow_web.maintenance.removing import Removing
from rapidflow_web.maintenance.retention import Expired, Rules, expired
from rapidflow_web.server_log import about
from rapidflow_web.source.mirror_folders import MirrorSize
from rapidflow_web.triggers.uploads import Uploads

_log = logging.getLogger(__name__)

_ROUND_SECONDS = 60.0
_ROUNDS_PER_PRUNE = 60
_COMPRESSED_AFTER = 60_000
"""Milliseconds after the end of a build, in which most people look at its log."""
_BATCH = 100
_CLOCK_JUMP = 600.0
"""Seconds."""
_AUDIT_KEPT = _EVENTS_KEPT = 365 * 24 * 3600 * 1000
"""Milliseconds."""
_MESSAGES_KEPT = 30 * 24 * 3600 * 1000
"""Milliseconds, for commit statuses and notifications that were sent or given up."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed, or would be. Sizes are in bytes."""

    builds: list[Expired] = field(default_factory=list[Expired])
    mirrors: list[MirrorSize] = field(default_factory=list[MirrorSize])
    images: list[tuple[str, int]] = field(default_factory=list[tuple[str, int]])


class Maintenance:
    """`run` is its life; `prune` is also for everybody.

    `forget` is told of each job that is removed, before and after its log is deleted.
    """

    def __init__(
        self,
        tools: Tools,
        supervisor: Supervisor,
        health: Health,
        logs: LogStore,
        uploads: Uploads,
        forget: Callable[[int], None],
    ) -> None:
        self._tools = tools
        self._supervisor = supervisor
        self._health = health
        self._logs = logs
        self._uploads = uploads
        self._forget = forget
        self._changing = asyncio.Lock()
        self._removing = Removing(tools.settings.data / "removing.json")
        self._clock = _Clock()
        self._uncompressible: set[int] = set()
        """Jobs whose logs could not be compressed, which is said once."""

    async def run(self) -> None:
        """Looks after what there is, until cancelled."""
        rounds = 0
        while True:
            work: list[Callable[[], Awaitable[object]]] = []
            if not rounds:
                work.append(self._clear_away)
            work += [self.compress_finished_logs, self._tools.mirrors.tidy_up]
            # Not at once: whoever has set a rule wrongly has a minute.
            if rounds % _ROUNDS_PER_PRUNE == 1 and not self._clock.jumped():
                work.append(self.prune)
            for one in work:
                # What fails, each time perhaps, keeps nothing else from being done.
                try:
                    await one()
                except Exception:
                    _log.exception("the maintenance failed; it is tried again")
            rounds += 1
            await asyncio.sleep(_ROUND_SECONDS)

    async def _clear_away(self) -> None:
        """Removes what an earlier server or a backup was killed over."""
        async with self._changing:
            for job_id in self._removing.begun():
                if await jobs.get(job_id) is None:
                    await self._delete_logs(job_id)
            self._removing.end()
        await asyncio.to_thread(remove_left_over, self._tools.settings.data)

    async def compress_finished_logs(self) -> int:
        """Compresses the logs of builds that ended a minute ago or earlier; says how many.

        Of many it does some and leaves the rest to the next rounds, for builds want the machine, too.
        """
        count, last, until = 0, 0, time.monotonic() + _ROUND_SECONDS / 2
        while batch := await retention.uncompressed_logs(now_ms() - _COMPRESSED_AFTER, last, _BATCH):
            for job_id in batch:
                if time.monotonic() > until:
                    return count
                # What is being compressed must not be removed meanwhile.
                with about(job_id):
                    async with self._changing:
                        count += await self._compress(job_id)
            last = batch[-1]
        return count

    async def _compress(self, job_id: int) -> bool:
        try:
            size = await asyncio.to_thread(self._logs.compress, job_id)
        except OSError as error:
            # On a full disk, or in need of a repair: tried again in the next round.
            if job_id not in self._uncompressible:
                _log.warning("the log can't be compressed: %s", error)
            self._uncompressible.add(job_id)
            return False
        self._uncompressible.discard(job_id)
        await jobs.update(job_id, stored_size=size)
        return True

    async def prune(self, *, dry_run: bool = False) -> Pruned:
        """Removes what the settings do not keep, or with `dry_run` only says what that is."""
        try:
            return await self._prune(dry_run)
        finally:
            if not dry_run:
                # Whatever failed before: they may be what fills the disk.
                await self._uploads.forget()

    async def _prune(self, dry_run: bool) -> Pruned:
        async with self._changing:
            pruned = Pruned(
                await self._prune_builds(dry_run),
                await self._prune_mirrors(dry_run),
                await self._prune_images(dry_run),
            )
        if not dry_run:
            _say(pruned)
            await audit.forget(now_ms() - _AUDIT_KEPT)
            await statuses.forget(now_ms() - _MESSAGES_KEPT)
            await notifications.forget(now_ms() - _MESSAGES_KEPT)
            await deliveries.prune(now_ms())
            await events.forget(now_ms() - _EVENTS_KEPT)
        return pruned

    async def _prune_builds(self, dry_run: bool) -> list[Expired]:
        # First all of them, then the removal: what is removed must not change what is found.
        found = [one async for one in expired(Rules.of(self._tools.settings), now_ms())]
        remaining = iter(found)
        while not dry_run and (batch := [one.build.id for one in islice(remaining, _BATCH)]):
            batch = await retention.with_parts(batch)
            await asyncio.to_thread(self._removing.begin, batch)
            # The rows first: a log without a build is only room, a build without its log would be a riddle.
            await retention.delete(batch)
            for job_id in batch:
                self._forget(job_id)
                await self._delete_logs(job_id)
                self._forget(job_id)  # whoever read the log meanwhile
            await asyncio.to_thread(self._removing.end)
        return found

    async def _delete_logs(self, job_id: int) -> None:
        try:
            await asyncio.to_thread(self._logs.delete, job_id)
        except OSError as error:
            # Those of the others are to go all the same.
            _log.warning(
                "the log of job %s, which is removed, can't be removed (%s); run 'rapidflow doctor --fix'",
                job_id,
                error,
            )

    async def _prune_mirrors(self, dry_run: bool) -> list[MirrorSize]:
        most = self._tools.settings.keep_mirrors
        found = await self._tools.mirrors.unused(most) if most is not None else []
        for mirror in found if not dry_run else ():
            await self._tools.mirrors.remove(mirror.path)
        return found

    async def _prune_images(self, dry_run: bool) -> list[tuple[str, int]]:
        most = self._tools.settings.keep_images
        present = self._tools.executor.images
        if most is None or present is None or self._health.engine_problem is not None:
            return []
        try:
            return await self._unused_images(present, most, dry_run)
        except RapidFlowError as error:
            _log.warning("%s", error)
            return []

    async def _unused_images(self, present: StoredImages, most: int, dry_run: bool) -> list[tuple[str, int]]:
        used, self._supervisor.images_used = self._supervisor.images_used, {}
        for name, at in used.items():
            await images.used(name, at)
        sizes: dict[str, int] = {}
        for name in await images.longest_unused():
            if (size := await present.size(name)) is not None:
                sizes[name] = size
            elif not dry_run:
                await images.forget(name)
        excess = sum(sizes.values()) - most
        found: list[tuple[str, int]] = []
        for name, size in sizes.items():
            if excess <= 0:
                break
            # Looked at just before: a build may have begun meanwhile.
            if name in self._supervisor.images_in_use() or not (dry_run or await present.remove(name)):
                continue
            if not dry_run:
                await images.forget(name)
            found.append((name, size))
            excess -= size
        return found


class _Clock:
    """Tells when the time of day has jumped: no build is too old because a clock is wrong for a while."""

    def __init__(self) -> None:
        self._ahead = time.time() - time.monotonic()

    def jumped(self) -> bool:
        """Whether it jumped since the last call."""
        before, self._ahead = self._ahead, time.time() - time.monotonic()
        if abs(self._ahead - before) < _CLOCK_JUMP:
            return False
        _log.warning("the clock jumped by %d s; nothing is removed for an hour", round(self._ahead - before))
        return True


def _say(pruned: Pruned) -> None:
    counts = _counts(("build", pruned.builds), ("mirror", pruned.mirrors), ("image", pruned.images))
    if counts:
        _log.info("removed %s that the settings do not keep", counts)


def _counts(*kinds: tuple[str, Sequence[object]]) -> str:
    return ", ".join(f"{len(found)} {kind}{'s' * (len(found) != 1)}" for kind, found in kinds if found)
