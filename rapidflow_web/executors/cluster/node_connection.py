"""How the engine of a node is reached, and how builds learn that it is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import aiodocker

from rapidflow_web.errors import EngineUnavailable
from rapidflow_web.executors.cluster.forwarding import Forward, Forwards
from rapidflow_web.executors.cluster.inventory import Node
from rapidflow_web.executors.cluster.tls import context_of
from rapidflow_web.executors.docker import engine_client
from rapidflow_web.executors.docker.connection import CALL


class NodeConnection:
    """Implements `Connection`. A node that was found down raises at once, where its engine could hang."""

    def __init__(self) -> None:
        self.node: Node | None = None
        """The node as its inventory has it; None where it has none of this id."""
        self.down: str | None = None
        """Why it can't be reached, as a sentence; None while it can."""
        self._docker: aiodocker.Docker | None = None
        self._made_for: object = None
        self._earlier: list[aiodocker.Docker] = []
        """Clients with earlier keys or addresses; what they opened is still in use."""
        self._forwards = Forwards(self._reached)
        self._closed = False

    def client(self) -> aiodocker.Docker:
        if self.node is not None and self.down is not None:
            raise EngineUnavailable(f"node {self.node.name} can't be reached: {self.down}")
        return self.open()

    def open(self) -> aiodocker.Docker:
        """The client, also of a node that is down. Raises `EngineUnavailable`."""
        if self._closed:
            raise EngineUnavailable("the server ends")
        node = self.node
        if node is None:
            raise EngineUnavailable("it is not among the machines of this server")
        made_for = (node.address, node.certificates)
        if self._docker is None or made_for != self._made_for:
            context = context_of(node.certificates) if node.certificates is not None else None
            try:
                docker = engine_client.connect(CALL, node.address, context)
            except (AssertionError, ValueError, OSError) as error:
                raise EngineUnavailable(f"the address {node.address} can't be used: {error}") from error
            if self._docker is not None:
                self._earlier.append(self._docker)
            self._docker, self._made_for = docker, made_for
        return self._docker

    def forward(self, published: Mapping[str, str]) -> Forward | None:
        if self.node is not None and not _has_relay(self.node):
            return None
        # Never what is published there: here, that address is somebody else's.
        return self._forwards.open({} if self._closed else published)

    def _reached(self) -> Node:
        self.client()
        return cast(Node, self.node)

    async def cut(self) -> None:
        """Ends all connections: whoever reads from an engine that is gone would wait for ever."""
        self._forwards.cut()
        clients = [*self._earlier, *([self._docker] if self._docker is not None else [])]
        self._earlier, self._docker = [], None
        for docker in clients:
            engine_client.abort(docker)
            await docker.close()

    async def close(self) -> None:
        self._closed = True
        self._forwards.close()
        await self.cut()


def _has_relay(node: Node) -> bool:
    return node.certificates is not None and node.certificates.of_relays
