"""What an executor is: a place where the agent of a build runs.

An executor starts one command, gives its output bytes from an offset, takes lines on its input, and stops
it. It knows nothing of steps, logs or states.

It has one machine or several. `Executor.on` gives the machine of a job; what concerns all of them, such as
`sweep`, the executor does itself.

The life of a sandbox, which is what one agent runs in: `Machine.start` makes it and starts the agent, or
takes one that `expect` had made ready, and hands it over as `RunningBuild`. Meanwhile `Machine.pack` packs
the build's root, which `deliver` brings to the agent. `output` gives what the agent prints, `send` tells it
the next step, and `stop` asks the agent to end and kills it after the grace; `exit` tells how it ended.
Where steps are to follow, `end_step` and then `kill_step` end only the one that runs.
`remove` leaves nothing behind.
A server that ends calls `detach` instead, and the sandbox goes on; the next server gets it from `find` and
reads on where its log ends. Whatever nobody removed, for whatever reason, `sweep` does, once no live job
needs it. A sandbox serves one job and is never used again.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path, PurePosixPath
from typing import Protocol

from rapidflow_web.executors.archive import Archive
from rapidflow_web.executors.cluster.placement import NodeState
from rapidflow_web.pipeline.definition import Service
from rapidflow_web.pipeline.limits import NO_LIMITS, Limits
from rapidflow_web.progress import Progress

Live = Callable[[], Mapping[int, str | None]]
"""The jobs that run now, and what the executor calls what each runs in, as far as that is stored."""


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """What an executor must know to start the agent of a build.

    `root` is the build's own folder on this machine, which gets rapidflow/ (scripts) and workspace/ (source).
    `port` is the one to publish on loopback while the build runs. `nonce` is that of the markers.
    Of `limits` an executor enforces memory, CPUs, processes and the size of /dev/shm, or its warning says
    that it does not. Without `network` the build reaches nothing; with `new_privileges` its processes may
    become another user by `sudo` and the like. `container_id` is what `start` told for this job before, if it
    did.
    """

    job_id: int
    image: str | None
    nonce: str
    root: Path
    port: int | None = None
    limits: Limits = NO_LIMITS
    network: bool = True
    new_privileges: bool = False
    container_id: str | None = None


@dataclass(frozen=True, slots=True)
class Exit:
    """How an agent ended. `code` is None where nobody can tell any more."""

    code: int | None
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class Process:
    """A process of a build. `seconds` is for how long it has been running, `pid` as the machine counts it."""

    pid: int
    seconds: int
    command: str


class RunningBuild(Protocol):
    """A started agent. It outlives the server unless it is stopped."""

    @property
    def id(self) -> str:
        """What the executor calls it, e.g. the id of the container."""
        ...

    @property
    def ports(self) -> dict[str, str] | None:
        """Published ports: the build's own port to the address on this machine."""
        ...

    def output(self, offset: int) -> AsyncGenerator[bytes, None]:
        """All that the agent printed from byte `offset` on, until it ends; every byte once.

        An empty piece says that the connection was made anew. Survives an engine that goes away and comes
        back in time. Raises `EngineUnavailable` where it does not, `BuildError` where bytes are lost for
        good.
        """
        ...

    @property
    def is_heard(self) -> bool:
        """Whether `output` gives what is printed now; not while its connection is made anew."""
        ...

    async def send(self, line: bytes) -> None:
        """Gives the agent a command.

        It may be lost with a connection; the `sync` marker in the output of the next one tells.
        """
        ...

    async def deliver(self, archive: Archive, unpacks: bool) -> bool:
        """Brings the `archive` of the build's root to where the agent runs; `unpacks` tells if the agent can.

        True when it is there, False where the agent says when it is. Raises `EngineUnavailable` where the
        connection breaks; what is there then can't be relied on.
        """
        ...

    async def processes(self) -> list[Process]:
        """What runs in it now, without the agent. Raises `EngineUnavailable`, `BuildError`."""
        ...

    async def end_step(self) -> None:
        """SIGTERM to the step that runs, and every later one ends at once; but none that is `post`.

        The agent goes on, and says how the step ended. Safe to call again, and where nothing runs.
        """
        ...

    async def kill_step(self) -> None:
        """SIGKILL to all that runs but the agent, after `end_step`. A step that is `post` is spared.

        Safe to call again. What belongs to another user than the agent's may survive.
        """
        ...

    async def stop(self, grace: float) -> None:
        """SIGTERM, after `grace` seconds SIGKILL to the whole tree. Returns when the agent has ended.

        Its output must be read meanwhile. Safe to call again, and for one that has ended.
        """
        ...

    async def exit(self) -> Exit:
        """How it ended. Kills it first if it still runs."""
        ...

    async def remove(self) -> None:
        """Ends whatever still runs and leaves nothing behind. Safe to call again."""
        ...

    async def detach(self) -> None:
        """Lets go of it without stopping it. Safe to call again.

        From now on nothing waits for its output to be read. `Machine.find` takes it up again; an `output`
        that is read on does so by itself.
        """
        ...


class StoredImages(Protocol):
    """The images that are kept for builds, on one machine or on all of them."""

    async def size(self, image: str) -> int | None:
        """The bytes that an image takes, with the layers it shares; None if it is not there.

        Of several machines, where it takes most.
        """
        ...

    async def remove(self, image: str) -> bool:
        """Removes an image that no container uses; says whether it is gone."""
        ...


class Images(StoredImages, Protocol):
    """The images of one machine."""

    async def provide(self, image: str, progress: Progress, *, anonymous: bool = False) -> bool:
        """Makes sure the image is there; says whether it had to be pulled.

        An `anonymous` pull uses no login for the registry. Raises `BuildError` with the registry's own words.
        """
        ...


class RunningService(Protocol):
    """A service that was started beside a build. It outlives the server."""

    @property
    def name(self) -> str:
        """What the pipeline calls it."""
        ...

    def output(self, offset: int) -> AsyncGenerator[bytes, None]:
        """What it printed from byte `offset` on, until it ends; every byte once, in small pieces.

        Raises `EngineUnavailable` where the connection breaks, `BuildError`.
        """
        ...

    async def exit(self) -> Exit | None:
        """How it ended; None while it runs.

        Raises `EngineUnavailable`, also where the build beside it has ended: then that is the reason.
        """
        ...

    async def attempt(self, script: str) -> tuple[bool, str]:
        """Runs a script by sh in it; whether it succeeded, and the end of what it printed.

        Raises `EngineUnavailable`, `BuildError`.
        """
        ...

    async def kill(self) -> None:
        """Ends it at once, so that `output` ends with the last that it printed. Safe to call again.

        Raises `EngineUnavailable`, `BuildError`.
        """
        ...


class Services(Protocol):
    """How an executor runs services beside a build: in its network, each with its limits.

    `spec` is always that of the build, with the id that `Machine.start` told. `introduce` and `start` begin;
    `find` is for a server that takes the build up; `remove` ends all. What nobody removed, `sweep` does.
    """

    async def introduce(self, spec: BuildSpec, names: Sequence[str]) -> None:
        """Makes the build reach the services by their names. Raises `EngineUnavailable`, `BuildError`."""
        ...

    async def start(self, spec: BuildSpec, service: Service) -> RunningService:
        """Starts one, whose image is there. Safe to call again after it failed.

        Raises `EngineUnavailable`, `BuildError`.
        """
        ...

    async def find(self, spec: BuildSpec) -> Sequence[RunningService]:
        """Those of a build, running or ended. Raises `EngineUnavailable`, `BuildError`."""
        ...

    async def listening(self, spec: BuildSpec) -> set[int]:
        """The TCP ports at which something listens in the build's network.

        Raises `EngineUnavailable`, `BuildError`.
        """
        ...

    async def remove(self, spec: BuildSpec) -> None:
        """Kills and removes all of them. Safe to call again. Raises `EngineUnavailable`, `BuildError`."""
        ...


class Machine(Protocol):
    """Where one job runs."""

    @property
    def images(self) -> Images | None:
        """The images in which builds run; None where they don't run in images."""
        ...

    @property
    def services(self) -> Services | None:
        """How services run beside a build; None where they can't."""
        ...

    @property
    def place(self) -> str:
        """What a build runs in, as part of a sentence."""
        ...

    def workspace(self, root: Path) -> PurePosixPath:
        """The workspace's path as the build sees it."""
        ...

    async def labels(self) -> Mapping[str, str]:
        """What its administrator has labelled it with, for `on_node`. Raises `EngineUnavailable`."""
        ...

    async def pack(self, archive: Archive) -> None:
        """Begins to pack what `RunningBuild.deliver` is to bring, if the agent can't read it where it is."""
        ...

    async def expect(self, spec: BuildSpec) -> None:
        """Makes ready what a build like this needs, which is likely to come.

        Raises `EngineUnavailable`, `BuildError`.
        """
        ...

    async def start(self, spec: BuildSpec, created: Callable[[str], Awaitable[None]]) -> RunningBuild:
        """Starts the agent; `created` stores the id before anything of the job runs. Raises `BuildError`.

        A call that fails or is cancelled leaves nothing behind. What a call left that was killed has no job,
        or the job's id: so it is found, or swept.
        """
        ...

    async def find(self, spec: BuildSpec) -> RunningBuild | None:
        """The agent of a build that an earlier server started, running or ended; None if there is none.

        Raises `EngineUnavailable` where nobody can tell.
        """
        ...

    async def quiet(self) -> None:
        """Waits, for a few seconds at most, until no build needs the machine in order to begin."""
        ...


class Executor(Protocol):
    """Where builds run."""

    @property
    def name(self) -> str:
        """What the settings call it."""
        ...

    @property
    def warning(self) -> str | None:
        """What a person should know about it: a short sentence, then the details, which pages fold."""
        ...

    @property
    def images(self) -> StoredImages | None:
        """The images in which builds run; None where they don't run in images."""
        ...

    @property
    def addresses(self) -> Sequence[IPv4Network | IPv6Network]:
        """From where builds connect to this machine, as far as they have networks of their own.

        It grows while the executor makes networks.
        """
        ...

    @property
    def parked(self) -> int:
        """How many containers wait for a build."""
        ...

    @property
    def nodes(self) -> Sequence[NodeState] | None:
        """The machines of a cluster as they were last seen; None where there is a single machine."""
        ...

    def on(self, node: str | None) -> Machine:
        """The machine that a job is on: that of this id, or None where there is a single one.

        It is given for every id. The calls of one that can't be reached, or that nobody knows, raise
        `EngineUnavailable`.
        """
        ...

    async def check(self) -> None:
        """Raises `EngineUnavailable` with what to do, unless builds can be started now."""
        ...

    async def orphans(self, live: Live) -> list[str]:
        """What is here of this installation and belongs to no `live` job, each in some words."""
        ...

    async def sweep(self, live: Live) -> int:
        """Removes all orphans; says how many there were.

        `live` is asked again just before something is removed, so jobs may be added meanwhile.
        """
        ...

    async def close(self) -> None:
        """Gives connections back. What runs goes on."""
        ...
