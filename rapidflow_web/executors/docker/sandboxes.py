"""Sandboxes: the networks of single builds, made ahead.

A sandbox is a container that does nothing. The container of a build joins its network namespace, which takes
the engine far less time than to make one. Those that are kept ready end with the server, however it ends,
because their input does; one that a build was given goes on until the build is removed.

No sandbox is used twice, because a build may have changed how names are resolved in it, and it is made of
the very image of its build, because another image's programs have no business there.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiodocker
import aiohttp

from rapidflow_web.errors import EngineUnavailable, RapidFlowError
from rapidflow_web.executors.docker import privileges
from rapidflow_web.executors.docker.attachment import Attachment, attach
from rapidflow_web.executors.docker.container import delete, is_going
from rapidflow_web.executors.docker.engine_errors import engine_errors
from rapidflow_web.executors.docker.networks import Networks
from rapidflow_web.pipeline.limits import Limits

_log = logging.getLogger(__name__)

SANDBOX_LABEL = "rapidflow.sandbox"
"""Says to which installation a sandbox belongs. It has no job yet when it is made."""

_SCRIPT = 'IFS= read -r rf_word; [ "$rf_word" = keep ] || exit 0; while :; do sleep 86400; done'
_REFILL_SECONDS = 0.5
"""How long after a build has begun the next sandbox is made: until then the machine is the build's."""
_READY_SECONDS = 600.0
"""How long a sandbox waits for a build."""
_CREATE_SECONDS = 10.0
_GIVE_UP_SECONDS = 5.0
_CLOSE_SECONDS = 0.5
_END_SECONDS = 30.0
_NOT_FOUND = 404
_LIMITS = Limits(memory=64 * 1024**2, cpus=1, processes=16)
"""Much for a shell that sleeps; but whoever made the image may have put something else in its place."""


@dataclass(slots=True, eq=False)
class Sandbox:
    """A sandbox that runs. `image_id` is what the name of its `image` stood for."""

    id: str
    name: str
    image: str
    image_id: str
    attachment: Attachment
    ports: dict[str, Any]
    """The published ports, as the engine says them."""


class Sandboxes:
    """Makes sandboxes, and keeps `spare` of them ready for the images that builds used last.

    `dns` are the addresses of the name servers that builds ask; where there are none, those of the engine.
    """

    def __init__(
        self,
        client: Callable[[], aiodocker.Docker],
        installation: str,
        networks: Networks,
        dns: Sequence[str],
        spare: int,
    ) -> None:
        self._client = client
        self._installation = installation
        self._networks = networks
        self._dns = list(dns)
        self._spare = spare
        self._ready: list[Sandbox] = []
        self._wanted: deque[str] = deque(maxlen=max(spare, 1))
        self._refilling: asyncio.Task[None] | None = None
        self._making: str | None = None
        """The image of the last one that was begun to be made ahead."""
        self._ours: set[str] = set()
        """Names of those that no build's container refers to yet, and of those that are just ending."""
        self.held: set[str] = set()
        """Ids of those that a build of this server looks after."""

    async def take(self, image: str, image_id: str | None, port: int | None) -> Sandbox:
        """A sandbox that outlives the server, for a build in this image.

        Whoever takes it must `release` it. With `port`, that port is published on loopback. Raises
        `BuildError`, `EngineUnavailable`.
        """
        sandbox = self._ready_for(image_id) if port is None else None
        if sandbox is None:
            sandbox = await self._make(image, port)
        try:
            await sandbox.attachment.write(b"keep\n")
        except (aiohttp.ClientError, OSError) as error:
            self.release(sandbox)
            raise EngineUnavailable("the connection to the network of the build broke") from error
        if self._spare and port is None:
            self._wanted.append(image)
            if self._refilling is None or self._refilling.done():
                self._refilling = asyncio.create_task(self._refill())
        return sandbox

    def _ready_for(self, image_id: str | None) -> Sandbox | None:
        for sandbox in [one for one in self._ready if one.attachment.is_eof()]:
            self._let_go(sandbox)  # the engine was restarted
        found = next((one for one in self._ready if one.image_id == image_id), None)
        if found is not None:
            self._ready.remove(found)
        return found

    def release(self, sandbox: Sandbox) -> None:
        """From now on a build's container refers to it and is removed with it, or else it is not needed."""
        self._ours.discard(sandbox.name)
        sandbox.attachment.close()

    async def drop_ready(self, image: str) -> None:
        """Removes those that wait and keep an image from being removed. Raises like `take`."""
        self._wanted = deque((one for one in self._wanted if one != image), maxlen=self._wanted.maxlen)
        if self._making == image and self._refilling is not None:
            await asyncio.wait({self._refilling}, timeout=_GIVE_UP_SECONDS)
        for sandbox in [one for one in self._ready if one.image == image]:
            self._let_go(sandbox)
            with engine_errors("remove a network that was kept ready"):
                await delete(self._client().containers.container(sandbox.id))

    async def close(self) -> None:
        """Lets go of those that wait, which ends them, and of what is being made, as far as that is quick."""
        if self._refilling is not None:
            self._refilling.cancel()
            await asyncio.wait({self._refilling}, timeout=_CLOSE_SECONDS)
        for sandbox in list(self._ready):
            self._let_go(sandbox)

    async def others(self) -> list[Any]:
        """Containers of sandboxes that this object does not look after. Raises like `take`.

        Each belongs to a build whose container is there already, or to nobody.
        """
        ours, held = set(self._ours), set(self.held)
        labels = {"label": [f"{SANDBOX_LABEL}={self._installation}"]}
        with engine_errors("list networks of builds"):
            found: list[Any] = await self._client().containers.list(all=True, filters=labels)
        ours |= self._ours
        held |= self.held
        return [
            one
            for one in found
            if not ours & {name.removeprefix("/") for name in one["Names"]}
            and one.id not in held
            and not is_going(one)
        ]

    async def _refill(self) -> None:
        while self._wanted:
            await asyncio.sleep(_REFILL_SECONDS)
            if not self._wanted:
                return
            self._making = self._wanted.popleft()
            try:
                sandbox = await self._make(self._making, None)
            except RapidFlowError as error:
                # The build that needs one says it, if it still is so.
                _log.debug("no network is kept ready: %s", error)
                continue
            self._ready.append(sandbox)
            asyncio.get_running_loop().call_later(_READY_SECONDS, self._let_go, sandbox)
            for oldest in self._ready[: -self._spare]:
                self._let_go(oldest)

    def _let_go(self, sandbox: Sandbox) -> None:
        if sandbox in self._ready:
            self._ready.remove(sandbox)
            sandbox.attachment.close()
            # It ends by itself; should it not, it is left to the sweep.
            asyncio.get_running_loop().call_later(_END_SECONDS, self._ours.discard, sandbox.name)

    async def _make(self, image: str, port: int | None) -> Sandbox:
        # A name of its own choice: so it can be removed also where the engine's answer never came.
        name = f"rapidflow-{self._installation[:12]}-network-{secrets.token_hex(4)}"
        self._ours.add(name)
        making = asyncio.ensure_future(self._made(name, image, port))
        try:
            return await asyncio.shield(making)
        except BaseException:
            # A cancelled call may still make the container, after it was looked for in vain.
            await asyncio.wait({making}, timeout=_CREATE_SECONDS)
            removal = asyncio.ensure_future(self._remove(name, making))
            removal.add_done_callback(lambda done: done.cancelled() or done.exception())
            await asyncio.wait({removal}, timeout=_GIVE_UP_SECONDS)
            self._ours.discard(name)
            raise

    async def _remove(self, name: str, making: asyncio.Future[Sandbox]) -> None:
        if not making.done():
            making.cancel()
        elif not making.cancelled() and making.exception() is None:
            making.result().attachment.close()
        await delete(self._client().containers.container(name))

    async def _made(self, name: str, image: str, port: int | None) -> Sandbox:
        with engine_errors("create the container"):
            try:
                return await self._started(name, image, port)
            except aiodocker.DockerError as error:
                if error.status != _NOT_FOUND or "network" not in error.message.lower():
                    raise
            # Somebody has removed the network, which was not in use.
            self._networks.forget()
            await delete(self._client().containers.container(name))
            return await self._started(name, image, port)

    async def _started(self, name: str, image: str, port: int | None) -> Sandbox:
        await self._networks.ensure()
        container: Any = await self._client().containers.create(self._config(image, port), name=name)
        attachment = await attach(self._client(), container.id)
        try:
            await container.start()
            details = await container.show()
            await self._networks.note(details)
        except BaseException:
            attachment.close()
            raise
        ports: dict[str, Any] = details["NetworkSettings"]["Ports"] or {}
        return Sandbox(container.id, name, image, details["Image"], attachment, ports)

    def _config(self, image: str, port: int | None) -> dict[str, Any]:
        host: dict[str, Any] = {
            "NetworkMode": self._networks.name,
            "Dns": self._dns,
            "AutoRemove": True,
            "ReadonlyRootfs": True,
            "LogConfig": {"Type": "none"},
            **privileges.NOTHING,
            **privileges.limited(_LIMITS),
        }
        config: dict[str, Any] = {
            "Image": image,
            "Entrypoint": ["/bin/sh", "-c", _SCRIPT],
            "WorkingDir": "/",
            "OpenStdin": True,
            "StdinOnce": True,
            "AttachStdin": True,
            "Tty": False,
            "Healthcheck": {"Test": ["NONE"]},
            "Labels": {SANDBOX_LABEL: self._installation},
            "HostConfig": host,
            **self._networks.joining,
        }
        if port is not None:
            config["ExposedPorts"] = {f"{port}/tcp": {}}
            host["PortBindings"] = {f"{port}/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
        return config
