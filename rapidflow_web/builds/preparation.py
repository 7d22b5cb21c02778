"""What comes before the first step: the image, the source, a container whose agent waits for commands."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar, cast

from rapidflow_web.builds import variables
from rapidflow_web.builds.plan import Plan, image_for
from rapidflow_web.builds.timeline import Timeline
from rapidflow_web.db import images as pulled_images
from rapidflow_web.db import jobs
from rapidflow_web.db.models import Job
from rapidflow_web.errors import BuildError, EngineUnavailable, RapidFlowError
from rapidflow_web.executors.agent import protocol
from rapidflow_web.executors.archive import Archive
from rapidflow_web.executors.base import BuildSpec, Executor, RunningBuild
from rapidflow_web.pipeline import images
from rapidflow_web.pipeline.repositories import ref_of
from rapidflow_web.progress import Progress, about
from rapidflow_web.removal import remove_folder
from rapidflow_web.secrets.vault import Vault
from rapidflow_web.settings import Settings
from rapidflow_web.shielding import to_the_end
from rapidflow_web.source import history
from rapidflow_web.source.git import GitError
from rapidflow_web.source.mirrors import Account, Mirrors, Source
from rapidflow_web.source.uploads import UploadedTrees
from rapidflow_web.source.workspace import check_out

if TYPE_CHECKING:
    from rapidflow_web.builds.services import Services

_log = logging.getLogger(__name__)

_ENGINE_RETRY_SECONDS = 1.0
_LARGEST_READ = 1024 * 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tools:
    """What an execution works with, the same for all jobs."""

    settings: Settings
    executor: Executor
    mirrors: Mirrors
    uploads: UploadedTrees
    work: Path
    """The folder with a subfolder for each running build."""
    vault: Vault
    marker_key: bytes
    """From which the nonces of the markers are made; never leaves the server."""

    def spec(self, job: Job, plan: Plan) -> BuildSpec:
        """What the executor must know to start the container of a job's steps."""
        container = plan.main
        return BuildSpec(
            job_id=job.id,
            image=job.image,
            nonce=protocol.nonce_for(self.marker_key, job.id),
            root=self.work / str(job.id),
            port=container.port,
            limits=plan.limits,
            network=container.network,
            new_privileges=container.new_privileges,
            container_id=job.container_id,
        )


Granted = tuple[dict[str, str], Account]
"""The secrets of a build, and for whom its source is fetched."""


class Preparation:
    """Prepares one job as `plan` says. What is found out on the way is stored on `job`.

    `grant` gives the values of the secrets, and for whom the source is fetched. It raises `BuildError` and
    `VaultError`.
    """

    def __init__(
        self,
        tools: Tools,
        job: Job,
        plan: Plan,
        grant: Callable[[], Coroutine[Any, Any, Granted]],
        timeline: Timeline,
        services: Services,
    ) -> None:
        self._tools = tools
        self._job = job
        self._plan = plan
        self._grant = grant
        self._timeline = timeline
        self._services = services
        self._machine = tools.executor.on(job.node)
        self._root = tools.work / str(job.id)
        self._image_source: str | None = None
        """The file in the source that told which image the build gets."""
        self.archive = Archive(self._root)
        """What the agent needs to be brought; whoever got the agent closes it."""

    async def run(self) -> RunningBuild:
        """The started agent, its scripts and source in the build's root. Raises `BuildError`.

        Source, container and services are prepared at the same time. A call that fails or is cancelled leaves
        no container behind.
        """
        await asyncio.to_thread(_clear, self._root)
        launch: asyncio.Task[RunningBuild] | None = None
        try:
            async with asyncio.TaskGroup() as group:
                granted = group.create_task(self._grant())
                source = group.create_task(self._source(granted))
                launch = group.create_task(self._launch(granted, source))
                group.create_task(self._services.start(launch))
        except BaseException as error:
            await to_the_end(self.archive.close())
            await to_the_end(self._services.remove())
            if launch is not None and not launch.cancelled() and launch.exception() is None:
                await to_the_end(_remove(launch.result()))
            cause = first(error)
            if isinstance(cause, OSError):
                reason = cause.strerror or cause
                raise BuildError(f"could not write the files of the build: {reason}") from cause
            raise cause from None
        return launch.result()

    async def _source(self, granted: asyncio.Task[Granted]) -> None:
        job = self._job
        workspace = self._root / "workspace"
        changed: Sequence[str] = ()
        secrets, account = await granted
        if job.repo_name is not None:
            with self._timeline.phase("source") as phase:
                source = await self._fetched(job.repo_name, account, phase.note)
                job.commit, job.branch = source.commit, source.branch
                job.ref = job.ref or ref_of(job.branch)
                await jobs.update(job.id, commit=job.commit, branch=job.branch, ref=job.ref)
                checking_out = f"checking out {job.commit[:12]}"
                phase.note(checking_out)
                told = about(checking_out, phase.note)
                try:
                    async with asyncio.TaskGroup() as group:
                        if job.title is None and job.upload_id is None:
                            group.create_task(self._describe(source))
                        tree = group.create_task(check_out(source, workspace, self._tools.mirrors, told))
                        if job.base is not None:
                            found = await history.changed(source.mirror, job.base, source.commit)
                            changed = found or ()
                except BaseExceptionGroup as error:
                    raise first(error) from None  # the phase says it in its words
                remarks = tree.result()
                phase.note("; ".join([f"commit {job.commit[:12]}", *remarks]))
        environment = variables.built_in(job, self._tools) | dict(self._plan.environment) | secrets
        await asyncio.to_thread(self._write, workspace, environment, changed)
        await self._machine.pack(self.archive)

    def _write(self, workspace: Path, environment: Mapping[str, str], changed: Sequence[str]) -> None:
        """Writes what the agent needs besides the source."""
        if self._job.repo_name is None:
            workspace.mkdir(exist_ok=True)
        folder = PurePosixPath(self._job.folder or ".")
        if not _is_folder_inside(workspace, folder):
            raise BuildError(f"the folder '{self._job.folder}' is not in the repository")
        protocol.write_scripts(
            self._root / "rapidflow",
            [step.definition for step in self._plan.main.steps],
            environment,
            self._machine.workspace(self._root) / folder,
        )
        variables.write_changed_files(self._root, changed)

    async def _describe(self, source: Source) -> None:
        """Stores what the commit says of itself, where that was not known before it was fetched."""
        try:
            commit = await history.commit_of(source.mirror, source.commit)
        except GitError as error:
            _log.warning("%s", error)  # a build does not need it
            return
        self._job.title, self._job.author = commit.title or None, commit.author or None
        await jobs.update(self._job.id, title=self._job.title, author=self._job.author)

    async def _fetched(self, url: str, account: Account, note: Progress) -> Source:
        job = self._job
        if job.upload_id is not None:
            note("taking the uploaded working tree")
            return self._tools.uploads.source(job.upload_id, url, job.commit or "")
        fetching = f"fetching {job.branch or 'the default branch'}"
        note(fetching)
        told = about(fetching, note)
        source = await self._tools.mirrors.fetch(
            url, job.branch, job.commit, account, progress=told, patient=True
        )
        return source.without_credentials() if job.untrusted else source

    async def _launch(self, granted: asyncio.Task[Granted], source: asyncio.Task[None]) -> RunningBuild:
        job, machine = self._job, self._machine
        patience = self._tools.settings.engine_timeout
        if (present := machine.images) is not None:
            image = await self._image(source)
            with self._timeline.phase("image") as phase:
                phase.note(image)
                provided = functools.partial(present.provide, image, phase.note, anonymous=job.untrusted)
                try:
                    pulled = await when_reachable(provided, patience, phase.note)
                except BuildError as error:
                    await granted  # then it is known what is to be masked in the error
                    if self._image_source is None:
                        raise
                    raise BuildError(
                        f"{error}; it was chosen because of {self._image_source}; set 'image' to use another"
                    ) from error
                if pulled:
                    await pulled_images.pulled(image)
                phase.note(image)
        await granted  # what a container prints is masked from the beginning
        container = self._timeline.begin("container")
        spec = self._tools.spec(job, self._plan)
        running = await when_reachable(lambda: machine.start(spec, self._created), patience, container.note)
        try:
            if running.ports is not None:
                await jobs.update(job.id, ports=running.ports)
        except BaseException:
            await to_the_end(_remove(running))
            raise
        job.ports = running.ports
        return running

    async def _created(self, container_id: str) -> None:
        self._job.container_id = container_id
        await jobs.update(self._job.id, container_id=container_id)

    async def _image(self, source: asyncio.Task[None]) -> str:
        """The image of the build: the plan's, or else the one for the files of the source."""
        job, settings = self._job, self._tools.settings
        if job.image is None:
            if (image := self._plan.main.image) is None:
                await source
                folder = self._root / "workspace" / (job.folder or ".")
                # Whoever wrote these files may have made them slow to read.
                found = await asyncio.to_thread(images.detect, lambda name: _read(folder / name))
                if found is not None:
                    job.language, job.version = found.language, job.version or found.version
                    self._image_source = found.source
                image = image_for(job.language, job.version, settings)
            job.image = image
            await jobs.update(job.id, language=job.language, version=job.version, image=image)
        return job.image


async def when_reachable(
    call: Callable[[], Awaitable[T]], seconds: float, note: Callable[[str], object]
) -> T:
    """The call's result. Waits while the engine is away, for `seconds` at most; `note` is told."""
    deadline: float | None = None
    while True:
        try:
            return await call()
        except EngineUnavailable as error:
            now = asyncio.get_running_loop().time()
            # Not from the call's beginning: a pull may have taken long before the engine went away.
            deadline = deadline or now + seconds
            if now > deadline:
                raise
            note(f"waiting: {error}")
            await asyncio.sleep(min(_ENGINE_RETRY_SECONDS, seconds))


async def has_begun(running: RunningBuild, nonce: str) -> bool:
    """Whether a step ever began in a build whose agent has ended."""
    parser = protocol.MarkerParser(nonce)
    with contextlib.suppress(BuildError):  # it never came to say anything
        async with aclosing(running.output(0)) as output:
            async for chunk in output:
                for item in parser.feed(chunk):
                    if isinstance(item, protocol.Marker) and item.words[:1] == ("start",):
                        return True
    return False


async def _remove(running: RunningBuild) -> None:
    try:
        await running.remove()
    except RapidFlowError as error:
        _log.warning("%s; the next sweep removes what is left", error)


def _clear(root: Path) -> None:
    remove_folder(root)
    try:
        root.mkdir(parents=True)
    except OSError as error:
        raise BuildError(f"the build's folder {root} can't be made: {error.strerror}") from error


def _is_folder_inside(workspace: Path, folder: PurePosixPath) -> bool:
    target = (workspace / folder).resolve()
    return target.is_dir() and target.is_relative_to(workspace.resolve())


def _read(path: Path) -> str | None:
    """A file of the repository, which may be a link to anywhere and of any size."""
    try:
        if path.is_symlink() or not path.is_file():
            return None
        with path.open("rb") as file:
            return file.read(_LARGEST_READ).decode("utf-8", "replace")
    except OSError:
        return None


def first(error: BaseException) -> BaseException:
    """The first of the errors that were raised at the same time."""
    while isinstance(error, BaseExceptionGroup):
        error = cast(BaseExceptionGroup[BaseException], error).exceptions[0]
    return error
