"""One build's container: its agent's output, input and end."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import aiodocker
import aiohttp

from rapidflow_web.errors import BuildError, ContainerLost, EngineUnavailable
from rapidflow_web.executors.agent import protocol
from rapidflow_web.executors.archive import Archive
from rapidflow_web.executors.base import BuildSpec, Exit, Process
from rapidflow_web.executors.docker import engine_client
from rapidflow_web.executors.docker.attachment import Attachment, attach
from rapidflow_web.executors.docker.connection import Forward
from rapidflow_web.executors.docker.engine_errors import engine_errors, gone_is_fine
from rapidflow_web.executors.docker.output_copy import IncompleteCopy, archived_file
from rapidflow_web.pipeline.durations import format_duration

_LOG = "/rapidflow/log"
_ANSWER_SECONDS = 120.0
"""How long the engine may take for what it does by itself, such as killing and deleting."""
_RECONNECT_SECONDS = 0.5
_SIGNAL_SECONDS = 1.0
_SYNC_SECONDS = 15.0
"""How long an agent may take to print a marker. It answers at once, or it never will."""
_NO_FOLDER = "not a directory"
"""What the engine says of an image that has a file where the agent's folder should be."""
_COPY_TRIES = 250
_COPY_SECONDS = 0.02


class DockerBuild:
    """Implements `RunningBuild` for one container. `engine_timeout`: seconds that the engine may be away."""

    def __init__(
        self,
        client: Callable[[], aiodocker.Docker],
        engine_timeout: float,
        spec: BuildSpec,
        container_id: str,
        ports: dict[str, str] | None = None,
        owner: tuple[int, int] = (0, 0),
        attachment: Attachment | None = None,
        forward: Forward | None = None,
    ) -> None:
        self.id = container_id
        self.ports = ports
        self._owner = owner
        """User and group to whom the agent's folders belong."""
        self._attachment = attachment
        self._forward = forward
        self._client = client
        self._engine_timeout = engine_timeout
        self._spec = spec
        self._removed = False
        self.is_heard = False

    @property
    def _container(self) -> Any:
        return self._client().containers.container(self.id)

    # Output

    async def output(self, offset: int) -> AsyncGenerator[bytes, None]:
        heard_end = False
        while True:
            attachment = self._attachment
            if attachment is None:
                state = await self._state()
                if state["Paused"]:
                    # By somebody's hand; until it goes on, nobody can attach to it.
                    await asyncio.sleep(_RECONNECT_SECONDS)
                    continue
                runs = state["Running"]
                yield b""
                try:
                    async with aclosing(self._take_up(offset) if runs else self._copy(offset)) as chunks:
                        async for chunk in chunks:
                            offset += len(chunk)
                            yield chunk
                except EngineUnavailable:
                    # It went away again; the state will tell whether for good.
                    await asyncio.sleep(_RECONNECT_SECONDS)
                    continue
                except IncompleteCopy:
                    # What is heard is ahead of the copy when an agent is killed: then nothing is missing.
                    if runs or not heard_end:
                        raise
                if not runs:
                    return
                attachment = self._attachment
            if attachment is not None:
                self.is_heard = True
                try:
                    while chunk := await attachment.read():
                        offset += len(chunk)
                        yield chunk
                finally:
                    self.is_heard = False
                # The container ended, or the engine went away; its state tells.
                heard_end = True
                await self.detach()

    async def _state(self) -> dict[str, Any]:
        """The container's state, once the engine answers. Raises `EngineUnavailable` after a time."""
        deadline = asyncio.get_running_loop().time() + self._engine_timeout
        while True:
            try:
                with engine_errors("look at the container"):
                    return (await self._container.show())["State"]
            except (EngineUnavailable, BuildError) as error:
                if isinstance(error.__cause__, aiodocker.DockerError) and error.__cause__.status == 404:
                    raise ContainerLost("the container of the build is gone") from error
                if asyncio.get_running_loop().time() > deadline:
                    timeout = format_duration(round(self._engine_timeout))
                    raise EngineUnavailable(
                        f"the Docker engine went away and did not come back in {timeout}"
                    ) from error
                await asyncio.sleep(_RECONNECT_SECONDS)

    async def _take_up(self, offset: int) -> AsyncGenerator[bytes, None]:
        """Attaches anew; gives the output from `offset` up to where the attachment goes on.

        The copy up to a marker, then what came after the marker: nothing is lost or doubled. Where the
        container ends meanwhile there is no attachment afterwards.
        """
        try:
            with engine_errors("attach to the container"):
                self._attachment = await attach(self._client(), self.id)
                marker, rest = await self._synchronize(self._attachment)
            if not marker:
                await self.detach()
                return
            async with aclosing(self._copy_to_marker(offset, marker)) as chunks:
                async for chunk in chunks:
                    yield chunk
            if rest:
                yield rest
        except BaseException:
            # It has been read beyond what the caller got.
            await self.detach()
            raise

    async def _synchronize(self, attachment: Attachment) -> tuple[bytes, bytes]:
        """Has the agent print a marker; returns that and what came after it, or b"" where the agent ended."""
        # An agent that was never told its nonce does not answer; to any other this is no command.
        await attachment.write(f"{self._spec.nonce}\n".encode())
        parser, heard = protocol.MarkerParser(self._spec.nonce), 0
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _SYNC_SECONDS
        while loop.time() < deadline:
            try:
                await self._container.kill(signal="SIGUSR1", timeout=_ANSWER_SECONDS)
            except aiodocker.DockerError as error:
                if error.status in (404, 409):
                    return b"", b""
                raise
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SIGNAL_SECONDS):
                    while chunk := await attachment.read():
                        heard += len(chunk)
                        for item in parser.feed(chunk):
                            if isinstance(item, protocol.Marker) and item.words[:1] == ("sync",):
                                marker = f"\x1e{self._spec.nonce} {' '.join(item.words)}\n"
                                return marker.encode(), chunk[item.source - heard + len(chunk) :]
                    return b"", b""
        raise BuildError("the agent of the build does not answer")

    async def _copy(self, offset: int) -> AsyncGenerator[bytes, None]:
        """The copy of the output in the container, from `offset`."""
        with engine_errors("read the container's copy of the output"):
            try:
                async with engine_client.request(
                    self._client(),
                    f"containers/{self.id}/archive",
                    params={"path": _LOG},
                    # Else it is compressed, which takes ten times as long as to read it.
                    headers={"Accept-Encoding": "identity"},
                    timeout=aiohttp.ClientTimeout(total=None, sock_read=60),
                ) as response:
                    try:
                        async for chunk in archived_file(response.content, offset):
                            yield chunk
                    finally:
                        # The engine keeps the container locked until the archive is read or let go.
                        response.close()
            except aiodocker.DockerError as error:
                if error.status == 404 or _NO_FOLDER in error.message or await self._is_going():
                    raise IncompleteCopy("the container has no copy of the output") from error
                raise

    async def _is_going(self) -> bool:
        """Whether the container is gone or going, which explains whatever the engine says of its files."""
        try:
            return (await self._container.show())["State"]["Status"] in ("removing", "dead")
        except aiodocker.DockerError as error:
            if error.status == 404:
                return True
            raise

    async def _copy_to_marker(self, offset: int, marker: bytes) -> AsyncGenerator[bytes, None]:
        # tee writes the copy last, so the marker may be a moment late in it.
        for _ in range(_COPY_TRIES):
            held = b""
            async with aclosing(self._copy(offset)) as chunks:
                async for chunk in chunks:
                    held += chunk
                    if (found := held.find(marker)) >= 0:
                        yield held[: found + len(marker)]
                        return
                    if (safe := len(held) - len(marker)) > 0:
                        yield held[:safe]
                        offset += safe
                        held = held[safe:]
            await asyncio.sleep(_COPY_SECONDS)
        raise BuildError("the container's copy of the output stopped; its disk may be full")

    # Input

    async def send(self, line: bytes) -> None:
        if self._attachment is None:
            return  # the connection is being made anew; commands are sent again after it
        with contextlib.suppress(aiohttp.ClientError, OSError):
            await self._attachment.write(line)

    async def deliver(self, archive: Archive, unpacks: bool) -> bool:
        with engine_errors("put the source into the container"):
            if (commands := await archive.commands()) is not None:
                await self._connected().write(commands)
            elif unpacks:
                await self._unpack(archive)
            else:
                # The engine gives it to the user that it names; an agent's own tar gives it to the agent.
                await archive.begin(self._owner)
                await self._put(archive)
                return True
            return False

    async def _unpack(self, archive: Archive) -> None:
        # Over the agent's own input: an archive call costs 40 ms, whatever its size.
        attachment = self._connected()
        await attachment.write(b"unpack\n")
        pending = b""
        while chunk := await archive.read(64 * protocol.BLOCK):
            pending += chunk
            if blocks := len(pending) // protocol.BLOCK:
                whole = blocks * protocol.BLOCK
                await attachment.write(b"%d\n" % blocks + pending[:whole])
                pending = pending[whole:]
        await attachment.write(b"0\n")

    def _connected(self) -> Attachment:
        if self._attachment is None:
            raise EngineUnavailable("the connection to the container broke")
        return self._attachment

    async def _put(self, archive: Archive) -> None:
        # Without a limit of its own, because it takes as long as the source is large.
        async with engine_client.request(
            self._client(),
            f"containers/{self.id}/archive",
            "PUT",
            params={"path": "/"},
            data=_chunks(archive),
            headers={"Content-Type": "application/x-tar"},
            timeout=aiohttp.ClientTimeout(connect=10),
        ):
            pass

    # What runs

    async def processes(self) -> list[Process]:
        with engine_errors("look at the processes of the container"):
            try:
                top = await engine_client.request_json(
                    self._client(), f"containers/{self.id}/top", params={"ps_args": "-eo pid,s,etimes,args"}
                )
            except aiodocker.DockerError as error:
                if error.status in (404, 409):
                    return []  # it has just ended
                raise
        # A zombie runs no more: the agent takes note of those that a step left before the next step.
        rows = [
            Process(int(pid), int(seconds), command)
            for pid, state, seconds, command in top["Processes"]
            if state != "Z"
        ]
        return sorted((row for row in rows if not protocol.is_agent(row.command)), key=lambda row: row.pid)

    # End

    async def end_step(self) -> None:
        await self._signal("SIGUSR2")

    async def kill_step(self) -> None:
        # By the agent, because an exec needs a process more, and the build may have taken all it may have.
        await self._signal("SIGALRM")

    async def _signal(self, signal: str) -> None:
        with engine_errors("signal the container"), gone_is_fine():
            await self._container.kill(signal=signal, timeout=_ANSWER_SECONDS)

    async def stop(self, grace: float) -> None:
        with engine_errors("stop the container"), gone_is_fine():
            await self._container.stop(t=round(grace), timeout=grace + _ANSWER_SECONDS)

    async def exit(self) -> Exit:
        self._stop_forwarding()
        await self.detach()
        with engine_errors("stop the container"):
            try:
                await kill(self._container)
                await self._container.wait(timeout=_ANSWER_SECONDS)
                state = (await self._container.show())["State"]
            except aiodocker.DockerError as error:
                if error.status == 404:
                    return Exit(None)
                raise
        return Exit(state["ExitCode"], state["OOMKilled"])

    async def remove(self) -> None:
        if self._removed:
            return
        self._stop_forwarding()
        # An attachment that nobody reads would make the engine wait with the removal.
        await self.detach()
        with engine_errors("remove the container"):
            await delete(self._container)
        self._removed = True

    def _stop_forwarding(self) -> None:
        # Without the container, its ports at the machine are somebody else's.
        if self._forward is not None:
            self._forward.close()

    async def detach(self) -> None:
        if self._attachment is not None:
            self._attachment.close()
            self._attachment = None


async def kill(container: Any) -> None:
    """Ends a container at once; no harm if it has ended."""
    with gone_is_fine():
        await container.kill(timeout=_ANSWER_SECONDS)


async def delete(container: Any) -> None:
    """Ends and removes a container with its volumes; no harm if there is none."""
    with gone_is_fine():
        await container.delete(force=True, v=True, timeout=_ANSWER_SECONDS)


def is_going(container: Any) -> bool:
    """Whether the engine is removing a container, from its list."""
    return container["State"] == "removing"


def published(bindings: dict[str, Any]) -> dict[str, str] | None:
    """The published ports, from what the engine says of them."""
    return {
        port.partition("/")[0]: f"{hosts[0]['HostIp']}:{hosts[0]['HostPort']}"
        for port, hosts in bindings.items()
        if hosts
    } or None


async def _chunks(archive: Archive) -> AsyncIterator[bytes]:
    while chunk := await archive.read(256 * 1024):
        yield chunk
