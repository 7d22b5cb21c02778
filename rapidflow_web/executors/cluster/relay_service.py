"""The services that a swarm runs for an installation: the relay on each machine, and what holds its share.

The share of each machine that builds may use is held by a service of its own, which sleeps. The relay's can't
hold it: one that is updated, or serves on though its machine was drained, would be in its successor's way.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rapidflow_web.executors.cluster import relay
from rapidflow_web.executors.cluster.certificates import RelayKeys
from rapidflow_web.executors.cluster.manager import Machine, Manager, Service, SwarmError, Task

_OPTIONS_LABEL = "rapidflow.options"
_SECOND = 10**9
GRACE_HOURS = 24
"""How long the relay of a drained machine serves on at most, for builds that run there."""
_MEMORY = 256 * 1024 * 1024
_HOLDER_MEMORY = 32 * 1024 * 1024
_PROCESSES = 64
_PAUSE_SECONDS = 0.5
_SOCKET = "/var/run/docker.sock"


@dataclass(frozen=True, slots=True)
class Options:
    """How relays run. `memory` in bytes; `constraints` are those of `docker service create`."""

    image: str
    port: int = relay.PORT
    cpus: float = 0
    memory: int = 0
    constraints: tuple[str, ...] = ()

    @property
    def slots(self) -> int | None:
        """How many builds a machine runs at once, if its label does not say."""
        return max(1, int(self.cpus)) if self.cpus else None


def relay_name(installation: str) -> str:
    """The name of the relays' service."""
    return f"rapidflow-relay-{installation[:8]}"


def share_name(installation: str) -> str:
    """The name of the service that holds the builds' share of each machine."""
    return f"rapidflow-share-{installation[:8]}"


def options_of(service: Service) -> Options:
    """What a service was made with. Raises `SwarmError` for one that somebody else made."""
    try:
        stored: Any = json.loads(service.spec["Labels"][_OPTIONS_LABEL])
        return Options(**(stored | {"constraints": tuple(stored["constraints"])}))
    except (KeyError, ValueError, TypeError) as error:
        name = service.spec.get("Name")
        raise SwarmError(
            f"the service {name} is not as 'rapidflow cluster init' made it; run that again"
        ) from error


async def put(manager: Manager, installation: str, options: Options, keys: RelayKeys) -> Service:
    """Makes the services, or changes them. Returns the relays', of which not all need run yet.

    Raises `EngineUnavailable`, and `SwarmError` also where relays of another installation have the port.
    """
    for other in await manager.services_of_others():
        if _port_of(other) == str(options.port):
            # Listeners may share a port, so half the connections of each would end at the other's relays.
            raise SwarmError(
                f"port {options.port} is that of the relays of another installation, the service "
                f"{other.spec['Name']}: choose another port by 'rapidflow cluster init --port'"
            )
    secrets = await _put_secrets(manager, installation, keys)
    service = await manager.put_service(relay_name(installation), _relay_spec(options, secrets))
    if options.cpus or options.memory:
        await manager.put_service(share_name(installation), _share_spec(options))
    elif (share := await manager.service(share_name(installation))) is not None:
        await manager.remove_service(share)
    return service


def _port_of(service: Service) -> str | None:
    """The port of relays; None for a service of another kind."""
    match service.spec["TaskTemplate"]["ContainerSpec"].get("Args"):
        case ["--port", str(port), *_]:
            return port
        case _:
            return None


async def remove_old_secrets(manager: Manager, service: Service) -> None:
    """Removes the secrets that relays needed before."""
    await manager.remove_secrets_but(_secret_ids(service.spec["TaskTemplate"]))


async def wait(
    manager: Manager,
    service: Service,
    answers: Callable[[Machine], Awaitable[str | None]],
    seconds: float,
    *,
    down_too: bool,
) -> list[str]:
    """Waits until all machines that are up run the relay as `service` has it; says of each other one why not.

    With `down_too`, machines that are down count as well if an older relay may run there. `answers` says why
    a machine's relay does not answer, as the end of a sentence, and None where it does: a container runs
    before its program listens. Raises `EngineUnavailable`, `SwarmError`.
    """
    deadline = time.monotonic() + seconds
    while True:
        tasks = await manager.tasks(service)
        behind = [
            f"{machine.name}: {why}"
            for machine in await manager.machines()
            if (machine.is_up or down_too) and (why := await _behind(machine, tasks, service, answers))
        ]
        if not behind or time.monotonic() > deadline:
            return behind
        await asyncio.sleep(_PAUSE_SECONDS)


async def _behind(
    machine: Machine,
    tasks: list[Task],
    service: Service,
    answers: Callable[[Machine], Awaitable[str | None]],
) -> str | None:
    """Why a machine does not run the relay as `service` has it; None where it does, or need not."""
    wanted = service.spec["TaskTemplate"]
    here = [task for task in tasks if task.machine == machine.id]
    if not machine.is_up:
        # What the swarm last heard; it never hears that an engine has ended its relay for good.
        old = any(task.state == "running" and not _is_like(task.spec, wanted) for task in here)
        return (
            "it is down, and may come back with an older relay; start it, or remove it by 'docker node rm'"
            if old
            else None
        )
    new = [task for task in here if _is_like(task.spec, wanted)]
    if serving(new) is not None:
        if (answer := await answers(machine)) is None:
            return None
        # One that runs for a moment, between two that failed, is reached as little; these say why.
        return f"{why_not(new, wanted)}; and now it {answer}" if _failed(new) else f"it {answer}"
    if not machine.takes_builds:
        old = [task for task in here if task.state == "running"]
        what = {"drain": "drained", "pause": "paused"}.get(machine.availability, machine.availability)
        return f"it is {what}, and an older relay still serves its builds" if old else None
    return why_not(new, wanted)


def serving(tasks: Iterable[Task]) -> Task | None:
    """The task among those of a machine that serves it."""
    return next((task for task in tasks if task.wanted and task.state == "running"), None)


def why_not(tasks: Iterable[Task], template: Mapping[str, Any]) -> str:
    """Why the relay of a machine, whose tasks these are, does not serve it, and what to do."""
    tasks = list(tasks)
    task = next(iter([*_failed(tasks), *tasks]), None)
    return "the swarm has not started its relay" if task is None else _advice(task, template)


def _failed(tasks: Iterable[Task]) -> list[Task]:
    return [task for task in tasks if task.state in ("failed", "rejected")]


def up_to_date(tasks: Iterable[Task], service: Service) -> list[Task]:
    """The tasks that are to run the relay as `service` has it."""
    return [task for task in tasks if _is_like(task.spec, service.spec["TaskTemplate"])]


def _is_like(spec: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    ours, theirs = wanted["ContainerSpec"], spec["ContainerSpec"]
    return (
        _secret_ids(spec) == _secret_ids(wanted)
        and ours["Image"] == theirs["Image"]
        and ours.get("Args") == theirs.get("Args")
    )


def _secret_ids(template: Mapping[str, Any]) -> set[str]:
    secrets: list[dict[str, Any]] = template["ContainerSpec"].get("Secrets") or []
    return {secret["SecretID"] for secret in secrets}


def _advice(task: Task, template: Mapping[str, Any]) -> str:
    """Why a relay does not run, and what to do, as far as the swarm tells it."""
    image = template["ContainerSpec"]["Image"]
    said = task.error
    if f"({relay.PORT_TAKEN})" in said:
        port = template["ContainerSpec"]["Args"][1]
        return (
            f"another program listens at port {port}; end it, or choose another port by "
            "'rapidflow cluster init --port'"
        )
    if f"({relay.ENGINE_CLOSED})" in said:
        return f"its relay may not use {_SOCKET}; 'docker logs' of its container says why"
    if "No such image" in said or "pull access denied" in said or "not found" in said:
        return (
            f"the image {image} is not there: push it to a registry that all machines reach, or copy it by "
            "'docker save' and 'docker load'"
        )
    if "bind source path does not exist" in said:
        return f"there is no socket {_SOCKET}; a rootless engine can't be relayed"
    if "insufficient resources" in said:
        return "less is free there than builds are to get; reserve less, or move other services away"
    return f"its relay is {task.state}: {said}" if said else f"its relay is {task.state}"


async def _put_secrets(manager: Manager, installation: str, keys: RelayKeys) -> list[dict[str, Any]]:
    secrets: list[dict[str, Any]] = []
    for file, data, named_for in (
        (relay.CA, keys.ca, keys.ca),
        (relay.CERTIFICATE, keys.certificate, keys.certificate),
        (relay.KEY, keys.key, keys.certificate),
    ):
        # A secret can't be changed, so new content needs a new name. Names are no secret.
        version = hashlib.sha256(named_for).hexdigest()[:12]
        name = f"rapidflow-{installation[:8]}-{file.partition('.')[0]}-{version}"
        secrets.append(
            {
                "SecretID": await manager.put_secret(name, data),
                "SecretName": name,
                "File": {"Name": file, "UID": "0", "GID": "0", "Mode": 0o400},
            }
        )
    return secrets


def _relay_spec(options: Options, secrets: list[dict[str, Any]]) -> dict[str, Any]:
    container = {
        **_closed_container(options),
        "Args": ["--port", str(options.port)],
        "Secrets": secrets,
        "StopGracePeriod": GRACE_HOURS * 3600 * _SECOND,
        "Mounts": [{"Type": "bind", "Source": _SOCKET, "Target": _SOCKET}],
    }
    return {
        **_service(options),
        "TaskTemplate": {
            **_template(options, container),
            # The address of each machine stays, whatever a swarm's DNS says of a machine that is drained.
            "Networks": [{"Target": "host"}],
            "Resources": {"Limits": {"MemoryBytes": _MEMORY, "Pids": _PROCESSES}},
        },
    }


def _share_spec(options: Options) -> dict[str, Any]:
    container = {
        **_closed_container(options),
        "Args": ["--hold"],
        "StopGracePeriod": 5 * _SECOND,
    }
    return {
        **_service(options),
        "TaskTemplate": {
            **_template(options, container),
            # A swarm knows no network by the name none; nothing listens or connects there.
            "Networks": [{"Target": "host"}],
            "Resources": {
                "Limits": {"MemoryBytes": _HOLDER_MEMORY, "Pids": _PROCESSES},
                "Reservations": {"NanoCPUs": int(options.cpus * 1e9), "MemoryBytes": options.memory},
            },
        },
        "UpdateConfig": {"Parallelism": 0, "FailureAction": "continue", "Order": "stop-first"},
    }


def _service(options: Options) -> dict[str, Any]:
    return {
        "Labels": {_OPTIONS_LABEL: json.dumps(asdict(options))},
        "Mode": {"Global": {}},
        # Two relays share the port for a moment. One whose image can't be had leaves the old one where it is.
        "UpdateConfig": {"Parallelism": 1, "FailureAction": "continue", "Order": "start-first"},
    }


def _template(options: Options, container: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "ContainerSpec": container,
        "RestartPolicy": {"Condition": "any", "Delay": 2 * _SECOND},
        "Placement": {"Constraints": ["node.platform.os==linux", *options.constraints]},
        "LogDriver": {"Name": "json-file", "Options": {"max-size": "1m", "max-file": "2"}},
    }


def _closed_container(options: Options) -> dict[str, Any]:
    return {
        "Image": options.image,
        # Root without a capability may open root's socket; the group that may is another on each machine.
        "User": "0:0",
        "ReadOnly": True,
        "CapabilityDrop": ["ALL"],
        "Privileges": {"NoNewPrivileges": True},
    }
