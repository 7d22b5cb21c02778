"""Builds in containers, through any Docker engine that can be reached."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path, PurePosixPath
from typing import Any, cast

import aiodocker

from rapidflow_web.errors import BuildError, EngineUnavailable
from rapidflow_web.executors.agent import protocol
from rapidflow_web.executors.archive import Archive
from rapidflow_web.executors.base import BuildSpec, Live
from rapidflow_web.executors.docker import privileges
from rapidflow_web.executors.docker.attachment import Attachment
from rapidflow_web.executors.docker.connection import Connection, EnvironmentConnection
from rapidflow_web.executors.docker.container import DockerBuild, delete, is_going, published
from rapidflow_web.executors.docker.engine_errors import engine_errors
from rapidflow_web.executors.docker.images import DockerImages
from rapidflow_web.executors.docker.known_images import Image, KnownImages
from rapidflow_web.executors.docker.networks import CLOSED, Networks
from rapidflow_web.executors.docker.pool import Pool, Wanted
from rapidflow_web.executors.docker.pulls import Pulls
from rapidflow_web.executors.docker.services import BESIDE_LABEL, DockerServices

_CHECK_SECONDS = 5.0
_GIVE_UP_SECONDS = 5.0
_REMOVED_AT_ONCE = 4
"""Containers that are removed at once: twice as fast as one by one, more than that gain little."""
_NOT_FOUND = 404

INSTALLATION_LABEL = "rapidflow.installation"


class DockerExecutor:
    """Implements `Executor` and `Machine`.

    `installation` tells containers of ours from those of other installations. `network`, `dns` and `parked`
    are the settings of these names. Without `connection` it is the engine that the environment names.
    """

    name = "docker"
    warning = None
    place = "the container"
    nodes = None

    def __init__(
        self,
        installation: str,
        engine_timeout: float,
        pull_timeout: float,
        network: str = CLOSED,
        dns: Sequence[str] = (),
        parked: int = 0,
        connection: Connection | None = None,
    ) -> None:
        self.installation = installation
        self._connection = connection or EnvironmentConnection()
        self._engine_timeout = engine_timeout
        self._dns = list(dns)
        self._networks = Networks(self.client, network)
        self._known = KnownImages(self.client)
        self._pool = Pool(self.client, installation, self._networks, parked)
        self.images = DockerImages(self.client, Pulls(pull_timeout, self._known), self._known, self._pool)
        labels = {INSTALLATION_LABEL: installation}
        self.services = DockerServices(self.client, self._known, labels)

    @property
    def addresses(self) -> Sequence[IPv4Network | IPv6Network]:
        return self._networks.addresses

    @property
    def parked(self) -> int:
        return self._pool.parked

    def workspace(self, root: Path) -> PurePosixPath:
        return PurePosixPath("/workspace")

    def on(self, node: str | None) -> DockerExecutor:
        return self

    @property
    def image_names(self) -> frozenset[str]:
        """Names of images that builds used and that were there when they were last looked for."""
        return self._known.names

    def client(self) -> aiodocker.Docker:
        """The client. Raises `EngineUnavailable` while there is nothing to connect to."""
        return self._connection.client()

    async def labels(self) -> Mapping[str, str]:
        with engine_errors("ask the engine for its labels"):
            async with asyncio.timeout(_CHECK_SECONDS):
                return labels_in(cast(Any, await self.client().system.info()))

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
            raise EngineUnavailable("what answers at its address is not a Docker engine") from error

    async def pack(self, archive: Archive) -> None:
        await archive.begin()

    async def expect(self, spec: BuildSpec) -> None:
        if self._may_be_parked(spec) and (image := await self._image(spec)) is not None:
            self._pool.expect(self._wanted(spec, image))

    async def start(self, spec: BuildSpec, created: Callable[[str], Awaitable[None]]) -> DockerBuild:
        if (image := await self._image(spec)) is None:
            raise BuildError(f"the image {spec.image} is not there any more")
        ready = await self._pool.take(self._wanted(spec, image), park=self._may_be_parked(spec))
        build = self._build(spec, ready.id, ready.ports, ready.owner, ready.attachment)
        try:
            await created(ready.id)
            # Only now: whoever takes the build up after a kill must find what may have run a step.
            if not ready.attachment.is_eof():
                with engine_errors("speak with the container"):
                    await ready.attachment.write(f"{spec.nonce}\n".encode())
            # Else its output says why the agent could not begin.
        except BaseException:
            # What an engine that hangs does not remove, the sweep does.
            removal = asyncio.ensure_future(build.remove())
            removal.add_done_callback(lambda done: done.cancelled() or done.exception())
            await asyncio.wait({removal}, timeout=_GIVE_UP_SECONDS)
            raise
        finally:
            self._pool.release(ready)
        return build

    async def find(self, spec: BuildSpec) -> DockerBuild | None:
        if spec.container_id is None:
            return None
        with engine_errors("look for the container"):
            try:
                details = await self.client().containers.container(spec.container_id).show()
            except aiodocker.DockerError as error:
                if error.status == _NOT_FOUND:
                    return None
                raise
            if details["Config"]["Labels"].get(INSTALLATION_LABEL) != self.installation:
                return None  # that of the installation whose backup was restored here
            if spec.network:
                await self._networks.ensure()  # so that from where it connects is known
        ports = published(details["NetworkSettings"]["Ports"] or {}) if spec.port is not None else None
        return self._build(spec, details["Id"], ports)

    def _build(
        self,
        spec: BuildSpec,
        container_id: str,
        published: dict[str, str] | None,
        owner: tuple[int, int] = (0, 0),
        attachment: Attachment | None = None,
    ) -> DockerBuild:
        forward = self._connection.forward(published) if published else None
        ports = published if forward is None else forward.ports or None
        return DockerBuild(
            self.client, self._engine_timeout, spec, container_id, ports, owner, attachment, forward
        )

    async def orphans(self, live: Live) -> list[str]:
        return [what for what, _ in await self._orphans(live)]

    async def sweep(self, live: Live) -> int:
        at_once, removed = asyncio.Semaphore(_REMOVED_AT_ONCE), 0

        async def remove(what: str, container: Any) -> None:
            nonlocal removed
            async with at_once:
                if _needed_by(container) not in live().values():
                    with engine_errors(f"remove {what}"):
                        await delete(container)
                    removed += 1

        orphans = await self._orphans(live)
        # One that can't be removed must not keep the others, nor what is parked, for ever.
        ends = await asyncio.gather(*(remove(*one) for one in orphans), return_exceptions=True)
        self._pool.begin()
        if error := next((one for one in ends if one is not None), None):
            raise error
        return removed

    async def _orphans(self, live: Live) -> list[tuple[str, Any]]:
        """Containers of this installation that no live job needs, each with what it is.

        Not what is just being removed, by its build or by the engine.
        """
        # What a build removes that ends meanwhile is still in the engine's list.
        ours, ids = set(self._pool.ours), set(live().values())
        labels = {"label": [f"{INSTALLATION_LABEL}={self.installation}"]}
        with engine_errors("list containers"):
            found: list[Any] = await self.client().containers.list(all=True, filters=labels)
        ours |= self._pool.ours
        ids |= set(live().values())
        return [
            (f"the container {one.id[:12]}", one)
            for one in found
            if _needed_by(one) not in ids
            and not ours & {name.removeprefix("/") for name in one["Names"]}
            and not is_going(one)
        ]

    async def quiet(self) -> None:
        await self._pool.quiet()

    async def close(self) -> None:
        await self._pool.close()
        await self._connection.close()

    async def _image(self, spec: BuildSpec) -> Image | None:
        name = spec.image or ""
        if (known := self._known.last(name)) is not None:
            return known
        with engine_errors(f"look for image {name}"):
            return await self._known.look(name)

    def _may_be_parked(self, spec: BuildSpec) -> bool:
        return spec.port is None

    def _wanted(self, spec: BuildSpec, image: Image) -> Wanted:
        command = protocol.command_line(root="", output="copy")
        host: dict[str, Any] = {
            # With any other, every line would be parsed, stored and sent again: a tenth of the speed.
            "LogConfig": {"Type": "none"},
            "NetworkMode": self._networks.name if spec.network else "none",
            **({"Dns": self._dns} if spec.network else {}),
            **privileges.of_build(spec.new_privileges),
            **privileges.limited(spec.limits),
        }
        configuration: dict[str, Any] = {
            "Image": image.id,
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
            "Labels": {INSTALLATION_LABEL: self.installation},
            "HostConfig": host,
            **(self._networks.joining if spec.network else {}),
        }
        if spec.port is not None:
            configuration["ExposedPorts"] = {f"{spec.port}/tcp": {}}
            host["PortBindings"] = {f"{spec.port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
        return Wanted(image, configuration)


def _needed_by(container: Any) -> str:
    """The id of the build's container that a container of the engine's list is, or runs beside."""
    labels: dict[str, str] = container["Labels"] or {}
    return labels.get(BESIDE_LABEL) or str(container.id)


def labels_in(info: Mapping[str, Any]) -> dict[str, str]:
    """The labels of an engine, out of what it says of itself."""
    pairs = (label.partition("=") for label in info.get("Labels") or ())
    return {name: value for name, _, value in pairs}
