"""Services of builds: containers that join the network namespace of a build's container.

Each has a label with the id of that container. So the services of a build are found by it, and belong to
nobody once it is lost, also where a build is prepared anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import aiodocker
import aiohttp

from rapidflow_web.errors import BuildError, EngineUnavailable
from rapidflow_web.executors.base import BuildSpec, Exit
from rapidflow_web.executors.docker import engine_client, execs, privileges
from rapidflow_web.executors.docker.container import delete, kill
from rapidflow_web.executors.docker.engine_errors import engine_errors, gone_is_fine
from rapidflow_web.executors.docker.frames import Frames
from rapidflow_web.executors.docker.known_images import KnownImages
from rapidflow_web.executors.docker.listening import SCRIPT, listening_ports
from rapidflow_web.pipeline.definition import Service

BESIDE_LABEL = "rapidflow.beside"
"""The label with the id of the build's container."""
_NAME_LABEL = "rapidflow.service"
_CREATE_SECONDS = 10.0
_PIECE = 64 * 1024
_NOT_FOUND, _CONFLICT = 404, 409
_INTRODUCE = 'for name; do echo "127.0.0.1 $name"; done >>/etc/hosts'
_LOG = {
    "Type": "json-file",
    # The engine's own setting may be to keep less: then no later server could go on where one was killed.
    "Config": {"max-size": "1000g", "max-file": "1"},
}


class DockerService:
    """Implements `RunningService` for one container."""

    def __init__(
        self, client: Callable[[], aiodocker.Docker], name: str, container_id: str, beside: str
    ) -> None:
        self.name = name
        self._client = client
        self._id = container_id
        self._beside = beside

    async def output(self, offset: int) -> AsyncGenerator[bytes, None]:
        # When a container ends, an engine may end the log that it sends before it has sent all (seen with
        # 20.10, on a busy machine). Its file is complete then.
        for follow in ("1", "0"):
            async with aclosing(self._log(offset, follow)) as chunks:
                async for chunk in chunks:
                    offset += len(chunk)
                    yield chunk

    async def _log(self, offset: int, follow: str) -> AsyncGenerator[bytes, None]:
        frames = Frames()
        # A container that is gone or being removed has no more to say; `exit` tells of it.
        with engine_errors(f"read the output of the service {self.name}"), gone_is_fine():
            async with engine_client.request(
                self._client(),
                f"containers/{self._id}/logs",
                params={"stdout": "1", "stderr": "1", "follow": follow},
                timeout=aiohttp.ClientTimeout(connect=10),
            ) as response:
                try:
                    while data := await response.content.read(_PIECE):
                        chunk = frames.feed(data)
                        # The engine can't begin in the middle of its log.
                        skipped = min(offset, len(chunk))
                        offset -= skipped
                        if skipped < len(chunk):
                            yield chunk[skipped:]
                        await asyncio.sleep(0)
                finally:
                    response.close()

    async def exit(self) -> Exit | None:
        with engine_errors(f"look at the service {self.name}"):
            try:
                state: dict[str, Any] = (await self._client().containers.container(self._id).show())["State"]
            except aiodocker.DockerError as error:
                if error.status != _NOT_FOUND:
                    raise
                state = {"Running": False, "ExitCode": None, "OOMKilled": False}
            if state["Running"]:
                return None
            try:
                beside = await self._client().containers.container(self._beside).show()
            except aiodocker.DockerError as error:
                if error.status != _NOT_FOUND:
                    raise
                beside = {"State": {"Running": False}}
        if not beside["State"]["Running"]:
            raise EngineUnavailable("the container of the build has ended, and its services with it")
        return Exit(state["ExitCode"], state["OOMKilled"])

    async def attempt(self, script: str) -> tuple[bool, str]:
        with engine_errors(f"run a script in the service {self.name}"):
            code, printed = await execs.run(self._client(), self._id, ["sh", "-c", script])
        return code == 0, printed.decode("utf-8", "replace")

    async def kill(self) -> None:
        with engine_errors(f"kill the service {self.name}"):
            await kill(self._client().containers.container(self._id))


class DockerServices:
    """Implements `Services`. `labels` are those of all containers of this installation."""

    def __init__(
        self, client: Callable[[], aiodocker.Docker], known: KnownImages, labels: Mapping[str, str]
    ) -> None:
        self._client = client
        self._known = known
        self._labels = labels

    async def introduce(self, spec: BuildSpec, names: Sequence[str]) -> None:
        # Containers in its network namespace share its /etc/hosts.
        with engine_errors("name the services to the build"):
            command = ["sh", "-c", _INTRODUCE, "sh", *names]
            code, printed = await execs.run(self._client(), _id(spec), command, user="0")
        if code != 0:
            said = printed.decode("utf-8", "replace").strip()
            raise BuildError(f"could not name the services in /etc/hosts of the container: {said}")

    async def start(self, spec: BuildSpec, service: Service) -> DockerService:
        with engine_errors(f"start the service {service.name}"):
            image = self._known.last(service.image) or await self._known.look(service.image)
            if image is None:
                raise BuildError(f"the image {service.image} is not there any more")
            container: Any = await self._created(spec, service, image.id)
            await container.start()
        return DockerService(self._client, service.name, container.id, _id(spec))

    async def _created(self, spec: BuildSpec, service: Service, image_id: str) -> Any:
        # One name for each: what a call has left that failed is in the way of the next one.
        name = f"rapidflow-{_id(spec)[:12]}-{service.name}"
        configuration = self._configuration(spec, service, image_id)
        containers = self._client().containers
        creating = asyncio.ensure_future(containers.create(configuration, name=name))
        try:
            return await asyncio.shield(creating)
        except asyncio.CancelledError:
            # A cancelled call may still make the container, after `remove` looked for it in vain.
            await asyncio.wait({creating}, timeout=_CREATE_SECONDS)
            creating.cancel()
            raise
        except aiodocker.DockerError as error:
            if error.status != _CONFLICT:
                raise
        await delete(containers.container(name))
        return await containers.create(configuration, name=name)

    def _configuration(self, spec: BuildSpec, service: Service, image_id: str) -> dict[str, Any]:
        configuration: dict[str, Any] = {
            "Image": image_id,
            "Env": [f"{key}={value}" for key, value in service.env.items()],
            "Healthcheck": {"Test": ["NONE"]},
            "Labels": {**self._labels, BESIDE_LABEL: _id(spec), _NAME_LABEL: service.name},
            "HostConfig": {
                "LogConfig": _LOG,
                "NetworkMode": f"container:{_id(spec)}",
                **privileges.of_build(spec.new_privileges),
                **privileges.limited(spec.limits),
            },
        }
        if service.command is not None:
            configuration |= {"Entrypoint": ["sh", "-c"], "Cmd": [service.command]}
        return configuration

    async def find(self, spec: BuildSpec) -> list[DockerService]:
        return [
            DockerService(self._client, one["Labels"][_NAME_LABEL], one.id, _id(spec))
            for one in await self._containers(spec)
        ]

    async def _containers(self, spec: BuildSpec) -> list[Any]:
        labels = {"label": [f"{BESIDE_LABEL}={spec.container_id}"]}
        with engine_errors("look for the services of the build"):
            return await self._client().containers.list(all=True, filters=labels)

    async def listening(self, spec: BuildSpec) -> set[int]:
        # Not in the service's container: images of services need not have a shell.
        with engine_errors("look for ports that listen"):
            _, printed = await execs.run(self._client(), _id(spec), ["sh", "-c", SCRIPT])
        return listening_ports(printed.decode("ascii", "replace"))

    async def remove(self, spec: BuildSpec) -> None:
        if spec.container_id is None:
            return
        containers = await self._containers(spec)
        with engine_errors("remove the services of the build"):
            done = await asyncio.gather(*map(delete, containers), return_exceptions=True)
            for error in (one for one in done if isinstance(one, BaseException)):
                raise error


def _id(spec: BuildSpec) -> str:
    """The id of the build's container."""
    if spec.container_id is None:
        raise BuildError("the build has no container for its services")
    return spec.container_id
