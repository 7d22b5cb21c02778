"""A manager of a swarm: which machines there are, and what runs on them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import aiodocker
import aiohttp

from rapidflow_web.errors import BuildError, EngineUnavailable, RapidFlowError
from rapidflow_web.executors.cluster.engine_list import certificates_of_environment, check_is_loopback
from rapidflow_web.executors.cluster.inventory import Certificates
from rapidflow_web.executors.cluster.tls import context_of
from rapidflow_web.executors.docker import engine_client
from rapidflow_web.executors.docker.engine_errors import engine_errors

_CALL = aiohttp.ClientTimeout(total=30, connect=5)
_LOOK_SECONDS = 5.0

LABEL = "rapidflow.relay"
"""Services and secrets of ours have it, with the installation as its value. No container has it."""


class SwarmError(RapidFlowError):
    """The swarm can't be used as it is."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A node of the swarm. `address` is empty where the swarm does not know it."""

    id: str
    name: str
    address: str
    labels: Mapping[str, str]
    version: str
    is_up: bool
    availability: str

    @property
    def takes_builds(self) -> bool:
        """Whether the swarm would start something there."""
        return self.is_up and self.availability == "active"


@dataclass(frozen=True, slots=True)
class Task:
    """A container of a service on a machine, as the swarm last heard. `spec` is what it was made by.

    `wanted` where the swarm wants it to run; one that ends may run for long.
    """

    id: str
    machine: str
    wanted: bool
    state: str
    error: str
    spec: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Service:
    """A service of the swarm. `version` is that of `spec`, for the next update."""

    id: str
    version: int
    spec: Mapping[str, Any]


class Manager:
    """The engine of a manager, at `url`. All calls raise `EngineUnavailable` or `SwarmError`.

    Raises `SettingsError` for a `url` at tcp:// that others could reach, without keys for TLS.
    """

    def __init__(self, url: str, installation: str) -> None:
        self.url = url
        self._installation = installation
        self._certificates: Certificates | None = None
        if url.startswith("tcp://"):
            self._certificates = certificates_of_environment()
            if self._certificates is None:
                check_is_loopback("RAPIDFLOW_SWARM", url)
        self._docker: aiodocker.Docker | None = None

    async def close(self) -> None:
        """Gives connections back."""
        if self._docker is not None:
            await self._docker.close()
            self._docker = None

    async def check(self) -> None:
        """Raises `SwarmError` with what to do where the engine is none of a swarm's manager."""
        swarm = _of(await self._get("info"), "Swarm")
        if _of(swarm, "LocalNodeState") != "active":
            raise SwarmError(
                f"the engine at {self.url} is in no swarm; run 'docker swarm init' on its machine"
            )
        if not _of(swarm, "ControlAvailable"):
            raise SwarmError(
                f"the engine at {self.url} is a worker of its swarm; "
                "set RAPIDFLOW_SWARM to the engine of a manager"
            )

    async def machines(self) -> list[Machine]:
        """All nodes of the swarm, by their names."""
        return sorted(map(_machine, await self._get("nodes")), key=lambda machine: (machine.name, machine.id))

    async def service(self, name: str) -> Service | None:
        """The service of this installation with a name; None where there is none."""
        found = await self._get("services", filters={"label": [f"{LABEL}={self._installation}"]})
        for service in found:
            if service["Spec"]["Name"] == name:
                return Service(service["ID"], service["Version"]["Index"], service["Spec"])
        return None

    async def services_of_others(self) -> list[Service]:
        """The services of other installations, relays and what holds their shares."""
        found = await self._get("services", filters={"label": [LABEL]})
        return [
            Service(service["ID"], service["Version"]["Index"], service["Spec"])
            for service in found
            if service["Spec"]["Labels"][LABEL] != self._installation
        ]

    async def tasks(self, service: Service) -> list[Task]:
        """All tasks of a service, the newest first: those before it, too."""
        found = await self._get("tasks", filters={"service": [service.id]})
        return [_task(task) for task in sorted(found, key=lambda task: task["CreatedAt"], reverse=True)]

    async def put_service(self, name: str, spec: Mapping[str, Any]) -> Service:
        """Makes the service, or changes it to be like `spec`."""
        spec = {**spec, "Name": name, "Labels": {LABEL: self._installation, **spec.get("Labels", {})}}
        before = await self.service(name)
        if before is None:
            await self._post("services/create", spec)
        else:
            await self._post(f"services/{before.id}/update", spec, version=str(before.version))
        service = await self.service(name)
        if service is None:
            raise SwarmError(f"the swarm has lost the service {name}; run the command again")
        return service

    async def remove_service(self, service: Service) -> None:
        """Ends its tasks."""
        await self._call("DELETE", f"services/{service.id}")

    async def put_secret(self, name: str, data: bytes) -> str:
        """The id of the secret `name`, which is made if it is not there."""
        for secret in await self.secrets():
            if secret["Spec"]["Name"] == name:
                return secret["ID"]
        made = await self._post(
            "secrets/create",
            {"Name": name, "Labels": {LABEL: self._installation}, "Data": base64.b64encode(data).decode()},
        )
        return made["ID"]

    async def secrets(self) -> list[dict[str, Any]]:
        """The secrets of this installation, without their content."""
        return await self._get("secrets", filters={"label": [f"{LABEL}={self._installation}"]})

    async def remove_secrets_but(self, kept: Iterable[str]) -> None:
        """Removes secrets of this installation whose ids are not among `kept`."""
        kept = set(kept)
        for secret in await self.secrets():
            if secret["ID"] not in kept:
                await self._call("DELETE", f"secrets/{secret['ID']}")

    async def image(self, name: str) -> str:
        """What every machine can be told to run: the digest in a registry, or the id of an image without one.

        Where the engine does not have the image, its name: every machine asks the registry by itself.
        """
        try:
            found = await self._get(f"images/{name}/json")
        except SwarmError:
            return name
        return digest_of(name, found.get("RepoDigests") or []) or found["Id"]

    async def _get(self, path: str, filters: Mapping[str, Sequence[str]] | None = None) -> Any:
        params = {"filters": json.dumps(filters)} if filters is not None else {}
        return await self._call("GET", path, params=params)

    async def _post(self, path: str, body: Mapping[str, Any], **params: str) -> Any:
        return await self._call("POST", path, data=body, params=params)

    async def _call(self, method: str, path: str, **options: Any) -> Any:
        try:
            with engine_errors(f"ask the swarm's manager at {self.url}"):
                async with asyncio.timeout(_LOOK_SECONDS if method == "GET" else None):
                    return await engine_client.request_json(self._client(), path, method=method, **options)
        except BuildError as error:
            raise SwarmError(str(error)) from error
        except EngineUnavailable as error:
            raise EngineUnavailable(f"the swarm's manager at {self.url} can't be asked: {error}") from error

    def _client(self) -> aiodocker.Docker:
        if self._docker is None:
            secured = self._certificates
            self._docker = aiodocker.Docker(
                self.url if secured is None else self.url.replace("tcp://", "https://"),
                timeout=_CALL,
                ssl_context=None if secured is None else context_of(secured),
            )
        return self._docker


def digest_of(name: str, digests: Iterable[str]) -> str | None:
    """The one of an image's `digests` that is of the repository in `name`; None without one.

    An image may have been pushed to several, and machines may reach no other than that.
    """
    return next((digest for digest in digests if _repository(digest) == _repository(name)), None)


def _repository(name: str) -> str:
    """The name of an image without tag and digest, in the short form that engines use."""
    name = name.partition("@")[0]
    host, slash, path = name.rpartition("/")
    return f"{host}{slash}{path.partition(':')[0]}".removeprefix("docker.io/").removeprefix("library/")


def _machine(node: Any) -> Machine:
    address: str = _of(node, "Status", "Addr") or ""
    if address in ("", "0.0.0.0", "127.0.0.1"):  # noqa: S104
        # Older engines say this of a manager itself.
        address = (_of(node, "ManagerStatus", "Addr") or "").rpartition(":")[0]
    # What the swarm's operator says counts more than what a machine says of itself.
    labels: dict[str, str] = dict(_of(node, "Description", "Engine", "Labels") or {})
    labels |= _of(node, "Spec", "Labels") or {}
    return Machine(
        id=node["ID"],
        name=_of(node, "Description", "Hostname") or node["ID"],
        address=address.strip("[]"),
        labels=labels,
        version=_of(node, "Description", "Engine", "EngineVersion") or "",
        is_up=_of(node, "Status", "State") == "ready",
        availability=_of(node, "Spec", "Availability") or "active",
    )


def _task(task: Any) -> Task:
    return Task(
        task["ID"],
        task.get("NodeID") or "",
        # Also those that wait for an older one or for room.
        (task.get("DesiredState") or "") in ("running", "ready"),
        _of(task, "Status", "State") or "",
        _of(task, "Status", "Err") or _of(task, "Status", "Message") or "",
        task.get("Spec") or {},
    )


def _of(value: Any, *names: str) -> Any:
    """A value deep in an answer; None where one on the way is missing."""
    for name in names:
        value = value.get(name) if value else None
    return value
