"""One node of a cluster: its executor, and what is known of its engine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, cast

from rapidflow_web.errors import BuildError, EngineUnavailable, RapidFlowError
from rapidflow_web.executors.base import Live
from rapidflow_web.executors.cluster.inventory import Node
from rapidflow_web.executors.cluster.node_connection import NodeConnection
from rapidflow_web.executors.cluster.placement import NodeState, slots_of
from rapidflow_web.executors.docker.connection import Connection
from rapidflow_web.executors.docker.engine_errors import engine_errors
from rapidflow_web.executors.docker.executor import DockerExecutor, labels_in

_log = logging.getLogger(__name__)

_ANSWER_SECONDS = 5.0
_DOWN_SECONDS = 1.0
"""Seconds between two looks at an engine that is down."""
_STRIKES = 2
"""After how many looks in a row without an answer an engine is down, which cuts its connections."""
_DETAILS_SECONDS = 60.0
"""After which labels and images are asked for again."""


class Member:
    """A node, or what stands for one that its inventory does not have."""

    def __init__(self, make: Callable[[Connection], DockerExecutor]) -> None:
        self.connection = NodeConnection()
        self.docker = make(self.connection)
        self._forget()
        self._images: frozenset[str] = frozenset()
        self._looking: asyncio.Task[None] | None = None
        self._sweeping: asyncio.Task[int] | None = None

    def _forget(self) -> None:
        """What is known of its engine does not count any more."""
        self._answered = False
        self._unready: str | None = "has not answered yet"
        """Why builds can't begin though it answers, as the end of a sentence."""
        self._strikes = _STRIKES
        self._labels: dict[str, str] | None = None
        self._details_at = 0.0
        """When labels and images were last asked for."""

    @property
    def node(self) -> Node | None:
        """As its inventory has it; None where it does not."""
        return self.connection.node

    @property
    def reachable(self) -> bool:
        """Whether its engine answered when it was last asked."""
        return self.node is not None and self.connection.down is None and self._answered

    def state(self, node: Node, default_slots: int) -> NodeState:
        """What is known of it. `default_slots` is how many builds a machine runs of which nobody says it."""
        down = self.connection.down
        labels = {**(self._labels or {}), **node.labels}
        return NodeState(
            node.id,
            node.name,
            labels,
            slots_of(labels, node.slots, default_slots),
            node.problem or (f"can't be reached: {down}" if down is not None else self._unready),
            self.reachable,
            self.docker.parked,
            self._images | self.docker.image_names,
        )

    # Looking after it

    def look(self) -> asyncio.Task[None]:
        """Asks its engine how it is, and asks on while it is down. The task never fails."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        return self._looking

    async def leave(self) -> None:
        """Its inventory has it no more: whoever reads from its engine would not learn that it is gone."""
        if self.connection.node is not None:
            self.connection.node = self.connection.down = None
            self._forget()
            await self.connection.cut()

    async def _look(self) -> None:
        while True:
            if await self._answers():
                break
            await asyncio.sleep(_DOWN_SECONDS)
        await self._learn()
        await self._judge()

    async def _answers(self) -> bool:
        """Whether there is nothing to wait for."""
        node, before = self.node, self.connection.down
        if node is None:
            return True
        try:
            with engine_errors("ask the engine for its version"):
                async with asyncio.timeout(_ANSWER_SECONDS):
                    await self.connection.open().version()
        except EngineUnavailable as error:
            await self._missed(node, error)
            return False
        except (BuildError, KeyError, TypeError, ValueError):
            pass  # something answers; whether builds can begin there is judged later
        self._strikes, self.connection.down, self._answered = 0, None, True
        if before is not None:
            _log.info("node %s answers again", node.name)
        return True

    async def _missed(self, node: Node, error: EngineUnavailable) -> None:
        self._strikes += 1
        if self._strikes < _STRIKES:
            return
        # Whoever shows the reason begins with "can't be reached" already.
        reason = str(error).removeprefix("the Docker engine can't be reached: ")
        if self.connection.down is None:
            _log.warning("node %s can't be reached: %s", node.name, reason)
            self._forget()
            self.connection.down = reason
            await self.connection.cut()
        self.connection.down = reason

    async def _learn(self) -> None:
        """Asks for what changes seldom. Without an answer, what was known before stays."""
        now = asyncio.get_running_loop().time()
        if self._labels is not None and now < self._details_at + _DETAILS_SECONDS:
            return
        self._details_at = now
        try:
            with engine_errors("ask the engine for its labels and images"):
                async with asyncio.timeout(_ANSWER_SECONDS):
                    self._labels = labels_in(cast(Any, await self.connection.open().system.info()))
                async with asyncio.timeout(_ANSWER_SECONDS):
                    images: list[dict[str, Any]] = await self.connection.open().images.list()
            self._images = frozenset(name for image in images for name in image.get("RepoTags") or ())
        except (RapidFlowError, KeyError, TypeError, ValueError) as error:
            _log.debug("what a node has is not known: %s", error)

    async def _judge(self) -> None:
        """Finds out whether builds can begin."""
        if self._labels is None:
            self._unready = "has not told its labels yet"
            return
        try:
            await self.docker.check()
        except EngineUnavailable as error:
            self._unready = f"is not ready: {error}"
        else:
            self._unready = None

    # What is left there

    @property
    def is_swept(self) -> bool:
        """Whether what is left there is just being removed."""
        return self._sweeping is not None and not self._sweeping.done()

    def sweep(self, live: Live) -> asyncio.Task[int]:
        """Removes what is left there, unless that is being done; how much that was. The task never fails."""
        if self._sweeping is None or self._sweeping.done():
            self._sweeping = asyncio.create_task(self._swept(live))
        return self._sweeping

    async def _swept(self, live: Live) -> int:
        try:
            return await self.docker.sweep(live)
        except Exception as error:
            name = self.node.name if self.node is not None else "that is gone"
            _log.warning(
                "what is left of builds on node %s that have ended can't be removed yet: %s", name, error
            )
            return 0

    async def close(self) -> None:
        """Gives its connections back."""
        tasks = [task for task in (self._looking, self._sweeping) if task is not None]
        for task in tasks:
            task.cancel()
        with contextlib.suppress(Exception):
            await self.docker.close()
        if tasks:
            await asyncio.wait(tasks, timeout=0.2)
