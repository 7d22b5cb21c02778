"""What the routes work with; `server/app.py` builds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from quart import current_app

from rapidflow_web.accounts.authentication import Access
from rapidflow_web.accounts.changes import AccountChanges
from rapidflow_web.builds.beginning import Beginning
from rapidflow_web.builds.comparing import Comparing
from rapidflow_web.builds.health import Health
from rapidflow_web.builds.queue import Queue
from rapidflow_web.builds.service import Service
from rapidflow_web.builds.supervisor import Supervisor
from rapidflow_web.executors.base import Executor
from rapidflow_web.logs.log import LogStore
from rapidflow_web.logs.outlines import Outlines
from rapidflow_web.maintenance.maintenance import Maintenance
from rapidflow_web.secrets.changes import SecretChanges
from rapidflow_web.settings import Settings
from rapidflow_web.triggers.triggers import Triggers
from rapidflow_web.web.streaming import OpenStreams

EXTENSION = "rapidflow"


@dataclass(frozen=True, slots=True)
class Services:
    """The objects that all routes share."""

    settings: Settings
    builds: Service
    beginning: Beginning
    triggers: Triggers
    queue: Queue
    supervisor: Supervisor
    health: Health
    executor: Executor
    logs: LogStore
    streams: OpenStreams
    maintenance: Maintenance
    access: Access
    accounts: AccountChanges
    secrets: SecretChanges
    comparing: Comparing
    outlines: Outlines


def services() -> Services:
    """The services of the app that handles the request."""
    return cast(Services, current_app.extensions[EXTENSION])
