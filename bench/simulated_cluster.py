"""A server whose machines are simulated: their agents run no steps, but print lines at a steady rate.

All else is real: the queue and its placement, sessions with agents, logs, the database, followers. So it
shows how much of that one server bears, without the machines that it would take.

    python -m bench.simulated_cluster NODES SLOTS LINES SECONDS_BETWEEN_LINES serve
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from pathlib import Path, PurePosixPath

from rapidflow_web.executors.archive import Archive
from rapidflow_web.executors.base import BuildSpec, Exit, Live, Process
from rapidflow_web.executors.cluster.placement import NodeState
from rapidflow_web.server import app


class SimulatedCluster:
    """Implements `Executor` and, for all of its nodes, `Machine`."""

    name = "docker"
    warning = None
    images = None
    services = None
    place = "the container"
    addresses = ()
    parked = 0

    def __init__(self, nodes: int, slots: int, lines: int, seconds: float) -> None:
        self.nodes = [
            NodeState(f"id{n}", f"node{n}", {}, slots, problem=None, reachable=True) for n in range(nodes)
        ]
        self._lines = lines
        self._seconds = seconds

    def on(self, node: str | None) -> SimulatedCluster:
        return self

    async def labels(self) -> Mapping[str, str]:
        return {}

    def workspace(self, root: Path) -> PurePosixPath:
        return PurePosixPath("/workspace")

    async def check(self) -> None:
        pass

    async def pack(self, archive: Archive) -> None:
        pass

    async def expect(self, spec: BuildSpec) -> None:
        pass

    async def start(self, spec: BuildSpec, created: Callable[[str], Awaitable[None]]) -> SimulatedBuild:
        build = SimulatedBuild(spec, self._lines, self._seconds)
        await created(build.id)
        return build

    async def find(self, spec: BuildSpec) -> SimulatedBuild | None:
        return None

    async def orphans(self, live: Live) -> list[str]:
        return []

    async def sweep(self, live: Live) -> int:
        return 0

    async def quiet(self) -> None:
        pass

    async def close(self) -> None:
        pass


class SimulatedBuild:
    """Implements `RunningBuild`. Each line has the time at which it was printed, in seconds."""

    ports: dict[str, str] | None = None
    is_heard = True

    def __init__(self, spec: BuildSpec, lines: int, seconds: float) -> None:
        self.id = f"simulated-{spec.job_id}"
        self._nonce = spec.nonce
        self._lines = lines
        self._seconds = seconds
        self._told: asyncio.Queue[int] = asyncio.Queue()

    def _marker(self, words: str) -> bytes:
        return f"\x1e{self._nonce} {words}\n".encode()

    async def output(self, offset: int) -> AsyncGenerator[bytes, None]:
        yield self._marker("ready -")
        while number := await self._told.get():
            yield self._marker(f"start {number}")
            for line in range(self._lines):
                yield b"%.6f line %d of a build that prints at a steady rate\n" % (time.time(), line)
                await asyncio.sleep(self._seconds)
            yield self._marker(f"exit {number} 0")

    async def send(self, line: bytes) -> None:
        if line.startswith(b"run "):
            self._told.put_nowait(int(line[4:]))

    async def deliver(self, archive: Archive, unpacks: bool) -> None:
        pass

    async def processes(self) -> list[Process]:
        return []

    async def end_step(self) -> None:
        self._told.put_nowait(0)

    async def kill_step(self) -> None:
        self._told.put_nowait(0)

    async def stop(self, grace: float) -> None:
        self._told.put_nowait(0)

    async def exit(self) -> Exit:
        return Exit(0)

    async def remove(self) -> None:
        pass

    async def detach(self) -> None:
        pass


if __name__ == "__main__":
    nodes, slots, lines, seconds, *command = sys.argv[1:]
    cluster = SimulatedCluster(int(nodes), int(slots), int(lines), float(seconds))
    app.executor_of = lambda settings, folders: cluster
    from rapidflow_web.cli.main import main

    sys.argv = ["rapidflow", *command]
    main()
