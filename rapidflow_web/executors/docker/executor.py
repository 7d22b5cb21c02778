"""Builds in containers, through any Docker engine that can be reached."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import tarfile
from collections.abc import Callable, Collection, Generator, Sequence
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path, PurePosixPath
from typing import Any

import aiodocker
import aiohttp

from rapidflow_web.errors import BuildError, EngineUnavailable
from rapidflow_web.executors.agent import protocol
from rapidflow_web.executors.archive import Archive
from rapidflow_web.executors.base import BuildSpec
from rapidflow_web.executors.docker import engine_client, image_files, image_user, privileges
from rapidflow_web.executors.docker.attachment import attach
from rapidflow_web.executors.docker.container import DockerBuild, delete, is_going, published, sandbox_of
from rapidflow_web.executors.docker.engine_errors import engine_errors
from rapidflow_web.executors.docker.images import DockerImages
from rapidflow_web.executors.docker.networks import CLOSED, Networks
from rapidflow_web.executors.docker.pulls import Pulls
from rapidflow_web.executors.docker.sandboxes import Sandbox, Sandboxes
from rapidflow_web.shielding import to_the_end

_CALL = aiohttp.ClientTimeout(total=120, connect=10)
"""For calls that the engine answers by itself; a hung engine must not hold a build for ever."""
_CHECK_SECONDS = 5.0
_CREATE_SECONDS = 10.0
_GIVE_UP_SECONDS = 5.0
_NOT_FOUND, _CONFLICT = 404, 409

INSTALLATION_LABEL = "rapidflow.installation"
JOB_LABEL = "rapidflow.job"


class DockerExecutor:
    """Implements `Executor`. `installation` tells containers of ours from those of other installations.

    `network`, `dns` and `spare_networks` are the settings of these names.
    """

    name = "docker"
    warning = None
    place = "the container"

    def __init__(
        self,
        installation: str,
        engine_timeout: float,
        pull_timeout: float,
        network: str = CLOSED,
        dns: Sequence[str] = (),
        spare_networks: int = 0,
    ) -> None:
        self.installation = installation
        self._engine_timeout = engine_timeout
        self._pulls = Pulls(pull_timeout)
        self._networks = Networks(self.client, network)
        self._sandboxes = Sandboxes(self.client, installation, self._networks, dns, spare_networks)
        self.images = DockerImages(self.client, self._pulls, self._sandboxes)
        self._docker: aiodocker.Docker | None = None
        self._closed = False
        self._owners: dict[str, tuple[int, int]] = {}
        self._covered: dict[str, list[str]] = {}
        """By the id of an image, the folders of it that are covered by empty volumes in builds."""

    @property
    def addresses(self) -> Sequence[IPv4Network | IPv6Network]:
        return self._networks.addresses

    def workspace(self, root: Path) -> PurePosixPath:
        return PurePosixPath("/workspace")

    def client(self) -> aiodocker.Docker:
        """The client. Raises `EngineUnavailable` while there is nothing to connect to."""
        if self._closed:
            # A build that hangs is still being let go of; nobody would close another client.
            raise EngineUnavailable("the server ends")
        if self._docker is None:
            try:
                self._docker = engine_client.connect(_CALL)
            except (AssertionError, ValueError) as error:
                raise EngineUnavailable(_nowhere()) from error
            except (aiodocker.DockerError, OSError) as error:
                raise EngineUnavailable(f"the Docker configuration can't be used: {error}") from error
        return self._docker

    async def check(self) -> None:
        docker = self.client()
        try:
            with engine_errors("ask the engine for its version"):
                async with asyncio.timeout(_CHECK_SECONDS):
                    await docker.version()
                    await self._networks.look()
        except BuildError as error:
            raise EngineUnavailable(f"the Docker engine is not ready: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise EngineUnavailable("what answers at DOCKER_HOST is not a Docker engine") from error

    async def pack(self, archive: Archive) -> None:
        await archive.begin()

    async def start(self, spec: BuildSpec, created: Callable[[str], None]) -> DockerBuild:
        build, sandbox = self._build(spec), None
        image_id = self._pulls.ids.get(spec.image or "")
        covered = self._covered.get(image_id or "", [])
        try:
            if spec.network:
                sandbox = await self._sandboxes.take(spec.image or "", image_id, spec.port)
                build.hold(sandbox.id)
                build.ports = published(sandbox.ports)
            with engine_errors("create the container"), _in(sandbox):
                # A cancelled call may still make the container, after it was looked for in vain.
                container = await to_the_end(self._create(spec, build, covered), _CREATE_SECONDS)
            build.id = container.id
            created(container.id)
            with engine_errors("start the container"), _in(sandbox):
                details = await container.show()
                if (image_id := details["Image"]) not in self._covered:
                    self._covered[image_id] = await self._to_cover(container, details)
                if (needed := self._covered[image_id]) != covered:
                    await delete(container)
                    container = await to_the_end(self._create(spec, build, needed), _CREATE_SECONDS)
                    build.id = container.id
                    created(container.id)
                if (user := details["Config"]["User"]) not in image_user.ROOT:
                    build.owner = await self._make_folders(container, image_id, user)
                build.attachment = await attach(self.client(), build.id)
                await build.attachment.write(f"{spec.nonce}\n".encode())
                await container.start()
        except BaseException:
            # What an engine that hangs does not remove, the sweep does.
            removal = asyncio.ensure_future(build.remove())
            removal.add_done_callback(lambda done: done.cancelled() or done.exception())
            await asyncio.wait({removal}, timeout=_GIVE_UP_SECONDS)
            raise
        finally:
            if sandbox is not None:
                self._sandboxes.release(sandbox)
        return build

    async def find(self, spec: BuildSpec) -> DockerBuild | None:
        build = self._build(spec)
        with engine_errors("look for the container"):
            try:
                details = await self.client().containers.container(build.name).show()
            except aiodocker.DockerError as error:
                if error.status == _NOT_FOUND:
                    return None
                raise
            build.id = details["Id"]
            if (sandbox_id := sandbox_of(details)) is not None:
                build.hold(sandbox_id)
                await self._networks.ensure()  # so that from where it connects is known
            if spec.port is not None and build.sandbox is not None:
                sandbox = await self.client().containers.container(build.sandbox).show()
                build.ports = published(sandbox["NetworkSettings"]["Ports"] or {})
        return build

    async def orphans(self, live: Collection[int]) -> list[str]:
        return [what for what, _ in await self._orphans(live)]

    async def sweep(self, live: Collection[int]) -> int:
        removed = 0
        for what, container in await self._orphans(live):
            if not _is_live(container, live):
                with engine_errors(f"remove {what}"):
                    await self._delete(container)
                removed += 1
        return removed

    async def _delete(self, container: Any) -> None:
        await delete(container)
        if (sandbox := sandbox_of(container)) is not None:
            await delete(self.client().containers.container(sandbox))

    async def _orphans(self, live: Collection[int]) -> list[tuple[str, Any]]:
        """Containers of this installation that no live job needs, each with what it is.

        Not what is just being removed, by its build or by the engine.
        """
        # What a build removes that ends meanwhile is still in the engine's list.
        lives = (set(live), live)
        # In this order: a sandbox that a build takes meanwhile is seen with its container.
        sandboxes = await self._sandboxes.others()
        labels = {"label": [f"{INSTALLATION_LABEL}={self.installation}"]}
        with engine_errors("list containers"):
            found: list[Any] = await self.client().containers.list(all=True, filters=labels)
        dead = [one for one in found if not any(_is_live(one, live) for live in lives)]
        used = {sandbox_of(container) for container in found}
        return [
            *((f"the container of job {_job_of(one)}", one) for one in dead if not is_going(one)),
            *(("the network of a build", one) for one in sandboxes if one.id not in used),
        ]

    async def close(self) -> None:
        await self._sandboxes.close()
        self._closed = True
        if self._docker is not None:
            await self._docker.close()
            self._docker = None

    def _build(self, spec: BuildSpec) -> DockerBuild:
        name = f"rapidflow-{self.installation[:12]}-job-{spec.job_id}"
        return DockerBuild(self.client, self._engine_timeout, spec, name, self._sandboxes.held)

    async def _to_cover(self, container: Any, details: dict[str, Any]) -> list[str]:
        """The folders by which something of the image would get into the source."""
        declared: dict[str, Any] = details["Config"]["Volumes"] or {}
        volumes = [name for name in declared if f"{name}/".startswith("/workspace/")]
        if await image_files.stat(container, "/workspace") is None:
            return volumes
        return ["/workspace", *(name for name in volumes if name.rstrip("/") != "/workspace")]

    async def _create(self, spec: BuildSpec, build: DockerBuild, covered: Sequence[str]) -> Any:
        containers = self.client().containers
        config = self._config(spec, build.sandbox, covered)
        try:
            return await containers.create(config, name=build.name)
        except aiodocker.DockerError as error:
            if error.status != _CONFLICT:
                raise
        # What an earlier try left, whose answer never arrived. The name is that of this very job.
        with contextlib.suppress(aiodocker.DockerError):
            await self._delete(await containers.get(build.name))
        return await containers.create(config, name=build.name)

    def _config(self, spec: BuildSpec, sandbox: str | None, covered: Sequence[str]) -> dict[str, Any]:
        command = protocol.command_line(root="", output="copy")
        return {
            "Image": spec.image,
            "Entrypoint": command[:1],
            "Cmd": command[1:],
            "WorkingDir": "/",
            "OpenStdin": True,
            "StdinOnce": False,
            "AttachStdin": True,
            "AttachStdout": True,
            "AttachStderr": True,
            "Tty": False,
            "StopSignal": "SIGTERM",
            "Healthcheck": {"Test": ["NONE"]},
            "Labels": {INSTALLATION_LABEL: self.installation, JOB_LABEL: str(spec.job_id)},
            "HostConfig": {
                # With any other, every line would be parsed, stored and sent again: a tenth of the speed.
                "LogConfig": {"Type": "none"},
                "NetworkMode": f"container:{sandbox}" if sandbox is not None else "none",
                # The source is alone in the workspace, whatever the image has there.
                "Mounts": [
                    {"Type": "volume", "Target": folder, "VolumeOptions": {"NoCopy": True}}
                    for folder in covered
                ],
                **privileges.of_build(spec.new_privileges),
                **privileges.limited(spec.limits),
            },
        }

    async def _make_folders(self, container: Any, image_id: str, user: str) -> tuple[int, int]:
        """Gives the agent's folders to the image's user, who could not make them in the root folder."""
        key = f"{image_id} {user}"
        if key not in self._owners:
            self._owners[key] = await image_user.numbers_of(container, user)
        uid, gid = self._owners[key]
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            for name in ("rapidflow", "workspace"):
                folder = tarfile.TarInfo(name)
                folder.type, folder.mode, folder.uid, folder.gid = tarfile.DIRTYPE, 0o755, uid, gid
                tar.addfile(folder)
        await container.put_archive("/", archive.getvalue())
        return uid, gid


@contextlib.contextmanager
def _in(sandbox: Sandbox | None) -> Generator[None]:
    """Tells a sandbox that is gone, with which the build can be begun anew, from what is wrong for good."""
    try:
        yield
    except aiodocker.DockerError as error:
        if sandbox is not None and sandbox.id in error.message:
            raise EngineUnavailable("the network of the build is gone") from error
        raise


def _job_of(container: Any) -> str:
    return container["Labels"].get(JOB_LABEL, "")


def _nowhere() -> str:
    """Why there is no engine to connect to."""
    if host := os.environ.get("DOCKER_HOST"):
        return (
            f"DOCKER_HOST is '{host}', which is not an address; "
            "write it like unix:///var/run/docker.sock or tcp://host:port, or unset it"
        )
    return "no Docker engine was found; start one or set DOCKER_HOST"


def _is_live(container: Any, live: Collection[int]) -> bool:
    job_id = _job_of(container)
    return job_id.isdigit() and int(job_id) in live
