"""A build as an executor sees it, with the real agent, and what tests ask of it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path, PurePosixPath

from rapidflow_web.errors import EngineUnavailable
from rapidflow_web.executors.agent import protocol
from rapidflow_web.executors.archive import Archive
from rapidflow_web.executors.base import BuildSpec, Executor, Live, RunningBuild
from rapidflow_web.executors.docker.executor import DockerExecutor
from rapidflow_web.executors.docker.networks import CLOSED
from rapidflow_web.executors.process.executor import ProcessExecutor
from rapidflow_web.pipeline.definition import StepDefinition
from tests.support import images
from tests.support.server import containers, pause_after

Step = str | StepDefinition

WAIT = "while :; do sleep 0.05; done 2>/dev/null"
"""Goes on for ever. Shells report it on standard error when a signal ends what they wait for."""

_KEY = b"the key of the tests"


class Place:
    """An executor of an installation of the test's own, and the builds in it."""

    def __init__(self, name: str, folder: Path, engine_timeout: float = 60) -> None:
        self.name = name
        self.work = folder / "work"
        self.work.mkdir(exist_ok=True)
        self._installation = uuid.uuid4().hex
        self._engine_timeout = engine_timeout
        self._job_ids = itertools.count(1)
        self._executors: list[Executor] = []
        self._started: list[RunningBuild] = []
        self._builds: list[Build] = []
        self.executor = self.another_executor()

    def another_executor(self, network: str = CLOSED, parked: int = 0) -> Executor:
        """One of the same installation, as a server that is started again would have."""
        executor: Executor = (
            DockerExecutor(
                self._installation,
                self._engine_timeout,
                pull_timeout=60,
                network=network,
                parked=parked,
            )
            if self.name == "docker"
            else ProcessExecutor(self.work)
        )
        self._executors.append(executor)
        return executor

    def spec(
        self,
        *steps: Step,
        image: str = images.BASH,
        files: Mapping[str, str] | None = None,
        port: int | None = None,
        network: bool = True,
        new_privileges: bool = False,
    ) -> BuildSpec:
        """A job with these steps; `files` are in its workspace."""
        job_id = next(self._job_ids)
        root = self.work / str(job_id)
        for name, text in (files or {}).items():
            (root / "workspace" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "workspace" / name).write_text(text)
        (root / "workspace").mkdir(parents=True, exist_ok=True)
        definitions = [step if isinstance(step, StepDefinition) else StepDefinition(step) for step in steps]
        workdir: PurePosixPath = self.executor.workspace(root)
        protocol.write_scripts(root / "rapidflow", definitions, {"GREETING": "good day"}, workdir)
        image = images.ensure(image) if self.name == "docker" else image
        nonce = protocol.nonce_for(_KEY, job_id)
        return BuildSpec(job_id, image, nonce, root, port, network=network, new_privileges=new_privileges)

    def in_image(self, spec: BuildSpec, image: str) -> BuildSpec:
        """The same job in an image that the test has made."""
        return dataclasses.replace(spec, image=image)

    async def start(
        self, spec: BuildSpec, created: Callable[[str], Awaitable[None]] | None = None
    ) -> RunningBuild:
        """Starts the agent."""
        running = await self.executor.start(spec, created or forgotten)
        self._started.append(running)
        return running

    def read(self, running: RunningBuild, spec: BuildSpec, source: int = 0) -> Build:
        """Reads what a build prints, from `source` on."""
        self._builds.append(Build(running, spec, source))
        return self._builds[-1]

    async def begin(self, spec: BuildSpec) -> Build:
        """Starts the agent, brings it the source and runs the first step."""
        build = self.read(await self.start(spec), spec)
        await build.deliver()
        await build.run(1)
        return build

    async def begin_steps(self, *steps: Step, image: str = images.BASH) -> Build:
        """A new build with these steps, the first of which runs."""
        return await self.begin(self.spec(*steps, image=image))

    def left_behind(self) -> list[str]:
        """What there is of this installation outside of its builds' folders, and fifos in these."""
        if self.name == "docker":
            return containers(f"rapidflow.installation={self._installation}")
        fifos = [str(path) for path in self.work.rglob("*") if path.is_fifo()]
        return fifos + processes_of(self.work)

    async def close(self) -> None:
        """Ends all that was begun; the sweep takes what the test has not told of."""
        for build in self._builds:
            await build.leave()
        for running in self._started:
            with contextlib.suppress(EngineUnavailable):  # its executor was closed; the sweep finds it
                await running.remove()
        for executor in self._executors:
            await executor.close()
        sweeper = self.another_executor()
        await sweeper.sweep(dict)
        await sweeper.close()


class Build:
    """What is read of a running agent. `raw` is all that it printed since `source`, markers included."""

    def __init__(self, running: RunningBuild, spec: BuildSpec, source: int = 0) -> None:
        self.running = running
        self.spec = spec
        self.source = source
        self.raw = bytearray()
        self.markers: list[tuple[str, ...]] = []
        self.text = bytearray()
        """What the steps printed."""
        self._parser = protocol.MarkerParser(spec.nonce, source)
        self._news = asyncio.Event()
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._reader = asyncio.create_task(self._read())

    @property
    def stored(self) -> BuildSpec:
        """What a later server knows of the build."""
        return dataclasses.replace(self.spec, container_id=self.running.id)

    async def _read(self) -> None:
        async with aclosing(self.running.output(self.source)) as output:
            async for chunk in output:
                self.raw += chunk
                for item in self._parser.feed(chunk):
                    if isinstance(item, protocol.Marker):
                        self.markers.append(item.words)
                    else:
                        self.text += item.data
                self._news.set()
                await self._resumed.wait()
        for output_item in self._parser.flush():
            self.text += output_item.data

    def pause(self) -> None:
        """Reads no more, until `go_on`."""
        self._resumed.clear()

    def go_on(self) -> None:
        self._resumed.set()

    async def until(self, condition: Callable[[], object], what: str, seconds: float = 30) -> None:
        """Reads on until `condition()` is true."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():
                    if self._reader.done():
                        self._reader.result()
                        raise AssertionError(f"the output ended before {what}: {bytes(self.raw[-500:])!r}")
                    self._news.clear()
                    news = asyncio.ensure_future(self._news.wait())
                    await asyncio.wait({news, self._reader}, return_when=asyncio.FIRST_COMPLETED)
                    news.cancel()
        except TimeoutError:
            raise AssertionError(
                f"waited in vain for {what}; there were {self.markers} and {bytes(self.text[-500:])!r}"
            ) from None

    async def marker(self, *words: str) -> tuple[str, ...]:
        """The first marker that begins with `words`."""

        def found() -> list[tuple[str, ...]]:
            return [marker for marker in self.markers if marker[: len(words)] == words]

        await self.until(found, f"the marker {words}")
        return found()[0]

    async def printed(self, text: bytes) -> None:
        await self.until(lambda: text in self.text, f"{text!r}")

    async def deliver(self) -> None:
        _, can = await self.marker("ready")
        archive = Archive(self.spec.root)
        try:
            is_there = await self.running.deliver(archive, can == "unpack")
        finally:
            await archive.close()
        if not is_there:
            assert (await self.marker("unpacked"))[1] == "0", bytes(self.text)

    async def run(self, number: int) -> None:
        await self.running.send(protocol.run_command(number))

    async def exit(self, number: int) -> str:
        """The exit code of a step, as soon as it has one."""
        return (await self.marker("exit", str(number)))[2]

    async def ended(self, seconds: float = 30) -> None:
        """Waits for the end of the output."""
        done, _ = await asyncio.wait({self._reader}, timeout=seconds)
        assert done, "the output did not end"
        self._reader.result()

    def crash(self) -> None:
        """Kills the agent from outside, as a person could."""
        if self.running.id.startswith("process:"):
            pid = (self.spec.root / "rapidflow" / "pid").read_text().split()[0]
            os.kill(int(pid), signal.SIGKILL)
        else:
            engine("kill", self.running.id)

    async def leave(self) -> None:
        """Reads no more and lets go, as a server that ends."""
        self._reader.cancel()
        await asyncio.wait({self._reader})
        await self.running.detach()

    async def remove(self) -> None:
        await self.leave()
        await self.running.remove()


async def forgotten(_: str) -> None:
    """Takes the id of what a build runs in, and stores it nowhere."""


def live(*builds: Build) -> Live:
    """The jobs of these builds, as the executor asks for them."""
    return lambda: {build.spec.job_id: build.running.id for build in builds}


async def eventually(condition: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Waits until `condition()` is true, of something that tells nobody."""
    begin = time.monotonic()
    while not condition():
        waited = time.monotonic() - begin
        assert waited < seconds, f"waited in vain until {what}"
        await asyncio.sleep(pause_after(waited))


def processes_of(folder: Path, words: Sequence[str] = ()) -> list[str]:
    """The command lines of all processes that know of `folder` or have one of `words` in theirs."""
    found: list[str] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            knows = str(folder).encode() in (entry / "environ").read_bytes()
            if not knows and not words:
                continue  # nearly all of them
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            ended = (entry / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
        except OSError:
            continue
        if not ended and (knows or any(word in command for word in words)):
            found.append(f"{entry.name} {command}")
    return found


def engine(*arguments: str) -> str:
    """What the docker command prints. Raises `CalledProcessError`."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def inspect(container_id: str, template: str) -> str:
    """What the engine says of a container."""
    return engine("inspect", "--format", template, container_id)


def copy_of(container_id: str) -> Path:
    """Where a container's copy of the output lies on this machine."""
    return Path(inspect(container_id, "{{.GraphDriver.Data.UpperDir}}")) / "rapidflow/log"


def stands_still(path: Path) -> Callable[[], bool]:
    """A condition: the file has not grown for a second, in which it was asked several times."""
    seen: list[tuple[int, float]] = []

    def condition() -> bool:
        now = path.stat().st_size, time.monotonic()
        if seen and seen[-1][0] != now[0]:
            seen.clear()
        seen.append(now)
        return len(seen) > 4 and now[1] - seen[0][1] > 1

    return condition
