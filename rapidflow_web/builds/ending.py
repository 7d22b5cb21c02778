"""The one place where a build ends: its status, then the metrics, then its log.

Life: `ended` or `cancelled_before_start` changes the status and stores a row for each listener in one
transaction (see `db.outbox`). The call that made the change counts the build; one that comes later does not.
Then `seal` ends the log and those of services, forgets the masks and stores the log's size, which is the
last thing that happens to a job. Each call is safe to make again: a server that starts finds a job whose log
has no size, and seals it.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from rapidflow_web import metrics
from rapidflow_web.db import job_steps, jobs, parts
from rapidflow_web.logs import stream_text
from rapidflow_web.logs.log import LogStore
from rapidflow_web.logs.writer import LogWriter
from rapidflow_web.secrets.vault import Vault

_log = logging.getLogger(__name__)


class Ending:
    """Ends builds. `strays` is the folder for logs of other jobs that had the same number.

    `failed` is told of each build that failed, once its log is sealed.
    """

    def __init__(
        self, vault: Vault, logs: LogStore, strays: Path, failed: Callable[[int], None] = lambda _: None
    ) -> None:
        self._failed = failed
        self._vault = vault
        self._logs = logs
        self._strays = strays

    async def ended(
        self,
        job_id: int,
        status: str,
        error: str | None = None,
        *,
        writer: LogWriter | None = None,
        last_output: Callable[[], Awaitable[None]] | None = None,
        **fields: Any,
    ) -> None:
        """Ends a running job. `error` says why where it failed, `fields` are further columns of `Job`.

        The log is sealed with `writer`, after `last_output` has written what was held back of the output;
        both are for a build whose execution ends it. Where the job had ended already, that end stays.
        """
        if status == "failed":
            await job_steps.end_running(job_id, "failed")
        end = await jobs.finish(job_id, status, error, **fields)
        if end.changed:
            metrics.BUILDS.labels(end.status).inc()
            _log.info("%s%s", end.status, f": {end.error}" if end.error else "")
        if last_output is not None:
            await last_output()
        await self._seal(job_id, end.status, end.error, writer)

    async def cancelled_before_start(self, job_id: int) -> bool:
        """Cancels a job that waits; False where it does not wait any more."""
        if not await jobs.cancel_pending(job_id):
            return False
        metrics.BUILDS.labels("cancelled").inc()
        await self.seal(job_id)
        return True

    async def failed_before_start(self, job_id: int, error: str) -> bool:
        """Fails a job that waits; False where it does not wait any more."""
        if not await jobs.fail_pending(job_id, error):
            return False
        metrics.BUILDS.labels("failed").inc()
        await self.seal(job_id)
        return True

    async def seal(self, job_id: int) -> None:
        """Ends the log of a job that has ended and has no execution."""
        job = await jobs.get(job_id)
        if job is None:
            return
        if job.started_at is None:
            self.make_room(job_id)
        if job.parts is not None:
            # One that never began, or is not valid any more, had nobody who would have ended them.
            reason = "the build failed" if job.status == "failed" else "the build was cancelled"
            await parts.end_all(job_id, reason)
        await self._seal(job_id, job.status, job.error, None)

    def make_room(self, job_id: int) -> None:
        """Sets the log aside that another job of this number left. For a job that has no log yet."""
        if self._logs.set_aside(job_id, self._strays):
            _log.warning("there was a log of another job of this number; it is in %s now", self._strays)

    async def _seal(self, job_id: int, status: str, error: str | None, writer: LogWriter | None) -> None:
        log = self._logs.open(job_id)
        if not log.sealed:
            writer = writer or self._logs.writer(job_id)
            try:
                await writer.seal(stream_text.final_lines(status, error))
            finally:
                writer.close()  # one that can't be sealed is tried again with another
        # After the build's own: who opens one from now on sees by that that no more comes.
        for service in self._logs.unsealed_services(job_id):
            rest = self._logs.writer(job_id, service=service)
            try:
                await rest.seal_output()
            finally:
                rest.close()
        await self._vault.forget_masks(job_id)
        await jobs.update(job_id, log_size=log.size)
        if status == "failed":
            self._failed(job_id)
