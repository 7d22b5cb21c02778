"""The machines of a swarm, each reached through its relay."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rapidflow_web import private_files
from rapidflow_web.errors import EngineUnavailable, RapidFlowError
from rapidflow_web.executors.cluster.certificates import FOLDER, Keys
from rapidflow_web.executors.cluster.inventory import Certificates, Node
from rapidflow_web.executors.cluster.manager import Machine, Manager, Task
from rapidflow_web.executors.cluster.placement import MOST_SLOTS, SLOTS_LABEL, labelled_slots
from rapidflow_web.executors.cluster.relay_service import (
    Options,
    options_of,
    relay_name,
    serving,
    why_not,
)

_log = logging.getLogger(__name__)

_LAST_KNOWN = "nodes.json"
_PATIENCE_SECONDS = 1.0
"""How long a caller waits for a manager before it gets the machines known before."""
_CONNECT_SECONDS = 2.0
_NO_RELAY = "has no relay; run 'rapidflow cluster init'"


class SwarmInventory:
    """Implements `Inventory`. What was known last is kept in the data folder `data`, for the next server.

    A manager that does not answer is waited for at most a second, and then those known before stay.
    """

    def __init__(self, manager: Manager, installation: str, data: Path) -> None:
        self._manager = manager
        self._service_name = relay_name(installation)
        self._keys = Keys(data)
        self._store = data / FOLDER / _LAST_KNOWN
        self._known: list[dict[str, Any]] | None = None
        self._asking: asyncio.Task[None] | None = None
        self._answered: set[str] = set()
        """Tasks of relays that have been connected to."""
        self.warning: str | None = None
        """Why the machines are those known before; None while the manager answers."""

    async def nodes(self) -> Sequence[Node]:
        if self._known is None:
            self._known = self._read()
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask())
        # Without any, there is nothing better to do than to wait.
        await asyncio.wait({self._asking}, timeout=None if self._known is None else _PATIENCE_SECONDS)
        if self._known is None:
            raise EngineUnavailable(self.warning or "the swarm's manager does not answer")
        certificates = self._certificates()
        return [_node(stored, certificates) for stored in self._known]

    async def close(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait({self._asking})
        await self._manager.close()

    def _certificates(self) -> Certificates | None:
        state = self._keys.state()
        return self._keys.certificates(state) if state is not None else None

    async def _ask(self) -> None:
        try:
            found = await self._look()
        except RapidFlowError as error:
            if self.warning is None:
                _log.warning("%s; machines stay as they were known", error)
            self.warning = str(error)
            return
        except Exception as error:
            # An answer that no engine should give. The next may be as it should.
            if self.warning is None:
                _log.exception("the swarm's manager can't be understood; machines stay as they were known")
            self.warning = f"the answer of the swarm's manager can't be understood: {error!r}"
            return
        if self.warning is not None:
            _log.warning("the swarm's manager answers again")
            self.warning = None
        if found != self._known:
            self._known = found
            self._write(found)

    async def _look(self) -> list[dict[str, Any]]:
        machines, service = await asyncio.gather(
            self._manager.machines(), self._manager.service(self._service_name)
        )
        if service is None:
            return [_stored(machine, Options(""), _NO_RELAY) for machine in machines]
        tasks = await self._manager.tasks(service)
        options = options_of(service)
        template = service.spec["TaskTemplate"]
        problems = await asyncio.gather(
            *(self._relay_problem(machine, tasks, template, options) for machine in machines)
        )
        return [
            _stored(machine, options, problem) for machine, problem in zip(machines, problems, strict=True)
        ]

    async def _relay_problem(
        self, machine: Machine, tasks: Sequence[Task], template: Mapping[str, Any], options: Options
    ) -> str | None:
        here = [task for task in tasks if task.machine == machine.id]
        if (task := serving(here)) is None:
            return f"has no relay that runs: {why_not(here, template)}"
        if task.id not in self._answered:
            # A container runs before its program listens. Later, only a build would notice more than this.
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    _, writer = await asyncio.open_connection(machine.address, options.port)
                writer.close()
            except OSError:  # TimeoutError is one
                return f"has a relay that does not answer at port {options.port}"
            self._answered = {*self._answered, task.id} & {task.id for task in tasks}
        return None

    def _read(self) -> list[dict[str, Any]] | None:
        try:
            stored = json.loads(self._store.read_bytes())
            for one in stored:
                _node(one, None)
            return stored
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def _write(self, found: list[dict[str, Any]]) -> None:
        try:
            self._store.parent.mkdir(mode=0o700, exist_ok=True)
            private_files.write_atomically(self._store, json.dumps(found).encode())
        except OSError as error:
            # Only a server that starts while the manager is away would miss it.
            _log.warning("can't keep the list of machines: %s", error)


def slots_of(machine: Machine, options: Options) -> int | None:
    """How many builds a machine runs at once, by its label or what is reserved; None where neither says."""
    labelled = labelled_slots(machine.labels)
    return options.slots if labelled is None else labelled


def address_of(machine: Machine, options: Options) -> str:
    """Where a machine's relay listens."""
    host = f"[{machine.address}]" if ":" in machine.address else machine.address
    return f"tcp://{host}:{options.port}"


def label_problem(machine: Machine) -> str | None:
    """What is wrong with a machine's label for slots, as the end of a sentence about it."""
    text = machine.labels.get(SLOTS_LABEL)
    if text is None or labelled_slots(machine.labels) is not None:
        return None
    return f"has the label {SLOTS_LABEL}={text[:40]!r}, which is no number from 0 to {MOST_SLOTS}"


def machine_problem(machine: Machine) -> str | None:
    """Why the swarm would start nothing on a machine, as the end of a sentence about it."""
    if not machine.is_up:
        return "is down"
    if machine.availability != "active":
        return {"drain": "is drained", "pause": "is paused"}.get(machine.availability, "takes nothing new")
    if not machine.address:
        return "has no address in the swarm"
    return None


def _stored(machine: Machine, options: Options, relay_problem: str | None) -> dict[str, Any]:
    return {
        "id": machine.id,
        "name": machine.name,
        "address": address_of(machine, options),
        "labels": dict(machine.labels),
        "slots": slots_of(machine, options),
        "problem": machine_problem(machine) or relay_problem,
    }


def _node(stored: dict[str, Any], certificates: Certificates | None) -> Node:
    return Node(
        id=str(stored["id"]),
        name=str(stored["name"]),
        address=str(stored["address"]),
        certificates=certificates,
        labels={str(label): str(value) for label, value in stored["labels"].items()},
        slots=stored["slots"],
        problem=stored["problem"] if certificates is not None else _NO_RELAY,
    )
