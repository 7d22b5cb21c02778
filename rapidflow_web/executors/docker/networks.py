"""The network of the engine that builds are in.

Unless the settings name another, all installations of an engine share one. Builds in it don't hear each
other, and the addresses by which a cloud tells a machine of itself are the build's own. All of it is asked of
the engine, which may be on another machine.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

import aiodocker

from rapidflow_web.errors import BuildError
from rapidflow_web.executors.docker.engine_errors import engine_errors

CLOSED = "closed"
"""The setting that stands for the network made here."""

# One for each installation would take a range of addresses for each, of which an engine has some 30.
_BUILDS = "rapidflow-builds"
_METADATA = ("169.254.169.254", "169.254.170.2", "169.254.170.23")
"""Where clouds, ECS and EKS tell a machine of itself and give it credentials.

Each build has these addresses itself. So they lead nowhere else, from whatever address or interface it
connects. Its other link-local addresses are on the network itself, which has nobody but the engine's machine.
"""

_LABELS = {"rapidflow.shared": "true"}
_NOT_FOUND, _CONFLICT = 404, 409
_BRIDGE = "com.docker.network.bridge"
_MTU = "com.docker.network.driver.mtu"
_LEAST_API = (1, 41)


class Networks:
    """The network of builds, made when it is first needed. `setting` is `Settings.network`."""

    def __init__(self, client: Callable[[], aiodocker.Docker], setting: str) -> None:
        self.addresses: list[IPv4Network | IPv6Network] = []
        """From where builds connect, as far as it is known; it grows when the network is made."""
        self._client = client
        self._setting = setting
        self._is_there = False
        self._making = asyncio.Lock()

    @property
    def name(self) -> str:
        """What the engine calls the network."""
        return _BUILDS if self._setting == CLOSED else self._setting

    @property
    def joining(self) -> dict[str, Any]:
        """What the configuration of a container in the network has besides its name."""
        if self._setting != CLOSED:
            return {}
        endpoint = {"IPAMConfig": {"LinkLocalIPs": list(_METADATA)}}
        return {"NetworkingConfig": {"EndpointsConfig": {_BUILDS: endpoint}}}

    async def ensure(self) -> None:
        """Sees to it that the network is there. Raises `BuildError`, `EngineUnavailable`."""
        # One at a time, because an engine may make several of one name for those that ask at once.
        async with self._making:
            if not self._is_there:
                with engine_errors("make the network of builds"):
                    if self._setting == CLOSED:
                        await self._make()
                        await self._leave_one()
                    await self._note_addresses()
                self._is_there = True

    async def look(self) -> None:
        """Notes from where builds connect, also those of other servers, which began before any of ours.

        Raises `BuildError`, `EngineUnavailable`.
        """
        if not self.addresses:
            with engine_errors("look at the network of builds"):
                try:
                    await self._note_addresses()
                except aiodocker.DockerError as error:
                    if error.status != _NOT_FOUND and not is_ambiguous(error):
                        raise

    async def note(self, container: dict[str, Any]) -> None:
        """Notes from where this container connects: another server may have made the network anew.

        `container` is what the engine says of it. Raises `BuildError`, or what aiodocker raises.
        """
        for endpoint in container["NetworkSettings"]["Networks"].values():
            address = endpoint["IPAddress"]
            if address and not any(ip_address(address) in known for known in self.addresses):
                await self._note_addresses()

    def forget(self) -> None:
        """Lets the network be made anew: somebody has removed it."""
        self._is_there = False

    async def _make(self) -> None:
        await self._check_engine()
        options = {f"{_BRIDGE}.enable_icc": "false"}
        # A network that is made doesn't have it from the engine's configuration; with the wrong one, large
        # packets get lost on some clouds.
        bridge = await (await self._client().networks.get("bridge")).show()
        if mtu := bridge["Options"].get(_MTU):
            options[_MTU] = mtu
        config = {"Name": _BUILDS, "Driver": "bridge", "Labels": _LABELS, "Options": options}
        try:
            await self._client().networks.create({**config, "CheckDuplicate": True})
        except aiodocker.DockerError as error:
            if error.status != _CONFLICT:
                raise

    async def _leave_one(self) -> None:
        """Removes all networks of the name but the oldest: two servers may have made one at the same time."""
        found: list[dict[str, Any]] = await self._client().networks.list(filters={"name": [_BUILDS]})
        same = sorted((one["Created"], one["Id"]) for one in found if one["Name"] == _BUILDS)
        for _, network in same[1:]:
            # It is gone already, or has a build in it, and goes another time.
            with contextlib.suppress(aiodocker.DockerError):
                await (await self._client().networks.get(network)).delete()

    async def _check_engine(self) -> None:
        version: dict[str, Any] = await self._client().version()
        api = tuple(int(number) for number in str(version["ApiVersion"]).split("."))
        # Others would not give builds the addresses of the cloud.
        if api < _LEAST_API or "podman" in str(version.get("Components")).lower():
            raise BuildError(
                "the builds' network can't be closed on this engine, only on Docker 20.10 or newer; set "
                "RAPIDFLOW_NETWORK to the network that builds are to be in, for example bridge"
            )

    async def _note_addresses(self) -> None:
        try:
            details: dict[str, Any] = await (await self._client().networks.get(self.name)).show()
        except aiodocker.DockerError as error:
            if error.status != _NOT_FOUND or self._setting == CLOSED:
                raise
            raise BuildError(
                f"the engine has no network '{self.name}', which RAPIDFLOW_NETWORK names; "
                "make it there, or set another"
            ) from error
        configs: list[dict[str, str]] = details["IPAM"]["Config"] or []
        subnets = [ip_network(config["Subnet"], strict=False) for config in configs]
        if self._setting == CLOSED:
            subnets += map(ip_network, _METADATA)
        self.addresses += [subnet for subnet in subnets if subnet not in self.addresses]


def is_ambiguous(error: aiodocker.DockerError) -> bool:
    """Whether the engine has several networks of one name."""
    return "is ambiguous" in error.message and "network" in error.message
