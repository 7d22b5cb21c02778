"""Builds on many machines: a Docker executor for each, behind one.

What concerns a job goes to its node, whatever becomes of that: a node that can't be reached, or that the
inventory does not have, raises `EngineUnavailable`. It is never "not there", or a build would run twice. What
concerns all nodes goes to those that answer; one that hangs keeps nothing from the others.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from typing import Protocol, TypeVar, overload

from rapidflow_web.errors import EngineUnavailable, RapidFlowError
from rapidflow_web.executors.base import Live
from rapidflow_web.executors.cluster.inventory import Inventory
from rapidflow_web.executors.cluster.member import Member
from rapidflow_web.executors.cluster.placement import NodeState
from rapidflow_web.executors.docker.connection import Connection
from rapidflow_web.executors.docker.executor import DockerExecutor

_log = logging.getLogger(__name__)

_INVENTORY_SECONDS = 5.0
_FIRST_LOOK_SECONDS = 6.0
_LOOK_SECONDS = 1.0
"""Seconds for which nodes are waited for that take long to answer; they are looked at all the same."""
_SWEEP_SECONDS = 5.0
_IMAGES_SECONDS = 10.0
_STATES_SECONDS = 0.2
"""How long what was seen of the nodes counts: pages and claims ask for it many times in a row."""
_SHOWN = 3
_SHORT_ID = 8

T = TypeVar("T")


class MakeExecutor(Protocol):
    """Makes the executor of an engine; without a connection, of that which the environment names."""

    def __call__(self, connection: Connection | None = None) -> DockerExecutor: ...


class ClusterExecutor:
    """Implements `Executor`. `slots` is how many builds a node runs at once that says nothing of it."""

    name = "docker"
    warning = None

    def __init__(self, inventory: Inventory, make: MakeExecutor, slots: int) -> None:
        self._inventory = inventory
        self._make = make
        self._slots = slots
        self._members: dict[str, Member] = {}
        """Of each id that was ever asked for or listed."""
        self._before: DockerExecutor | None = None
        """The engine of builds that began when the server had a single machine."""
        self._problem: str | None = None
        """Why the inventory can't be asked now."""
        self._known = False
        self._states: Sequence[NodeState] = ()
        self._states_until = 0.0
        self.addresses: Sequence[IPv4Network | IPv6Network] = _Addresses(self._executors)
        self.images = _Images(self)

    def _executors(self) -> list[DockerExecutor]:
        before = [self._before] if self._before is not None else []
        return [*(one.docker for one in self._members.values()), *before]

    @property
    def parked(self) -> int:
        return sum(docker.parked for docker in self._executors())

    @property
    def nodes(self) -> Sequence[NodeState]:
        """The nodes as they were last seen, by their names. Machines of one name have their ids beside it."""
        if time.monotonic() > self._states_until:
            members = [(one, one.node) for one in self._members.values() if one.node is not None]
            named = Counter(node.name for _, node in members)
            found = [member.state(node, self._slots) for member, node in members]
            found = [
                replace(node, name=f"{node.name} ({node.id[:_SHORT_ID]})") if named[node.name] > 1 else node
                for node in found
            ]
            self._states = sorted(found, key=lambda node: node.name)
            self._states_until = time.monotonic() + _STATES_SECONDS
        return self._states

    def on(self, node: str | None) -> DockerExecutor:
        if node is None:
            self._before = self._before or self._make()
            return self._before
        return self._member(node).docker

    def _member(self, node: str) -> Member:
        if node not in self._members:
            self._members[node] = Member(self._make)
        return self._members[node]

    def reachable(self) -> list[Member]:
        """The nodes whose engines answer."""
        return [member for member in self._members.values() if member.reachable]

    async def check(self) -> None:
        await self._list()
        looks = [member.look() for member in self._members.values() if member.node is not None]
        if looks:
            await asyncio.wait(looks, timeout=_LOOK_SECONDS if self._known else _FIRST_LOOK_SECONDS)
            self._known = True
        self._states_until = 0.0
        nodes = self.nodes
        if not any(node.problem is None for node in nodes):
            each = "; ".join(f"{node.name} {node.problem}" for node in nodes[:_SHOWN])
            raise EngineUnavailable(
                f"no node can be used: {each or self._problem or 'the inventory is empty'}"
            )

    async def _list(self) -> None:
        """Takes over the inventory; where it can't be asked, the nodes stay that were known."""
        try:
            async with asyncio.timeout(_INVENTORY_SECONDS):
                listed = {node.id: node for node in await self._inventory.nodes()}
        except (RapidFlowError, TimeoutError) as error:
            problem = str(error) or "the inventory does not answer"
            if problem != self._problem:
                _log.warning("the nodes can't be listed: %s", problem)
            self._problem = problem
            return
        self._problem = None
        for node in listed.values():
            self._member(node.id).connection.node = node
        for name, member in self._members.items():
            if name not in listed:
                await member.leave()

    async def orphans(self, live: Live) -> list[str]:
        async def of(member: Member) -> list[str]:
            name = member.node.name if member.node is not None else ""
            return [f"{what} on node {name}" for what in await member.docker.orphans(live)]

        found = await asyncio.gather(*map(of, self.reachable()), return_exceptions=True)
        for error in found:
            if isinstance(error, BaseException) and not isinstance(error, RapidFlowError):
                raise error
        return [what for one in found if not isinstance(one, BaseException) for what in one]

    async def sweep(self, live: Live) -> int:
        # One that hangs is waited for once.
        sweeps = [member.sweep(live) for member in self.reachable() if not member.is_swept]
        if not sweeps:
            return 0
        done, _ = await asyncio.wait(sweeps, timeout=_SWEEP_SECONDS)
        return sum(task.result() for task in done if not task.cancelled())

    async def close(self) -> None:
        closing = [member.close() for member in self._members.values()]
        if self._before is not None:
            closing.append(self._before.close())
        await asyncio.gather(*closing, self._inventory.close(), return_exceptions=True)


class _Images:
    """Implements `StoredImages`, for the nodes that answer."""

    def __init__(self, cluster: ClusterExecutor) -> None:
        self._cluster = cluster

    async def size(self, image: str) -> int | None:
        sizes, _ = await self._answers(lambda docker: docker.images.size(image))
        return max((size for size in sizes if size is not None), default=None)

    async def remove(self, image: str) -> bool:
        gone, complete = await self._answers(lambda docker: docker.images.remove(image))
        return complete and all(gone)

    async def _answers(self, call: Callable[[DockerExecutor], Awaitable[T]]) -> tuple[list[T], bool]:
        """What the nodes answer in time, and whether that is all. Raises `EngineUnavailable` if none does."""

        async def answer(docker: DockerExecutor) -> T:
            async with asyncio.timeout(_IMAGES_SECONDS):
                return await call(docker)

        asked = [answer(one.docker) for one in self._cluster.reachable()]
        found = await asyncio.gather(*asked, return_exceptions=True)
        answers = [one for one in found if not isinstance(one, BaseException)]
        if not answers:
            raise EngineUnavailable("no node tells of its images")
        return answers, len(answers) == len(found)


class _Addresses(Sequence[IPv4Network | IPv6Network]):
    """The addresses of all nodes as they are known when they are looked at."""

    def __init__(self, executors: Callable[[], Sequence[DockerExecutor]]) -> None:
        self._executors = executors

    def _all(self) -> list[IPv4Network | IPv6Network]:
        return list(dict.fromkeys(address for one in self._executors() for address in one.addresses))

    def __iter__(self) -> Iterator[IPv4Network | IPv6Network]:
        return iter(self._all())

    @overload
    def __getitem__(self, index: int) -> IPv4Network | IPv6Network: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[IPv4Network | IPv6Network]: ...
    def __getitem__(self, index: int | slice) -> object:
        return self._all()[index]

    def __len__(self) -> int:
        return len(self._all())
