"""What `rapidflow cluster` does: sets up relays, looks at them, and gives them new keys."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiodocker
import aiohttp

from rapidflow_web.errors import BuildError, EngineUnavailable
from rapidflow_web.executors.cluster import relay_service
from rapidflow_web.executors.cluster.certificates import Keys
from rapidflow_web.executors.cluster.inventory import Certificates, Node
from rapidflow_web.executors.cluster.manager import Machine, Manager, Service, SwarmError, Task
from rapidflow_web.executors.cluster.relay_service import Options
from rapidflow_web.executors.cluster.swarm import SwarmInventory, address_of, label_problem
from rapidflow_web.executors.cluster.tls import KeysUnusable, context_of, is_refusal
from rapidflow_web.executors.docker.engine_errors import engine_errors, gone_is_fine

_TAKE_UP_SECONDS = 8.0
"""How long a running server may take to see new keys."""
_PROBE = aiohttp.ClientTimeout(total=10, connect=5)
_FEW_DAYS = 90

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Seen:
    """A machine as `look` found it. `state` is in a word or two; `problem` a sentence with what to do."""

    node: Node
    version: str
    state: str
    problem: str | None


class Administration:
    """Works on the swarm of `manager`, and on the keys in the data folder. All raise `RapidFlowError`."""

    def __init__(self, manager: Manager, inventory: SwarmInventory, keys: Keys, installation: str) -> None:
        self._manager = manager
        self._inventory = inventory
        self._keys = keys
        self._installation = installation

    async def options(self) -> Options | None:
        """How relays run now; None where there are none."""
        await self._manager.check()
        service = await self._manager.service(relay_service.relay_name(self._installation))
        return relay_service.options_of(service) if service is not None else None

    async def set_up(self, options: Options, seconds: float, say: Say) -> list[str]:
        """Makes keys and services, or changes them.

        Says of each machine whose relay does not run in so many `seconds` why not.
        """
        await self._manager.check()
        options = replace(options, image=await self._manager.image(options.image))
        with self._keys.locked():
            state = self._keys.make()
            service = await relay_service.put(
                self._manager, self._installation, options, self._keys.relay(state)
            )
            say("waiting for the relays")
            # One that is down gets its relay when it comes back.
            behind = await self._wait(service, options, seconds, down_too=False)
            if not behind:
                await relay_service.remove_old_secrets(self._manager, service)
        return behind

    async def rotate(self, seconds: float, say: Say) -> list[str]:
        """Gives server and relays new keys; goes on with what was cut short.

        Says of each machine that is in the way why; then the old keys are still good, and it has to be
        called again.
        """
        options = await self.options()
        if options is None:
            raise SwarmError("there are no relays; run 'rapidflow cluster init'")
        with self._keys.locked():
            state = self._keys.begin_rotation()
            if state.own != state.newest:
                say("the server learns to trust the new keys")
                await asyncio.sleep(_TAKE_UP_SECONDS)
                say("relays get the new keys, and let in both")
                if behind := await self._update(options, seconds):
                    return behind
                self._keys.use_newest()
            say("the server uses the new keys")
            await asyncio.sleep(_TAKE_UP_SECONDS)
            say("relays let in the new keys alone")
            if behind := await self._update(options, seconds):
                return behind
            say("ending the connections that the old keys opened")
            service = await self._service()
            if behind := await self._end_older(service, options):
                return behind
            self._keys.end_rotation()
            await relay_service.remove_old_secrets(self._manager, service)
        return []

    async def remove(self) -> None:
        """Removes services, secrets and keys. Builds on the machines are out of reach from then on."""
        await self._manager.check()
        with self._keys.locked():
            for name in (relay_service.relay_name, relay_service.share_name):
                if (service := await self._manager.service(name(self._installation))) is not None:
                    await self._manager.remove_service(service)
            await self._manager.remove_secrets_but([])
            self._keys.remove()

    async def look(self) -> tuple[list[Seen], list[str]]:
        """All machines, and problems that are of no single one."""
        await self._manager.check()
        state = self._keys.state()
        if state is None or await self.options() is None:
            raise SwarmError("there are no relays; run 'rapidflow cluster init'")
        general: list[str] = []
        days = self._keys.days_left(state)
        if days < _FEW_DAYS:
            general.append(f"the keys expire in {max(days, 0)} days; run 'rapidflow cluster rotate'")
        if len(state.trusted) > 1:
            general.append("a change of keys was cut short; run 'rapidflow cluster rotate' again")
        nodes = await self._inventory.nodes()
        if self._inventory.warning:
            raise EngineUnavailable(self._inventory.warning)
        machines = {machine.id: machine for machine in await self._manager.machines()}
        answers = await asyncio.gather(*(_probe(node.address, node.certificates) for node in nodes))
        seen: list[Seen] = []
        for node, answer in zip(nodes, answers, strict=True):
            machine = machines.get(node.id)
            problem = _problem(node, answer) or (machine and label_problem(machine))
            version = machine.version if machine else ""
            seen.append(Seen(node, version, _state(node, answer), problem))
        return seen, general

    async def _update(self, options: Options, seconds: float) -> list[str]:
        state = self._keys.make()
        service = await relay_service.put(self._manager, self._installation, options, self._keys.relay(state))
        return await self._wait(service, options, seconds, down_too=True)

    async def _wait(self, service: Service, options: Options, seconds: float, *, down_too: bool) -> list[str]:
        certificates = self._keys.certificates(self._keys.make())

        async def answers(machine: Machine) -> str | None:
            address = address_of(machine, options)
            answer = await _probe(address, certificates)
            return None if answer is None else _out_of_reach(address, answer)

        return await relay_service.wait(self._manager, service, answers, seconds, down_too=down_too)

    async def _end_older(self, service: Service, options: Options) -> list[str]:
        """Ends relays that serve on with older keys. Says of each machine where that fails why.

        The server connects again, to the newer ones.
        """
        certificates = self._keys.certificates(self._keys.make())

        async def newer() -> list[Task]:
            return relay_service.up_to_date(await self._manager.tasks(service), service)

        async def end(machine: Machine) -> str | None:
            address, problem = address_of(machine, options), None
            # As long as an older one has the port, it may be that one which is asked to end itself.
            for pause in (0.5, 1, 2, 0):
                try:
                    async with _engine(address, certificates) as docker:
                        await _kill_older(docker, service.id, newer)
                except (EngineUnavailable, BuildError) as error:
                    problem = f"{machine.name}: its older relay can't be ended: {error}"
                    await asyncio.sleep(pause)
                else:
                    return None
            return problem

        serving = {task.machine for task in await newer() if task.state == "running"}
        machines = [machine for machine in await self._manager.machines() if machine.id in serving]
        ends = await asyncio.gather(*map(end, machines))
        return [problem for problem in ends if problem is not None]

    async def _service(self) -> Service:
        service = await self._manager.service(relay_service.relay_name(self._installation))
        if service is None:
            raise SwarmError("the relays' service was removed meanwhile; run 'rapidflow cluster init'")
        return service


async def _probe(address: str, certificates: Certificates | None) -> str | None:
    """Why an engine does not answer through its relay, and what to do; None where it does."""
    if certificates is None:
        return "there are no keys"
    try:
        await _version(address, certificates)
    except (EngineUnavailable, BuildError) as error:
        return f"{error}; {_hint(error)}"
    return None


def _hint(error: EngineUnavailable | BuildError) -> str:
    if isinstance(error, KeysUnusable):
        return (
            "put its keys back, or make new ones by 'rapidflow cluster remove' and 'rapidflow cluster init'"
        )
    if is_refusal(error):
        return (
            "server and relay refuse each other's keys: compare the clocks of both, and read the relay's log"
        )
    return "let the server through to that port"


async def _version(address: str, certificates: Certificates) -> None:
    async with _engine(address, certificates) as docker:
        with engine_errors("ask the engine for its version"):
            await docker.version()


@asynccontextmanager
async def _engine(address: str, certificates: Certificates) -> AsyncGenerator[aiodocker.Docker]:
    docker = aiodocker.Docker(
        address.replace("tcp://", "https://"), timeout=_PROBE, ssl_context=context_of(certificates)
    )
    try:
        yield docker
    finally:
        await docker.close()


async def _kill_older(
    docker: aiodocker.Docker, service: str, newer: Callable[[], Awaitable[list[Task]]]
) -> None:
    """Kills containers of a service that run for none of the tasks `newer`."""
    with engine_errors("end an older relay"):
        labels = {"label": [f"com.docker.swarm.service.id={service}"]}
        found: list[Any] = await docker.containers.list(filters=labels)
        # Only now: a container has its task before it runs.
        spared = {task.id for task in await newer()}
        for container in found:
            if container["Labels"].get("com.docker.swarm.task.id") not in spared:
                with gone_is_fine():
                    await container.kill()


def _state(node: Node, answer: str | None) -> str:
    for problem in ("is drained", "is paused", "is down"):
        if node.problem == problem:
            return problem.removeprefix("is ")
    return "ready" if node.problem is None and answer is None else "not ready"


def _problem(node: Node, answer: str | None) -> str | None:
    if node.problem in ("is drained", "is paused"):
        # That is meant.
        return None
    if node.problem == "is down":
        return "is down: the swarm hears nothing from its engine; start that, or look at the network"
    if node.problem is not None:
        return node.problem
    if answer is not None:
        return _out_of_reach(node.address, answer)
    return None


def _out_of_reach(address: str, answer: str) -> str:
    return f"can't be reached at {address} from here: {answer}"
