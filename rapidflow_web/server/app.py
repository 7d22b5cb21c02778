"""The composition root: everything concrete is built here, and nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import os
import signal
from collections.abc import AsyncGenerator, Callable, Hashable
from typing import TYPE_CHECKING, Any

from quart import Quart, Request
from quart.routing import QuartRule
from quart.typing import ResponseTypes

from rapidflow_web import __version__, pages
from rapidflow_web.accounts.authentication import Access
from rapidflow_web.accounts.changes import AccountChanges
from rapidflow_web.api import (
    badges,
    hooks,
    jobs,
    pipelines,
    repositories,
    representations,
    secrets,
    stream,
    system,
)
from rapidflow_web.api import users as user_routes
from rapidflow_web.api.openapi import Documentation, Provider
from rapidflow_web.builds.beginning import Beginning
from rapidflow_web.builds.cluster_queue import ClusterQueue
from rapidflow_web.builds.comparing import Comparing
from rapidflow_web.builds.ending import Ending
from rapidflow_web.builds.failures import Failures
from rapidflow_web.builds.health import Health
from rapidflow_web.builds.leads import Leads
from rapidflow_web.builds.preparation import Tools
from rapidflow_web.builds.queue import Queue
from rapidflow_web.builds.service import Service
from rapidflow_web.builds.supervisor import Supervisor
from rapidflow_web.data_folder import DataFolder
from rapidflow_web.db import outbox, ownership, users
from rapidflow_web.db.database import close_database, named, open_database, sqlite_url
from rapidflow_web.errors import SettingsError
from rapidflow_web.executors.base import Executor
from rapidflow_web.executors.docker.executor import DockerExecutor
from rapidflow_web.executors.process.executor import ProcessExecutor
from rapidflow_web.logs.log import LogStore
from rapidflow_web.logs.outlines import Outlines
from rapidflow_web.maintenance.clone_passwords import take_out_passwords
from rapidflow_web.maintenance.maintenance import Maintenance
from rapidflow_web.notify.service import LISTENERS, Notifying
from rapidflow_web.secrets.changes import SecretChanges
from rapidflow_web.secrets.keys import Keys
from rapidflow_web.secrets.vault import Vault
from rapidflow_web.server import connections, loop_guard
from rapidflow_web.settings import Settings
from rapidflow_web.source.git import end_strays
from rapidflow_web.source.mirrors import Mirrors
from rapidflow_web.source.uploads import UploadedTrees
from rapidflow_web.triggers.triggers import Triggers
from rapidflow_web.web import assets, errors, gate, prefix, route_roles, security_headers
from rapidflow_web.web.disconnect import finish_after_disconnect
from rapidflow_web.web.large_deliveries import LargeDeliveries
from rapidflow_web.web.response_cache import CachedResponses, ResponseCache
from rapidflow_web.web.services import EXTENSION, Services
from rapidflow_web.web.static_files import StaticFiles
from rapidflow_web.web.streaming import OpenStreams
from rapidflow_web.web.templates import PlainEnvironment

if TYPE_CHECKING:
    from rapidflow_web.executors.cluster.inventory import Inventory

_log = logging.getLogger(__name__)

_PATIENCE = 1.0
"""Seconds that a request which was given up has to come to a good end, before a server that ends goes on."""

_LONGEST_END = 0.7
"""Seconds after which a server that ends waits no more for what an engine or a disk that hangs holds up."""


class _Rule(QuartRule):
    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        # At the start werkzeug compiles what builds the URLs of every route, in 0.1 s, and here none is used.
        # It has no public way to leave that out.
        compiled = functools.cache(functools.partial(super()._compile_builder, append_unknown))

        def build(rule: QuartRule, /, **values: Any) -> tuple[str, str]:
            return compiled()(rule, **values)

        return build


class _App(Quart):
    jinja_environment = PlainEnvironment
    url_rule_class = _Rule

    async def handle_request(self, request: Request) -> ResponseTypes:
        # A client that goes away cancels the handler, in whatever transaction it is; the body that is
        # streamed afterwards is cancelled all the same.
        return await finish_after_disconnect(super().handle_request(request), _PATIENCE)


def create_app(settings: Settings) -> Quart:
    """The server as an ASGI app. Raises `SettingsError` where the data folder can't be used."""
    folders = DataFolder(settings.data)
    executor = executor_of(settings, folders)
    vault = Vault(Keys(settings.data, settings.secrets_key))
    tools = Tools(
        settings=settings,
        executor=executor,
        mirrors=Mirrors(folders.mirrors, settings.file_roots, settings.fetch_timeout, settings.source_hosts),
        uploads=UploadedTrees(
            folders.uploads, settings.upload_limit, settings.fetch_timeout, settings.source_hosts
        ),
        work=folders.work,
        vault=vault,
        marker_key=folders.key(),
    )
    logs = LogStore(folders.logs)
    failures = Failures(logs)
    ending = Ending(vault, logs, settings.data / "strays", failures.note)
    health = Health(executor, settings.data)
    single = executor.nodes is None
    queue = Queue(settings.concurrency, health) if single else ClusterQueue(executor, health)
    leads = Leads(tools, logs, ending, queue)

    def changed(job_id: int | None) -> None:
        queue.wake()
        leads.changed(job_id)

    outbox.register(LISTENERS, changed)
    supervisor = Supervisor(tools, logs, ending, queue, health)
    cache = ResponseCache()
    notifying = Notifying(settings, vault, representations.job)
    access = Access(settings)
    streams = OpenStreams(access)

    app = _App(
        "rapidflow_web",
        template_folder=str(assets.folder("templates")),
        static_folder=str(assets.folder("static")),
    )
    app.config["MAX_CONTENT_LENGTH"] = settings.body_limit
    app.config["BODY_TIMEOUT"] = app.config["RESPONSE_TIMEOUT"] = connections.PATIENCE
    builds = Service(supervisor, leads, ending, vault, settings)
    leads.cancel_by(builds.cancel_part)
    beginning = Beginning(settings)
    triggers = Triggers(settings, tools.mirrors, tools.uploads, vault, beginning, ending, builds.cancel)
    beginning.on_unread(triggers.worker.wake)
    maintenance = Maintenance(tools, supervisor, health, logs, triggers.uploads, cache.evict)
    accounts = AccountChanges(
        access,
        review=streams.review,
        audit=gate.audit_subject,
        needs_users=not settings.bind.is_loopback,
        by_password=settings.login == "users",
        removed=triggers.uploads.forget,
    )
    app.extensions[EXTENSION] = Services(
        settings,
        builds,
        beginning,
        triggers,
        queue,
        supervisor,
        health,
        executor,
        logs,
        streams,
        maintenance,
        access,
        accounts,
        SecretChanges(vault, builds.put_clone_password),
        Comparing(tools.mirrors, vault, logs),
        Outlines(),
    )

    def state_of_pages() -> Hashable:
        # Notices that all pages have, and what the dashboard says of the executor.
        return (
            executor.warning, executor.parked, health.engine_problem, supervisor.disk_problem, queue.draining,
            *((one.node.name, one.node.problem, one.node.slots, one.taken) for one in queue.nodes or ()),
        )  # fmt: skip

    patience = connections.PATIENCE
    cached = CachedResponses(app.asgi_app, cache, access, settings, state_of_pages, patience)
    app.asgi_app = StaticFiles(LargeDeliveries(cached), access, patience)
    errors.install(app, settings.hook_body_limit, settings.upload_limit)
    gate.install(app)
    security_headers.install(app)
    Documentation(
        app,
        openapi_provider_class=Provider,
        info={"title": "RapidFlow Web", "version": __version__},
        swagger_ui_path=None,
        redoc_ui_path=None,
        scalar_ui_path=None,
        conversion_preference="pydantic",
    )
    for module in (
        pipelines, jobs, badges, stream, system, user_routes, secrets, repositories, hooks, pages,
    ):  # fmt: skip
        app.register_blueprint(module.blueprint)
    route_roles.check(app)
    prefix.install(app)

    @app.while_serving
    async def lifespan() -> AsyncGenerator[None, None]:  # pyright: ignore[reportUnusedFunction]
        async with contextlib.AsyncExitStack() as opened:
            url = settings.database_url or sqlite_url(folders.database)
            await opened.enter_async_context(ownership.owned(url, settings.data, _end))
            await open_database(url, settings.data)
            opened.push_async_callback(close_database)
            with named(url):
                await _refuse_to_be_open(settings)
                await take_out_passwords(vault, tools.mirrors)
                opened.push_async_callback(executor.close)
                # Before builds are begun anew where these were at work.
                await asyncio.to_thread(end_strays, settings.data)
                await asyncio.to_thread(tools.mirrors.clear_away)
                await triggers.uploads.clear_away()
            running = asyncio.create_task(supervisor.run())
            running.add_done_callback(_say_why_it_ended)
            opened.push_async_callback(_cancel, running)
            leading = asyncio.create_task(leads.run())
            leading.add_done_callback(_say_why_it_ended)
            opened.push_async_callback(_cancel, leading)
            opened.push_async_callback(_cancel, asyncio.create_task(maintenance.run()))
            opened.push_async_callback(_cancel, asyncio.create_task(failures.run()))
            opened.push_async_callback(_cancel, asyncio.create_task(notifying.run()))
            opened.push_async_callback(_cancel, asyncio.create_task(triggers.worker.run()))
            # What is there by now stays. Each look through all of it for garbage would hold the loop; one
            # before this would delay the start by 65 ms, and find next to none.
            gc.freeze()
            gc.enable()
            opened.push_async_callback(_cancel, asyncio.create_task(loop_guard.watch()))
            opened.push_async_callback(_cancel, asyncio.create_task(streams.keep_reviewing()))
            opened.callback(streams.cut)
            yield

    return app


async def _refuse_to_be_open(settings: Settings) -> None:
    if settings.login == "users" and not settings.bind.is_loopback and not await users.any_exist():
        raise SettingsError(
            f"RAPIDFLOW_BIND is '{settings.bind}', which others can reach, and there are no users. "
            "Add the first with 'rapidflow user add NAME --role admin' and the same settings "
            f"(RAPIDFLOW_DATA is '{settings.data}'), or set RAPIDFLOW_LOGIN=proxy where a proxy in front "
            "does the login."
        )


def executor_of(settings: Settings, folders: DataFolder) -> Executor:
    """The executor that the settings choose."""
    if settings.executor == "process":
        return ProcessExecutor(folders.work)
    make = functools.partial(
        DockerExecutor,
        folders.installation(),
        settings.engine_timeout,
        settings.pull_timeout,
        settings.network,
        settings.dns,
        settings.parked,
    )
    if (inventory := _inventory_of(settings, folders)) is None:
        return make()
    from rapidflow_web.executors.cluster.executor import ClusterExecutor

    return ClusterExecutor(inventory, make, settings.concurrency)


def _inventory_of(settings: Settings, folders: DataFolder) -> Inventory | None:
    """The list of the machines that the settings choose; None for a single one."""
    # Imported here, because most servers have a single machine.
    if settings.engines:
        from rapidflow_web.executors.cluster.engine_list import EngineList

        return EngineList(settings.engines)
    if settings.swarm:
        from rapidflow_web.executors.cluster.manager import Manager
        from rapidflow_web.executors.cluster.swarm import SwarmInventory

        installation = folders.installation()
        return SwarmInventory(Manager(settings.swarm, installation), installation, settings.data)
    return None


def _end() -> None:
    """Ends a server whose database another one has by now."""
    _log.critical("another server uses the database; this one ends")
    os.kill(os.getpid(), signal.SIGTERM)


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task}, timeout=_LONGEST_END)


def _say_why_it_ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _log.critical("no more builds are run; restart the server", exc_info=error)
