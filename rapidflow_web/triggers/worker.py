"""What goes on in the background: deliveries, looks at repositories, schedules, definitions to be read."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine

from rapidflow_web.db import deliveries, jobs, repositories
from rapidflow_web.db.database import now_ms
from rapidflow_web.errors import RapidFlowError, RequestError
from rapidflow_web.triggers.handling import Handling, NotYet
from rapidflow_web.triggers.reading import Reading
from rapidflow_web.triggers.schedules import Schedules
from rapidflow_web.triggers.slots import Slots

_log = logging.getLogger(__name__)

_TICK_SECONDS = 5.0
_DAY = 24 * 3600 * 1000
_LONGEST_PAUSE = 600.0
_LOOK_AGAIN_SECONDS = 3.0
_BROKEN = "internal error (see the server's log); replay the delivery"


class Worker:
    """Works on what waits. `cancel` cancels a build."""

    def __init__(
        self,
        handling: Handling,
        reading: Reading,
        schedules: Schedules,
        cancel: Callable[[int], Awaitable[None]],
    ) -> None:
        self._handling = handling
        self._reading = reading
        self._schedules = schedules
        self._cancel = cancel
        self._wake = asyncio.Event()
        self._slots = Slots()
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._paused: dict[int, tuple[float, float]] = {}
        """Repositories that could not be reached: until when they are left alone, and the pause, in s."""
        self._failed: dict[int, int] = {}
        """The delivery to each that could not be handled last."""
        self._later: dict[int, float] = {}
        """Deliveries of commits that are not there yet: when they are tried again."""

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    async def run(self) -> None:
        """Works until cancelled. What was begun is begun again by the next server."""
        first = True
        try:
            while True:
                self._wake.clear()
                try:
                    if first:
                        # What kept polls from working may have been mended meanwhile.
                        await repositories.look_again_at_failed(now_ms())
                        first = False
                    await self._look()
                except Exception as error:
                    # Whatever it is, the rest must go on when it is over.
                    _log.warning("what waits at repositories can't be looked up: %s", error)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_TICK_SECONDS):
                        await self._wake.wait()
        finally:
            for task in self._busy.values():
                task.cancel()
            if self._busy:
                await asyncio.wait(self._busy.values())

    async def _look(self) -> None:
        for job_id in await jobs.superseded():
            self._begin(f"cancel {job_id}", self._cancel_superseded(job_id))
        for job_id, repository_id in await jobs.unread():
            self._begin(f"read {job_id}", self._reading.read(job_id), repository_id)
        for repository_id in dict.fromkeys(of for _, of in await self._ready()):
            if self._paused.get(repository_id, (0, 0))[0] <= time.monotonic():
                self._begin(f"deliveries {repository_id}", self._handle(repository_id), repository_id)
        for repository in await repositories.due(now_ms()):
            self._begin(f"look {repository.id}", self._handling.look(repository), repository.id)
        self._begin("schedules", self._run_schedules())

    async def _run_schedules(self) -> None:
        for repository_id, due in (await self._schedules.run_due(now_ms())).items():
            self._begin(f"schedules {repository_id}", self._schedules.start(due), repository_id)

    def _begin(
        self, name: str, work: Coroutine[object, object, None], repository_id: int | None = None
    ) -> None:
        """Begins a piece of work, unless it goes on already; with git, if it has a repository."""
        if name in self._busy:
            work.close()
            return
        task = asyncio.create_task(self._done(name, work, repository_id))
        self._busy[name] = task
        task.add_done_callback(lambda _: self._busy.pop(name, None))

    async def _done(
        self, name: str, work: Coroutine[object, object, None], repository_id: int | None
    ) -> None:
        try:
            if repository_id is None:
                await work
            else:
                async with self._slots.of(repository_id):
                    await work
                # What comes next may have waited for it.
                self._wake.set()
        except RapidFlowError as error:
            _log.info("%s: %s", name, error)
        except Exception:
            _log.exception("%s: unexpected error", name)
        finally:
            work.close()

    async def _ready(self) -> list[tuple[int, int]]:
        """The deliveries that wait, each with its repository, without those that are tried again later."""
        waiting = await deliveries.waiting()
        self._later = {id: self._later[id] for id, _ in waiting if id in self._later}
        return [one for one in waiting if self._later.get(one[0], 0) <= time.monotonic()]

    async def _handle(self, repository_id: int) -> None:
        """Handles the deliveries to a repository, in the order in which they came.

        Nobody can tell whether the repository can't be reached, or git fails at what one delivery names:
        after a failure the next one is tried first.
        """
        waiting = [id for id, of in await self._ready() if of == repository_id]
        # What could not be handled comes last, as it may be that one alone that git fails at.
        failed = self._failed.get(repository_id, 0)
        for delivery_id in sorted(waiting, key=lambda id: (id <= failed, id)):
            delivery = await deliveries.get(delivery_id)
            if delivery is None or delivery.handled_at is not None:
                continue
            try:
                await self._handling.handle(delivery)
            except NotYet as error:
                self._later[delivery.id] = time.monotonic() + _LOOK_AGAIN_SECONDS
                await deliveries.note(delivery.id, f"trying again: {error}")
                continue
            except RapidFlowError as error:
                if delivery.at < now_ms() - _DAY:
                    await deliveries.handled(delivery.id, f"given up after a day: {error}")
                    continue
                pause = min(self._paused.get(repository_id, (0, 1.0))[1] * 2, _LONGEST_PAUSE)
                self._paused[repository_id] = (time.monotonic() + pause, pause)
                self._failed[repository_id] = delivery.id
                await deliveries.note(delivery.id, f"trying again: {error}")
                return
            except Exception:
                _log.exception("delivery %d: unexpected error", delivery.id)
                await deliveries.handled(delivery.id, _BROKEN)
                continue
            self._paused.pop(repository_id, None)

    async def _cancel_superseded(self, job_id: int) -> None:
        with contextlib.suppress(RequestError):  # it has ended by itself
            await self._cancel(job_id)
