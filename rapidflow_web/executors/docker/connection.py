"""How an engine is reached: one client of it, made when it is first needed."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Protocol

import aiodocker
import aiohttp

from rapidflow_web.errors import EngineUnavailable
from rapidflow_web.executors.docker import engine_client

CALL = aiohttp.ClientTimeout(total=120, connect=10)
"""For calls that the engine answers by itself; a hung engine must not hold a build for ever."""


class Forward(Protocol):
    """What leads from this machine to ports that a build publishes at the machine of its engine."""

    @property
    def ports(self) -> dict[str, str]:
        """The build's own port to the address on this machine."""
        ...

    def close(self) -> None:
        """Ends it, with all connections. Safe to call again."""
        ...


class Connection(Protocol):
    """Gives the client of one engine."""

    def client(self) -> aiodocker.Docker:
        """The client. Raises `EngineUnavailable` while there is nothing to connect to."""
        ...

    def forward(self, published: Mapping[str, str]) -> Forward | None:
        """Leads to `published`, the build's own ports with their addresses at the machine of the engine.

        None where that is this machine, or nothing leads to the other.
        """
        ...

    async def close(self) -> None:
        """Gives its connections back. From then on `client` raises."""
        ...


class EnvironmentConnection:
    """Implements `Connection` for the engine that the environment names."""

    def __init__(self) -> None:
        self._docker: aiodocker.Docker | None = None
        self._closed = False

    def client(self) -> aiodocker.Docker:
        if self._closed:
            # A build that hangs is still being let go of; nobody would close another client.
            raise EngineUnavailable("the server ends")
        if self._docker is None:
            try:
                self._docker = engine_client.connect(CALL)
            except (AssertionError, ValueError) as error:
                raise EngineUnavailable(_nowhere()) from error
            except (aiodocker.DockerError, OSError) as error:
                keys = os.environ.get("DOCKER_CERT_PATH")
                where = f" (DOCKER_CERT_PATH is {keys!r})" if keys else ""
                raise EngineUnavailable(f"the Docker configuration can't be used: {error}{where}") from error
        return self._docker

    def forward(self, published: Mapping[str, str]) -> None:
        return None

    async def close(self) -> None:
        self._closed = True
        if self._docker is not None:
            await self._docker.close()
            self._docker = None


def _nowhere() -> str:
    """Why there is no engine to connect to."""
    if host := os.environ.get("DOCKER_HOST"):
        return (
            f"DOCKER_HOST is '{host}', which is not an address; "
            "write it like unix:///var/run/docker.sock or tcp://host:port, or unset it"
        )
    return "no Docker engine was found; start one or set DOCKER_HOST"
