"""Finds where database, files and engine do not agree, and mends what can be mended.

Looks from outside, beside a running server or without one. What a running server mends by itself is left to
it, and so is what belongs to builds that it may have started meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from pathlib import Path

from rapidflow_web.builds import disk
from rapidflow_web.builds.plan import definition_of, following, planned
from rapidflow_web.builds.start_record import StartRecord
from rapidflow_web.data_folder import DataFolder, InUse, check_is_whole
from rapidflow_web.db import job_steps, jobs
from rapidflow_web.db.database import connected, sqlite_path, sqlite_url
from rapidflow_web.db.models import Job
from rapidflow_web.errors import RapidFlowError, SettingsError
from rapidflow_web.executors.base import BuildSpec, Executor
from rapidflow_web.logs.compressed import SUFFIX, damaged_of
from rapidflow_web.logs.log import SERVICE_FILE, LogStore
from rapidflow_web.maintenance.backup_file import left_over
from rapidflow_web.maintenance.finding import Finding
from rapidflow_web.maintenance.log_check import LogCheck
from rapidflow_web.maintenance.state_check import StateCheck, file_findings
from rapidflow_web.progress import Progress
from rapidflow_web.removal import contents, remove_surely
from rapidflow_web.secrets.keys import Keys
from rapidflow_web.secrets.vault import Vault
from rapidflow_web.settings import Settings
from rapidflow_web.source.mirror_folders import is_repository

_LOG_NAME = re.compile(r"([0-9]+)\.(?:log|index)(?:\.zst)?")
_SERVICE_FOLDER = re.compile(r"([0-9]+)\.services")
_GONE = "the container of the build was gone when the installation was repaired"


class Doctor:
    """Examines the installation of `settings`. `server_runs` tells whether a server uses it now."""

    def __init__(
        self, settings: Settings, folders: DataFolder, executor: Executor, server_runs: bool
    ) -> None:
        self._settings = settings
        self._folders = folders
        self._executor = executor
        self._logs = LogStore(folders.logs)
        self._log_check = LogCheck(folders.logs, server_runs)
        self._server_runs = server_runs
        self._vault = Vault(Keys(settings.data, settings.secrets_key))

    async def findings(self, progress: Progress) -> AsyncIterator[Finding]:
        """All that is wrong. `progress` is told."""
        for problem in (self._access(), disk.problem(self._settings.data)):
            if problem is not None:
                yield Finding(problem)
        url = self._settings.database_url or sqlite_url(self._folders.database)
        path = sqlite_path(url)
        progress("the database")
        found = await file_findings(path, self._server_runs) if path is not None and path.exists() else []
        for finding in found:
            yield finding
        if any(finding.mend is None for finding in found):
            return
        async with connected(url):
            if problem := await self._vault.problem():
                yield Finding(problem)
            known = set(await jobs.ids(ended=False))
            checked = self._log_check.findings(progress)
            for findings in (self._jobs(), StateCheck(self._folders.logs).findings(), checked):
                async for finding in findings:
                    yield finding
            progress("files")
            unfinished = {job.id: job.container_id for job in await jobs.unsealed()}
            async for finding in self._files(known):
                yield finding
            progress("the engine")
            async for finding in self._engine(unfinished):
                yield finding

    def _access(self) -> str | None:
        others = self._settings.data.stat().st_mode & 0o077
        if not others:
            return None
        return f"others than the server's user may enter {self._settings.data}; run chmod 700 on it"

    # The database

    async def _jobs(self) -> AsyncIterator[Finding]:
        """Jobs that are not finished, though nothing of them is there any more."""
        if self._server_runs:
            return
        with contextlib.suppress(RapidFlowError):  # what is wrong with the engine is said once
            await self._executor.check()
        for job in await jobs.unsealed():
            if job.status == "running":
                try:
                    running = await self._executor.on(job.node).find(
                        BuildSpec(job.id, job.image, "", self._root(job.id), container_id=job.container_id)
                    )
                except RapidFlowError:
                    continue  # what is wrong with the engine is said once
                if running is None and await self._is_lost(job):
                    yield Finding(
                        f"job {job.id} is running, and its container is gone; "
                        "the server ends it as failed when it starts",
                        self._fails(job),
                    )
            elif job.status != "pending":
                yield Finding(
                    f"the log of job {job.id} has no end",
                    self._log_check.gets_an_end(job.id, job.status, job.error),
                )

    async def _is_lost(self, job: Job) -> bool:
        """Whether a build without its container can neither be begun anew nor be ended as its log says."""
        spans = self._logs.open(job.id).layout.spans
        if not spans:
            return StartRecord(self._root(job.id)).noted
        if spans[-1].exit_code is None:
            return True
        steps = planned(definition_of(job).steps, await job_steps.of_job(job.id))
        number = next((n for n, step in enumerate(steps, 1) if step.id == spans[-1].step_id), 0)
        return following(steps, number, any(span.exit_code for span in spans)) is not None

    def _fails(self, job: Job) -> Callable[[], Awaitable[None]]:
        async def mend() -> None:
            await job_steps.end_running(job.id, "failed")
            end = await jobs.finish(job.id, "failed", _GONE)
            await self._log_check.gets_an_end(job.id, end.status, end.error)()

        return mend

    # Files

    async def _files(self, known: Collection[int]) -> AsyncIterator[Finding]:
        paths = await asyncio.to_thread(self._in_logs)
        # Only now: the server may have started builds since, and a job is there before its log.
        known = {*known, *await jobs.ids(ended=False)}
        if not known and any(path.is_file() for path in paths):
            yield Finding("there are logs, and the database knows no build; restore a backup of the database")
            return
        newest = max(known, default=0)
        # A folder after what is in it: it may be empty once that is mended.
        for path in sorted(paths, key=Path.is_dir):
            if path.is_dir():
                if not self._server_runs and not any(path.iterdir()):
                    yield Finding(f"{path} is an empty folder", _removal(path))
            elif path.name.endswith(f"{SUFFIX}.new"):
                # A server that compresses makes such files.
                if not self._server_runs:
                    yield Finding(f"{path} is left over from a compression", _removal(path))
            elif (job_id := _job_of(path)) is None:
                if not _is_kept(path):
                    yield Finding(f"{path} is nothing of the server's", self._laying_aside(path))
            elif job_id > newest:
                # The database was lost, or is another one: nobody has removed such a job.
                what = f"{path} is the log of a job newer than all in the database"
                yield Finding(what, self._laying_aside(path))
            elif job_id not in known:
                yield Finding(f"{path} is the log of no job", _removal(path))
        if not self._server_runs:
            for path in left_over(self._settings.data):
                yield Finding(f"{path} is left over from a backup", _removal(path))
        for mirror in contents(self._folders.mirrors):
            if mirror.suffix != ".new" and not is_repository(mirror):
                yield Finding(f"the mirror {mirror} is broken", _removal(mirror))

    def _in_logs(self) -> list[Path]:
        found = (path for top in contents(self._folders.logs) for path in (top, *top.glob("**/*")))
        return sorted(found)

    def _laying_aside(self, path: Path) -> Callable[[], Awaitable[None]]:
        def move() -> None:
            # It may be precious to whoever put it there.
            target = self._settings.data / "strays" / path.relative_to(self._folders.logs)
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            while target.exists():
                target = target.with_name(f"{target.name}.again")
            # The folder of the logs may be on another disk.
            try:
                shutil.move(path, target)
            except OSError:
                target.unlink(missing_ok=True)  # a part of it, on a full disk; the file itself is still there
                raise

        return lambda: asyncio.to_thread(move)

    def _root(self, job_id: int) -> Path:
        return self._folders.work / str(job_id)

    # The engine

    async def _engine(self, unfinished: Mapping[int, str | None]) -> AsyncIterator[Finding]:
        try:
            await self._executor.check()
            orphans = [] if self._server_runs else await self._executor.orphans(lambda: unfinished)
        except RapidFlowError as error:
            yield Finding(str(error))
            return
        for node in self._executor.nodes or ():
            if node.problem is not None:
                yield Finding(f"node {node.name} {node.problem}")
        for orphan in orphans:
            yield Finding(f"{orphan} is left over", lambda: self._executor.sweep(lambda: unfinished))
        for path in contents(self._folders.work) if not self._server_runs else ():
            if not (path.name.isdigit() and int(path.name) in unfinished):
                yield Finding(f"the work folder {path} is left over", _removal(path))


async def examine(
    settings: Settings, executor_of: Callable[[DataFolder], Executor], progress: Progress
) -> AsyncIterator[Finding]:
    """All that is wrong with the installation of `settings`; no server can be started meanwhile.

    `progress` is told.

    Raises `RapidFlowError`.
    """
    check_is_whole(settings.data)
    if not (settings.data / "key").exists():
        raise SettingsError(
            f"there is no installation in {settings.data}; set RAPIDFLOW_DATA as for the server."
        )
    folders = DataFolder(settings.data)
    executor = executor_of(folders)
    with contextlib.ExitStack() as stack:
        server_runs = False
        try:
            stack.enter_context(folders.owned())
        except InUse:
            server_runs = True
        try:
            async for finding in Doctor(settings, folders, executor, server_runs).findings(progress):
                yield finding
        finally:
            await executor.close()


def _job_of(path: Path) -> int | None:
    """The job whose log, or that of a service of it, is in a file; None for a file that is no such log."""
    if (folder := _SERVICE_FOLDER.fullmatch(path.parent.name)) is not None:
        file = SERVICE_FILE.fullmatch(path.name)
        return int(folder[1]) if file is not None and file[2] is None else None
    match = _LOG_NAME.fullmatch(path.name)
    return int(match[1]) if match is not None else None


def _is_kept(path: Path) -> bool:
    """Whether a file is what a repair kept of a damaged log."""
    packed = path.with_suffix("")
    return path == damaged_of(packed) and packed.suffix == SUFFIX and _job_of(packed) is not None


def _removal(path: Path) -> Callable[[], Awaitable[None]]:
    return lambda: asyncio.to_thread(remove_surely, path)
