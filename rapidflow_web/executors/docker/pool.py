"""Containers that are ready before there is a build for them.

A parked container is what a build runs in: its agent has started, and waits for the nonce of a job. What the
engine has to know of a build is in the configuration with which it was created, so that configuration, with
the id of the image, says which build may have it. It serves one job and no other.
"""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import secrets
from collections import Counter, deque
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiodocker

from rapidflow_web import metrics
from rapidflow_web.errors import BuildError, EngineUnavailable, RapidFlowError
from rapidflow_web.executors.docker import image_files, image_user
from rapidflow_web.executors.docker.attachment import Attachment, attach
from rapidflow_web.executors.docker.container import delete, published
from rapidflow_web.executors.docker.engine_errors import engine_errors, start_errors
from rapidflow_web.executors.docker.known_images import Image
from rapidflow_web.executors.docker.networks import Networks, is_ambiguous

_log = logging.getLogger(__name__)

_CREATE_SECONDS = 10.0
_GIVE_UP_SECONDS = 5.0
_CLOSE_SECONDS = 0.4
_AGENT_SECONDS = 60.0
"""How long the agent of a started container may take to say that it waits; a busy machine takes a second."""
_REST_SECONDS = 0.5
"""How long after the last start of a build the engine is left to builds."""
_LONGEST_REST = 5.0
"""How long that is waited for, where one build begins right after another."""
_LOOK_SECONDS = 0.05
_IDLE_SECONDS = 30 * 60.0
"""How long a build counts for what is kept ready."""
_LEAST_FREE = 0.1
"""The part of the machine's memory that must be free where a container is to be parked."""
_WAITING = b"waiting "
_MOST_SAID = 64 * 1024
_NOT_FOUND = 404
_WORKSPACE = "/workspace"


@dataclass(slots=True, eq=False)
class Ready:
    """A container whose agent waits for its nonce. `owner` has the agent's folders, in numbers."""

    id: str
    name: str
    attachment: Attachment
    ports: dict[str, str] | None
    owner: tuple[int, int]


@dataclass(frozen=True)
class Wanted:
    """What a build needs: the `configuration` to create its container with, apart from what covers files."""

    image: Image
    configuration: Mapping[str, Any]

    @functools.cached_property
    def text(self) -> str:
        """The configuration without the agent, which is the same for all and long."""
        return json.dumps({**self.configuration, "Cmd": None}, sort_keys=True)

    def complete(self) -> dict[str, Any]:
        """The whole configuration: the source is alone in the workspace, whatever the image has there."""
        mounts = [
            {"Type": "volume", "Target": folder, "VolumeOptions": {"NoCopy": True}}
            for folder in self.image.covered
        ]
        return {
            **self.configuration,
            "HostConfig": {**self.configuration["HostConfig"], "Mounts": mounts},
        }

    @property
    def key(self) -> Hashable:
        """The same for builds that could have the same container."""
        return self.text, self.image.occupied


class Pool:
    """Makes containers of builds, and keeps up to `size` of them ready: like those that builds had last."""

    def __init__(
        self, client: Callable[[], aiodocker.Docker], installation: str, networks: Networks, size: int
    ) -> None:
        self.ours: set[str] = set()
        """Names of the containers that belong to no build yet."""
        self._client = client
        self._installation = installation
        self._networks = networks
        self._size = size
        self._parked: dict[Hashable, list[Ready]] = {}
        self._recent: deque[tuple[float, Wanted]] = deque(maxlen=size)
        """When containers were last needed, and what for."""
        self._may_park = False
        self._filling: asyncio.Task[None] | None = None
        self._parking: tuple[Hashable, asyncio.Task[Ready]] | None = None
        """What is just being parked, unless a build waits for it already."""
        self._expiry: asyncio.TimerHandle | None = None
        self._taken_at = 0.0
        """When a build was last given a container."""
        self._wanting = 0
        """How many builds wait for a container."""
        self._removals: set[asyncio.Task[None]] = set()

    async def take(self, wanted: Wanted, *, park: bool) -> Ready:
        """A container for one build; with `park`, builds like it are expected from now on.

        Whoever takes it must `release` it once it belongs to a job. Raises `BuildError`, `EngineUnavailable`.
        """
        ready = self._pop(wanted.key)
        metrics.CONTAINERS.labels("parked" if ready is not None else "created").inc()
        if ready is None:
            self._wanting += 1
            try:
                ready = await self._arriving(wanted.key) or await self._make(wanted)
            finally:
                self._wanting -= 1
        self._taken_at = asyncio.get_running_loop().time()
        if park and not ready.attachment.is_eof():
            self.expect(wanted)
        return ready

    def release(self, ready: Ready) -> None:
        """From now on it belongs to a job."""
        self.ours.discard(ready.name)

    def expect(self, wanted: Wanted) -> None:
        """Says that a build like this is likely to come."""
        if self._size:
            self._recent.append((asyncio.get_running_loop().time(), wanted))
            self.fill_up()

    async def drop(self, image: Image) -> None:
        """Removes what keeps an image from being removed. Raises like `take`."""
        self._recent = deque((one for one in self._recent if one[1].image is not image), self._size)
        if self._filling is not None and self._parking is not None:
            await asyncio.wait({self._parking[1]}, timeout=_GIVE_UP_SECONDS)
            await asyncio.sleep(0)
        for ready in [self._parked[key].pop() for key in self._surplus()]:
            with engine_errors("remove a container that was kept ready"):
                await self._remove(ready)

    async def close(self) -> None:
        """Removes what is parked; the engine does so also where that takes longer than a server may to end.

        What is just being made may be left to the next start.
        """
        if self._expiry is not None:
            self._expiry.cancel()
        if self._filling is not None:
            self._filling.cancel()
        for ready in self._all():
            self._let_go(ready)
        tasks = {*self._removals, *([self._filling] if self._filling is not None else [])}
        self._parked.clear()
        if tasks:
            await asyncio.wait(tasks, timeout=_CLOSE_SECONDS)

    async def quiet(self) -> None:
        """Leaves the engine to builds that begin, as long as that is not for ever."""
        for _ in range(round(_LONGEST_REST / _LOOK_SECONDS)):
            if not self._wanting and asyncio.get_running_loop().time() >= self._taken_at + _REST_SECONDS:
                return
            await asyncio.sleep(_LOOK_SECONDS)

    # What is parked

    @property
    def parked(self) -> int:
        """How many containers wait for a build."""
        return sum(not ready.attachment.is_eof() for ready in self._all())

    def _all(self) -> list[Ready]:
        return [ready for group in self._parked.values() for ready in group]

    def _pop(self, key: Hashable) -> Ready | None:
        self._forget_ended()
        group = self._parked.get(key)
        return group.pop(0) if group else None

    def _forget_ended(self) -> None:
        """The engine was restarted, or somebody ended them; the sweep removes what is left."""
        for group in self._parked.values():
            for ready in [one for one in group if one.attachment.is_eof()]:
                group.remove(ready)
                ready.attachment.close()
                self.ours.discard(ready.name)

    async def _arriving(self, key: Hashable) -> Ready | None:
        """What is just being parked, if it fits: sooner there than one that is begun only now."""
        if self._parking is None or self._parking[0] != key:
            return None
        task, self._parking = self._parking[1], None
        try:
            return await asyncio.shield(task)
        except Exception:
            return None  # one of its own may do better, or says what is wrong
        except asyncio.CancelledError:
            if not task.cancelled():
                task.add_done_callback(self._left_over)
            raise

    def _left_over(self, task: asyncio.Task[Ready]) -> None:
        if not task.cancelled() and task.exception() is None:
            self._let_go(task.result())

    def _let_go(self, ready: Ready) -> None:
        async def remove() -> None:
            try:
                with engine_errors("remove a container that was kept ready"):
                    await self._remove(ready)
            except RapidFlowError as error:
                _log.debug("%s", error)  # the sweep removes it

        self._removals.add(task := asyncio.create_task(remove()))
        task.add_done_callback(self._removals.discard)

    async def _remove(self, ready: Ready) -> None:
        ready.attachment.close()
        try:
            await delete(self._client().containers.container(ready.id))
        finally:
            self.ours.discard(ready.name)

    # What is to be parked

    def begin(self) -> None:
        """From now on containers are parked: what an earlier server had parked is gone.

        Before that, servers that are killed one after the other would each add theirs. Safe to call again.
        """
        self._may_park = True
        self.fill_up()

    def fill_up(self) -> None:
        """Sees to it that what is expected is parked, also where parked containers have ended."""
        if self._may_park and (self._filling is None or self._filling.done()):
            self._filling = asyncio.create_task(self._fill())

    def _demand(self) -> Counter[Hashable]:
        oldest = asyncio.get_running_loop().time() - _IDLE_SECONDS
        while self._recent and self._recent[0][0] <= oldest:
            self._recent.popleft()
        return Counter(wanted.key for _, wanted in self._recent)

    def _surplus(self) -> list[Hashable]:
        """The keys of which more is parked than is expected, as often as that is so."""
        demand = self._demand()
        return [key for key, group in self._parked.items() for _ in group[demand[key] :]]

    def _missing(self) -> Wanted | None:
        """What is to be parked next."""
        demand = self._demand()
        for _, wanted in reversed(self._recent):
            key = wanted.key
            if len(self._parked.get(key, ())) < demand[key]:
                return wanted
        return None

    async def _fill(self) -> None:
        """Parks what is missing, one at a time, and lets go of what nothing asks for any more."""
        while True:
            await self.quiet()
            self._forget_ended()
            for key in self._surplus():
                self._let_go(self._parked[key].pop(0))
            self._parked = {key: group for key, group in self._parked.items() if group}
            if (wanted := self._missing()) is None or not await asyncio.to_thread(_has_memory):
                break
            if (ready := await self._parked_one(wanted)) is not None:
                self._parked.setdefault(wanted.key, []).append(ready)
        if self._expiry is not None:
            self._expiry.cancel()
        if self._recent:
            loop = asyncio.get_running_loop()
            self._expiry = loop.call_at(self._recent[0][0] + _IDLE_SECONDS + 1, self.fill_up)

    async def _parked_one(self, wanted: Wanted) -> Ready | None:
        """A container to park; None where a build has it already, or there is none."""
        task = asyncio.create_task(self._make(wanted))
        mine = self._parking = (wanted.key, task)
        try:
            ready = await asyncio.shield(task)
            if self._parking is not mine:
                return None
            if ready.attachment.is_eof():
                self._let_go(ready)
                raise BuildError("the agent could not begin")
            return ready
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task})
            raise
        except Exception as error:
            # The build that needs one says it, if it still is so.
            _log.debug("no container is kept ready: %s", error)
            key = wanted.key
            self._recent = deque((one for one in self._recent if one[1].key != key), self._size)
            return None
        finally:
            if self._parking is mine:
                self._parking = None

    # How they are made

    async def _make(self, wanted: Wanted) -> Ready:
        # A name of its own choice: so it can be removed also where the engine's answer never came.
        name = f"rapidflow-{self._installation[:12]}-{secrets.token_hex(4)}"
        self.ours.add(name)
        making = asyncio.ensure_future(self._made(name, wanted))
        try:
            return await asyncio.shield(making)
        except BaseException:
            # A cancelled call may still make the container, after it was looked for in vain.
            await asyncio.wait({making}, timeout=_CREATE_SECONDS)
            removal = asyncio.ensure_future(self._unmake(name, making))
            removal.add_done_callback(lambda done: done.cancelled() or done.exception())
            await asyncio.wait({removal}, timeout=_GIVE_UP_SECONDS)
            self.ours.discard(name)  # what an engine that hangs does not remove, the sweep does
            raise

    async def _unmake(self, name: str, making: asyncio.Future[Ready]) -> None:
        if not making.done():
            making.cancel()
        elif not making.cancelled() and making.exception() is None:
            making.result().attachment.close()
        await delete(self._client().containers.container(name))

    async def _made(self, name: str, wanted: Wanted) -> Ready:
        with start_errors():
            for _ in range(3):
                if wanted.configuration["HostConfig"]["NetworkMode"] != "none":
                    await self._networks.ensure()
                try:
                    ready = await self._started(name, wanted)
                except aiodocker.DockerError as error:
                    gone = error.status == _NOT_FOUND and "network" in error.message.lower()
                    if not gone and not is_ambiguous(error):
                        raise
                    # Somebody has removed the network, which was not in use, or made another of its name.
                    self._networks.forget()
                    ready = None
                if ready is not None:
                    return ready
                await delete(self._client().containers.container(name))
        raise BuildError("could not start the container: its network is removed again and again")

    async def _started(self, name: str, wanted: Wanted) -> Ready | None:
        """The container; None where it showed what was not known of its image, so another one is needed."""
        image, covered = wanted.image, wanted.image.covered
        with engine_errors("create the container"):
            container: Any = await self._client().containers.create(wanted.complete(), name=name)
        owner = (0, 0)
        if image.user not in image_user.ROOT:
            if image.occupied is None:
                image.occupied = await image_files.stat(container, _WORKSPACE) is not None
                if image.covered != covered:
                    return None
            if image.owner is None:
                image.owner = await image_user.numbers_of(container, image.user)
            owner = image.owner
            await image_user.give_folders(container, owner)
        attachment = await attach(self._client(), container.id)
        try:
            await container.start()
            heard = await _heard_of_workspace(attachment)
            if heard is not None and _WORKSPACE not in covered and image.user in image_user.ROOT:
                image.occupied = heard
            if image.covered != covered:
                attachment.close()
                return None
            details: dict[str, Any] = await container.show()
            await self._networks.note(details)
        except BaseException:
            attachment.close()
            raise
        ports = published(details["NetworkSettings"]["Ports"] or {})
        return Ready(container.id, name, attachment, ports, owner)


async def _heard_of_workspace(attachment: Attachment) -> bool | None:
    """Waits until the agent does; whether it says that something is at /workspace, None if it says nothing.

    What an agent prints that never comes to wait is left for whoever reads the build's output. Raises
    `EngineUnavailable`.
    """
    said = b""
    try:
        async with asyncio.timeout(_AGENT_SECONDS):
            while len(said) < _MOST_SAID and (chunk := await attachment.read()):
                said += chunk
                line, newline, rest = said[said.rfind(_WAITING) :].partition(b"\n")
                if line.startswith(_WAITING) and newline:
                    attachment.unread(rest)
                    return line != _WAITING + b"free"
    except TimeoutError:
        raise EngineUnavailable("the agent of the build did not start in time") from None
    attachment.unread(said)
    return None


def _has_memory() -> bool:
    """Whether the machine has memory to spare, as far as it can be told here."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        return found["MemAvailable"] > _LEAST_FREE * found["MemTotal"]
    except (OSError, LookupError, ValueError):
        return True
