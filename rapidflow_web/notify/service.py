"""All of this room at work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from rapidflow_web.db import notifications as stored
from rapidflow_web.db import statuses
from rapidflow_web.db.models import Job
from rapidflow_web.notify import notifications
from rapidflow_web.notify import statuses as status_reports
from rapidflow_web.notify.notifications import NotificationMessages, Notifications
from rapidflow_web.notify.sender import Sender, for_ever
from rapidflow_web.notify.statuses import StatusMessages, StatusReports
from rapidflow_web.secrets.vault import FORGE_TOKEN, Vault
from rapidflow_web.settings import Settings

LISTENERS = {
    status_reports.LISTENER: statuses.SHOWN,
    notifications.LISTENER: stored.WANTED,
}
"""The listeners of `db.outbox`, with the jobs that each is told of."""


class Notifying:
    """Tells forges, people and programs of builds. `run` is its life.

    Its listeners of `db.outbox`, in `LISTENERS`, must be registered before. `as_json` gives a job as the API
    shows it.
    """

    def __init__(self, settings: Settings, vault: Vault, as_json: Callable[[Job], Mapping[str, Any]]) -> None:
        self._vault = vault
        self._statuses = Sender(StatusMessages(self._token_of, settings.url))
        self._notifications = Sender(NotificationMessages(settings, vault, as_json))

    async def _token_of(self, repository_id: int) -> str | None:
        return await self._vault.of_repository(repository_id, FORGE_TOKEN)

    async def run(self) -> None:
        """Does so until cancelled."""
        statuses.wake_on_change(self._statuses.wake)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(for_ever(StatusReports(self._token_of).run, "reporting commit statuses"))
            tasks.create_task(for_ever(self._statuses.run, "sending commit statuses"))
            tasks.create_task(
                for_ever(Notifications(self._notifications.wake).run, "preparing notifications")
            )
            tasks.create_task(for_ever(self._notifications.run, "sending notifications"))
