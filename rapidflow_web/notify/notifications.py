"""Notifications: from the ends of builds to mails and webhooks that pipelines ask for under `notify`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rapidflow_web import metrics
from rapidflow_web.db import jobs, notifications, outbox
from rapidflow_web.db.database import now_ms
from rapidflow_web.db.models import Job
from rapidflow_web.db.outbox import Change
from rapidflow_web.db.trigger_models import Notification
from rapidflow_web.errors import RapidFlowError, RequestError
from rapidflow_web.notify import mail, posts
from rapidflow_web.notify.news import News
from rapidflow_web.notify.occasions import occasion
from rapidflow_web.notify.outcome import NotTaken
from rapidflow_web.notify.retries import next_try
from rapidflow_web.notify.words import one_line
from rapidflow_web.pipeline import parser
from rapidflow_web.pipeline.triggers import NotifyTarget
from rapidflow_web.secrets.vault import Vault
from rapidflow_web.settings import Settings

_log = logging.getLogger(__name__)

LISTENER = "notifications"


class Notifications:
    """Reads the ends of builds, and stores who is to be told of them; then calls `wake`."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    async def run(self) -> None:
        """Does so until cancelled."""
        reader = outbox.Reader(LISTENER)
        while True:
            for change in await reader.next():
                await self.note(change)

    async def note(self, change: Change) -> None:
        """Stores the messages of a change of a status, and acknowledges it."""
        new = await self._messages(change)
        await notifications.store(change, new)
        if new:
            self._wake()

    async def _messages(self, change: Change) -> list[Notification]:
        # A server of an earlier version stored every change of every job.
        if change.status not in jobs.FINISHED:
            return []
        job = await jobs.with_pipeline(change.job_id)
        if job is None or job.untrusted or job.upload_id is not None:
            return []
        targets = await asyncio.to_thread(_targets, job)
        before = await notifications.status_before(job) if targets else None
        now = now_ms()
        found: list[Notification] = []
        for target in targets:
            reason = occasion(change.status, before, target.when)
            if reason is not None:
                found.append(
                    Notification(
                        job_id=job.id,
                        target={"kind": target.kind, "address": target.address},
                        lane=_lane(job.pipeline_id, target),
                        occasion=reason,
                        created_at=now,
                        next_at=now,
                    )
                )
        return found


def _targets(job: Job) -> Sequence[NotifyTarget]:
    try:
        return parser.parse_stored(job.definition.config, job.definition.name).notify
    except RequestError:
        return ()  # an earlier version took it, and knew no `notify`


def _lane(pipeline_id: int, target: NotifyTarget) -> str:
    # A secret of the same name may be another in another pipeline.
    return target.address if target.kind == "mail" else f"{target.kind}:{pipeline_id}:{target.address}"


class NotificationMessages:
    """What a `Sender` sends to people and programs. A lane is a receiver.

    `as_json` gives a job as the API shows it.
    """

    def __init__(
        self,
        settings: Settings,
        vault: Vault,
        as_json: Callable[[Job], Mapping[str, Any]],
    ) -> None:
        self._settings = settings
        self._vault = vault
        self._as_json = as_json

    async def lanes(self, now: int) -> Sequence[str]:
        return await notifications.lanes_due(now)

    async def next_after(self, now: int) -> int | None:
        return await notifications.next_after(now)

    async def clock_was_ahead(self, now: int, *, everything: bool) -> None:
        await notifications.clock_was_ahead(now, everything=everything)

    async def send_next(self, lane: str) -> bool:
        row = await notifications.due(lane, now_ms())
        if row is None:
            return False
        try:
            await self._send(row)
        except NotTaken as error:
            await self._failed(row, error)
        except RapidFlowError as error:  # of the secret
            await self._failed(row, NotTaken(str(error), permanent=True))
        except Exception as error:  # of ours: it must not hold the lane
            _log.exception("a notification of job %d could not be sent", row.job_id)
            await self._failed(row, NotTaken(f"the server failed to send it: {type(error).__name__}"))
        else:
            # Not before it was taken: whoever is killed between sends it once more, under the same id.
            await notifications.sent(row.id)
            metrics.SENT.labels("notification", "sent").inc()
        return True

    async def _send(self, row: Notification) -> None:
        news = News.of(row.job, row.occasion, f"{self._settings.url}/ui/jobs/{row.job_id}")
        kind, name = str(row.target["kind"]), str(row.target["address"])
        key = f"rapidflow-{row.id}-{row.created_at}"
        if kind == "mail":
            server, sender = self._settings.smtp_url, self._settings.mail_from
            if server is None or sender is None:
                raise NotTaken(
                    "no mail server is set; set RAPIDFLOW_SMTP_URL and RAPIDFLOW_MAIL_FROM", hopeless=True
                )
            await mail.send(mail.message(news, sender, name, key, row.created_at), sender, name, server)
            return
        address = await self._address(row.job, name)
        if kind == "webhook":
            post = posts.webhook(address, name, news, self._as_json(row.job), key, int(time.time()))
        elif kind == "slack":
            post = posts.slack(address, name, news)
        else:
            post = posts.ntfy(address, name, news)
        await posts.send(post, name)

    async def _address(self, job: Job, name: str) -> str:
        """The value of a secret that the pipeline of a job may use. Raises `RapidFlowError`."""
        repository = job.pipeline.repository
        granted = repository.secrets if repository is not None else None
        return (await self._vault.of_build(job.pipeline_id, [name], granted))[name]

    async def _failed(self, row: Notification, error: NotTaken) -> None:
        again = None
        if not error.hopeless:
            again = next_try(
                row.attempts + 1,
                row.created_at,
                now_ms(),
                not_before=error.not_before,
                permanent=error.permanent,
            )
        metrics.SENT.labels("notification", "failed" if again is not None else "given_up").inc()
        words = one_line(str(error), 500)
        _log.warning(
            "a notification of job %d was not taken: %s%s",
            row.job_id,
            words,
            "" if again is not None else "; given up",
        )
        await notifications.failed(row.id, words, again)
