"""The public face of this room: what routes and pages ask of it."""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable

from rapidflow_web.builds.beginning import Beginning
from rapidflow_web.builds.ending import Ending
from rapidflow_web.db import jobs, outbox, parts, repositories
from rapidflow_web.db.models import Job
from rapidflow_web.errors import BadRequest, BuildError, Conflict
from rapidflow_web.forges.base import Unreadable
from rapidflow_web.progress import Far
from rapidflow_web.secrets.vault import Vault
from rapidflow_web.settings import Settings
from rapidflow_web.source.mirrors import Mirrors
from rapidflow_web.source.uploads import UploadedTrees
from rapidflow_web.triggers.explaining import Explaining, Explanation
from rapidflow_web.triggers.handling import Handling, occurrences_of
from rapidflow_web.triggers.hooks import Hooks, replayable
from rapidflow_web.triggers.judging import Judge, Judgement
from rapidflow_web.triggers.reading import Reading
from rapidflow_web.triggers.repositories import Repositories
from rapidflow_web.triggers.schedules import Schedules
from rapidflow_web.triggers.uploads import Uploads
from rapidflow_web.triggers.worker import Worker


class Triggers:
    """What starts builds. `cancel` cancels one."""

    def __init__(
        self,
        settings: Settings,
        mirrors: Mirrors,
        trees: UploadedTrees,
        vault: Vault,
        beginning: Beginning,
        ending: Ending,
        cancel: Callable[[int], Awaitable[None]],
    ) -> None:
        self._judge = Judge(settings, mirrors, vault)
        self._cancel = cancel
        handling = Handling(self._judge, mirrors, vault, beginning, cancel)
        self._reading = Reading(settings, mirrors, trees, vault, ending)
        self.worker = Worker(handling, self._reading, Schedules(handling, beginning), cancel)
        self.repositories = Repositories(settings, mirrors, vault, handling.look)
        self.hooks = Hooks(self.repositories, self.worker.wake)
        self.uploads = Uploads(settings, trees)
        self._explaining = Explaining(self._judge, mirrors, vault)

    def fetch_for(self, job_id: int) -> Far | None:
        """How far the fetch is by which the definition of a job is read; None where none is known."""
        return self._reading.fetches.get(job_id)

    async def foresee(self, delivery_id: int) -> list[Judgement]:
        """What a replay of a delivery would mean. Raises `NotFound`, `BadRequest`."""
        delivery = await replayable(delivery_id)
        repository = await repositories.existing(delivery.repository_id)
        delivery.replay_of = delivery.id

        async def judged() -> list[Judgement]:
            every, _ = await occurrences_of(repository, delivery)
            return [await self._judge.judge(repository, one) for one in every]

        try:
            return await self.repositories.waited_for(judged())
        except (BuildError, Unreadable) as error:
            raise BadRequest(str(error)) from None

    async def explain(self, pipeline_id: int, ref: str | None, commit: str | None) -> list[Explanation]:
        """Why a ref or commit was built or not, newest first. Raises `NotFound`, `BadRequest`."""
        return await self.repositories.waited_for(self._explaining.explain(pipeline_id, ref, commit))

    async def approve(self, job_id: int, commit: str) -> Job:
        """Lets a build begin. Raises `NotFound`, and `Conflict` where it does not wait for that commit."""
        await self._check_waiting(job_id, commit, "approve")
        if not await jobs.approve(job_id, commit):
            raise Conflict(f"job {job_id} does not wait for an approval any more")
        outbox.wake()
        return await jobs.existing(job_id)

    async def reject(self, job_id: int, commit: str) -> Job:
        """Ends a build that waits. Raises `NotFound`, `Conflict` where it does not wait for that."""
        await self._check_waiting(job_id, commit, "reject")
        await self._cancel(job_id)
        return await jobs.existing(job_id)

    async def _check_waiting(self, job_id: int, commit: str, command: str) -> None:
        job = await jobs.existing(job_id)
        if job.approval != "waiting" or job.status != "pending":
            rows = [] if job.parts is None else await parts.of_lead(job_id)
            waiting = [row.name for row in rows if row.state == "waits_for_approval"]
            if waiting:
                raise Conflict(
                    f"job {job_id} does not wait for an approval as a whole; name the part that does, as in "
                    f"'rapidflow {command} {job_id} {shlex.quote(waiting[0])}'"
                )
            raise Conflict(f"job {job_id} does not wait for an approval; it is {job.status}")
        if job.commit != commit:
            raise Conflict(
                f"job {job_id} waits for an approval of {job.commit}, not of {commit[:64]}; look at what it "
                "would build now"
            )
