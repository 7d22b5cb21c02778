"""The networks of the engine that builds are in.

Unless the settings name another there are two, which all installations of an engine share. Builds in them
don't hear each other, and the address by which a cloud tells a machine of itself leads nowhere. All of it is
asked of the engine, which may be on another machine.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

import aiodocker

from rapidflow_web.errors import BuildError
from rapidflow_web.executors.docker.engine_errors import engine_errors

CLOSED = "closed"
"""The setting that stands for the networks made here."""

# One for each installation would take a range of addresses for each, of which an engine has some 30.
_BUILDS = "rapidflow-builds"
"""The network with the way out."""
_LINK_LOCAL = "rapidflow-link-local"
"""The network that has all link-local addresses, those of clouds among them, and nobody who answers."""

_LABELS = {"rapidflow.shared": "true"}
_NOT_FOUND, _CONFLICT = 404, 409
_BRIDGE = "com.docker.network.bridge"
_MTU = "com.docker.network.driver.mtu"
_METADATA = "169.254.169.254"
_LEAST_API = (1, 41)


class Networks:
    """The networks of builds, made when they are first needed. `setting` is `Settings.network`."""

    def __init__(self, client: Callable[[], aiodocker.Docker], setting: str) -> None:
        self.addresses: list[IPv4Network | IPv6Network] = []
        """From where builds connect, as far as it is known; it grows when networks are made."""
        self._client = client
        self._setting = setting
        self._names: list[str] = []

    async def names(self) -> list[str]:
        """What a build is connected to, the way out first. Raises `BuildError`, `EngineUnavailable`."""
        if not self._names:
            with engine_errors("make the network of builds"):
                names = await self._made() if self._setting == CLOSED else [self._setting]
                await self._note_addresses(names[0])
            self._names = names
        return self._names

    async def look(self) -> None:
        """Notes from where builds connect, also those of other servers, which began before any of ours.

        Raises `BuildError`, `EngineUnavailable`.
        """
        if not self.addresses:
            with engine_errors("look at the network of builds"):
                try:
                    await self._note_addresses(_BUILDS if self._setting == CLOSED else self._setting)
                except aiodocker.DockerError as error:
                    if error.status != _NOT_FOUND:
                        raise

    def forget(self) -> None:
        """Lets the networks be made anew: somebody has removed them."""
        self._names = []

    async def _made(self) -> list[str]:
        await self._check_engine()
        options = {f"{_BRIDGE}.enable_icc": "false"}
        # Networks that are made don't have it from the engine's configuration; with the wrong one, large
        # packets get lost on some clouds.
        bridge = await (await self._client().networks.get("bridge")).show()
        if mtu := bridge["Options"].get(_MTU):
            options[_MTU] = mtu
        await self._make(_BUILDS, {"Options": options})
        # The machine of the engine gets no address in it, or else it could not reach the cloud either.
        addresses = {
            "Subnet": "169.254.0.0/16",
            "Gateway": "169.254.0.1",
            "AuxiliaryAddresses": {"metadata": _METADATA},
        }
        options = {f"{_BRIDGE}.enable_icc": "false", f"{_BRIDGE}.inhibit_ipv4": "true"}
        await self._make(_LINK_LOCAL, {"Internal": True, "IPAM": {"Config": [addresses]}, "Options": options})
        return [_BUILDS, _LINK_LOCAL]

    async def _make(self, name: str, config: dict[str, Any]) -> None:
        try:
            await self._client().networks.create(
                {"Name": name, "Driver": "bridge", "CheckDuplicate": True, "Labels": _LABELS, **config}
            )
        except aiodocker.DockerError as error:
            if error.status != _CONFLICT:
                raise

    async def _check_engine(self) -> None:
        version: dict[str, Any] = await self._client().version()
        api = tuple(int(number) for number in str(version["ApiVersion"]).split("."))
        # Others would give the machine itself an address in the network that leads nowhere.
        if api < _LEAST_API or "podman" in str(version.get("Components")).lower():
            raise BuildError(
                "the builds' network can't be closed on this engine, only on Docker 20.10 or newer; set "
                "RAPIDFLOW_NETWORK to the network that builds are to be in, for example bridge"
            )

    async def _note_addresses(self, name: str) -> None:
        try:
            details: dict[str, Any] = await (await self._client().networks.get(name)).show()
        except aiodocker.DockerError as error:
            if error.status != _NOT_FOUND or name == _BUILDS:
                raise
            raise BuildError(
                f"the engine has no network '{name}', which RAPIDFLOW_NETWORK names; "
                "make it there, or set another"
            ) from error
        configs: list[dict[str, str]] = details["IPAM"]["Config"] or []
        subnets = [ip_network(config["Subnet"], strict=False) for config in configs]
        self.addresses += [subnet for subnet in subnets if subnet not in self.addresses]
