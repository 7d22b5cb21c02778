"""Commit statuses: from what happens to builds to what forges show at their commits."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import cast

from rapidflow_web import metrics
from rapidflow_web.db import jobs, outbox, statuses
from rapidflow_web.db.database import now_ms
from rapidflow_web.db.models import Job
from rapidflow_web.db.trigger_models import CommitStatus, Repository
from rapidflow_web.errors import RapidFlowError
from rapidflow_web.forges.base import Api, ForgeError, State, api_for
from rapidflow_web.notify.retries import next_try
from rapidflow_web.notify.words import lasted, one_line

_log = logging.getLogger(__name__)

LISTENER = "statuses"
_DESCRIPTION = 140
"""Characters, which is what GitHub shows."""
_LONGEST_CALL = 60.0
"""Seconds."""
_OF_THE_TOKEN = (401, 403)
_OF_THE_COMMIT = (400, 409, 413, 422)
"""What a forge answers that can't show this state at this commit, and never will."""

_STATES = {"failed": "failure"}

TokenOf = Callable[[int], Awaitable[str | None]]
"""Gives the token for the forge of a repository, None where there is none. Raises `RapidFlowError`."""


def state_of(job: Job) -> State:
    """The state in which forges show a build."""
    return cast(State, _STATES.get(job.status, job.status))


def description_of(job: Job) -> str:
    """What forges say beside the state of a build."""
    ran = lasted(job.started_at, job.finished_at)
    if job.status == "pending":
        return "Waits for an approval" if job.approval == "waiting" else "Queued"
    if job.status == "running":
        return "Running"
    if job.status == "success":
        return f"Succeeded in {ran}" if ran is not None else "Succeeded"
    if job.status == "failed":
        return one_line(job.error or "", _DESCRIPTION) or (
            f"Failed after {ran}" if ran is not None else "Failed"
        )
    if job.superseded_by is not None:
        return f"Superseded by build {job.superseded_by}"
    return f"Cancelled after {ran}" if ran is not None else "Cancelled"


class StatusReports:
    """Reads what happens to builds, and stores what forges are to show of them."""

    def __init__(self, token_of: TokenOf) -> None:
        self._token_of = token_of

    async def run(self) -> None:
        """Does so until cancelled."""
        reader = outbox.Reader(LISTENER)
        while True:
            for change in await reader.next():
                await self.note(change.job_id)
                await reader.acknowledge(change)

    async def note(self, job_id: int) -> None:
        """Stores how a build is now, if it is one of a repository whose forge can be told. Safe to repeat."""
        job = await jobs.with_pipeline(job_id)
        if job is None or job.commit is None or job.upload_id is not None:
            return  # a server of an earlier version stored every change of every job
        if (repository := job.pipeline.repository) is None:
            return
        if await self._listens(repository):
            name = job.pipeline.definition.name
            await statuses.report(
                repository.id,
                job.commit,
                statuses.context_of(name),
                state_of(job),
                description_of(job),
                job.id,
                job.pipeline_id,
            )

    async def _listens(self, repository: Repository) -> bool:
        if repository.forge == "git" or repository.deleted_at is not None:
            return False
        try:
            return await self._token_of(repository.id) is not None
        except RapidFlowError:
            return True  # the sender says what is wrong with it


class StatusMessages:
    """What a `Sender` sends to forges. A lane is the id of a repository. `url` is that of the server."""

    def __init__(self, token_of: TokenOf, url: str) -> None:
        self._token_of = token_of
        self._url = url

    async def lanes(self, now: int) -> Sequence[int]:
        return await statuses.repositories_due(now)

    async def next_after(self, now: int) -> int | None:
        return await statuses.next_after(now)

    async def clock_was_ahead(self, now: int, *, everything: bool) -> None:
        await statuses.clock_was_ahead(now, everything=everything)

    async def send_next(self, lane: int) -> bool:
        status = await statuses.due(lane, now_ms())
        if status is None:
            return False
        try:
            api = await self._api_of(status.repository)
            async with asyncio.timeout(_LONGEST_CALL):
                await api.set_status(
                    status.commit,
                    status.context,
                    cast(State, status.state),
                    status.description,
                    self._url_of(status),
                )
        except ForgeError as error:
            await self._failed(status, error)
        except TimeoutError:
            await self._failed(status, ForgeError("the forge does not answer; it is asked again"))
        except RapidFlowError as error:  # of the token
            await self._failed(status, ForgeError(str(error), 401, permanent=True))
        except Exception as error:  # of ours: it must not hold the lane
            _log.exception("the status of job %s could not be sent", status.job_id)
            await self._failed(status, ForgeError(f"the server failed to send it: {type(error).__name__}"))
        else:
            # Not before the forge answered: whoever is killed between sends it once more.
            await statuses.sent(status.id, status.serial)
            metrics.SENT.labels("status", "sent").inc()
        return True

    async def _api_of(self, repository: Repository) -> Api:
        token = await self._token_of(repository.id)
        api = api_for(repository.forge, repository.url, token) if token is not None else None
        if api is None:
            raise ForgeError(
                "there is no token for the forge; store one with the repository", 401, permanent=True
            )
        return api

    async def _failed(self, status: CommitStatus, error: ForgeError) -> None:
        now = now_ms()
        not_before = None if error.retry_at is None else int(error.retry_at * 1000)
        if error.permanent and error.status in _OF_THE_COMMIT:
            again = None
        else:
            again = next_try(
                status.attempts + 1,
                status.changed_at,
                now,
                not_before=not_before,
                permanent=error.permanent,
            )
        metrics.SENT.labels("status", "failed" if again is not None else "given_up").inc()
        _log.warning(
            "the forge of repository %d was not told that %s is %s at %s: %s%s",
            status.repository_id,
            status.context,
            status.state,
            status.commit[:12],
            error,
            "" if again is not None else "; given up",
        )
        if again is not None and (not error.permanent or error.status in _OF_THE_TOKEN):
            # It is the forge or the token, and so would be the next. First, so that a server that is killed
            # in between keeps to the forge's limits.
            await statuses.pause(status.repository_id, again)
        await statuses.failed(status.id, status.serial, one_line(str(error), 500), again)

    def _url_of(self, status: CommitStatus) -> str:
        if status.job_id is not None:
            return f"{self._url}/ui/jobs/{status.job_id}"
        return f"{self._url}/ui/pipelines/{status.pipeline_id}"
