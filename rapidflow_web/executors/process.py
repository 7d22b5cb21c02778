"""Builds as plain processes on this machine: for machines without Docker. No isolation whatsoever.

The agent runs in a session of its own, its input a fifo that it holds open itself, its output a file; so it
survives the server as a container would. Everything lies in the build's root folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncGenerator, Callable
from pathlib import Path, PurePosixPath

from rapidflow_web.errors import BuildError
from rapidflow_web.executors import agent
from rapidflow_web.executors.base import BuildSpec, Exit, Progress

_POLL = 0.005
_IDLE_POLL = 0.05
_IDLE_AFTER = 5.0
_KILL_TRIES = 500
_CHUNK = 256 * 1024
_PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SHELL")
"""What builds see of the server's environment; the rest may hold what is none of their business."""

_MARK = "RAPIDFLOW_BUILD_ROOT"
"""The variable by which the processes of a build are found, whatever sessions they made."""


class ProcessExecutor:
    """Implements `Executor`."""

    name = "process"
    warning = (
        "Builds run as plain processes of the server's user, without isolation, because the executor is "
        "'process'. Run only what you trust, or start a Docker engine and set RAPIDFLOW_EXECUTOR=docker."
    )
    images = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def workspace(self, root: Path) -> PurePosixPath:
        return PurePosixPath(root / "workspace")

    async def check(self) -> None:
        pass

    async def provide_image(self, image: str, progress: Progress) -> None:
        pass

    async def start(self, spec: BuildSpec, created: Callable[[str], None]) -> ProcessBuild:
        home = spec.root / "rapidflow"
        home.mkdir(parents=True, exist_ok=True)
        created(f"process:{spec.job_id}")
        os.mkfifo(home / "in", 0o600)
        # Open for reading and writing, so that it never ends, with or without a server.
        stdin = os.open(home / "in", os.O_RDWR)
        output = os.open(home / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
        environment = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
        try:
            process = subprocess.Popen(  # noqa: S603
                agent.command_line(str(spec.root), "file"),
                cwd=spec.root,
                env=environment | {_MARK: str(spec.root)},
                stdin=stdin,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        finally:
            os.close(stdin)
            os.close(output)
        (home / "pid").write_text(f"{process.pid} {_started(process.pid)}")
        build = ProcessBuild(spec, process.pid, process)
        await build.send(f"{spec.nonce}\n".encode())
        return build

    async def find(self, spec: BuildSpec) -> ProcessBuild | None:
        try:
            pid, started = (spec.root / "rapidflow" / "pid").read_text().split()
        except (OSError, ValueError):
            return None
        # A number that was given to another process since then is not ours.
        return ProcessBuild(spec, int(pid) if _started(int(pid)) == started else None, None)

    async def sweep(self, live: set[int]) -> int:
        if not self._folder.is_dir():
            return 0
        stale = [path for path in self._folder.iterdir() if not path.name.isdigit() or int(path.name) not in live]
        for root in stale:
            await asyncio.to_thread(_kill_all, root)
            await asyncio.to_thread(shutil.rmtree, root, ignore_errors=True)
        return len(stale)

    async def close(self) -> None:
        pass


class ProcessBuild:
    """Implements `Running` for one agent. `pid` is None where it has ended already."""

    ports: dict[str, str] | None = None

    def __init__(self, spec: BuildSpec, pid: int | None, process: subprocess.Popen[bytes] | None) -> None:
        self._spec = spec
        self._pid = pid
        self._process = process
        self._started = _started(pid) if pid else ""

    @property
    def id(self) -> str:
        return f"process:{self._spec.job_id}"

    async def output(self, offset: int) -> AsyncGenerator[bytes, None]:
        try:
            log = os.open(self._spec.root / "rapidflow" / "log", os.O_RDONLY)
        except OSError:
            raise BuildError("the output of the build is gone") from None
        loop = asyncio.get_running_loop()
        try:
            if os.fstat(log).st_size < offset:
                raise BuildError("the output of the build is shorter than what was read of it")
            # Watched after a resume, too, so that a step that ran meanwhile is known of.
            if self._process is None and self._alive():
                os.kill(self._pid or 0, signal.SIGUSR1)
            quiet_since = loop.time()
            while True:
                alive = self._alive()
                chunk = os.pread(log, _CHUNK, offset)
                if chunk:
                    offset += len(chunk)
                    quiet_since = loop.time()
                    yield chunk
                elif not alive:
                    return
                else:
                    idle = loop.time() - quiet_since > _IDLE_AFTER
                    await asyncio.sleep(_IDLE_POLL if idle else _POLL)
        finally:
            os.close(log)

    async def send(self, line: bytes) -> None:
        with contextlib.suppress(OSError):
            pipe = os.open(self._spec.root / "rapidflow" / "in", os.O_WRONLY | os.O_NONBLOCK)
            try:
                os.write(pipe, line)
            finally:
                os.close(pipe)

    async def deliver(self, unpacks: bool) -> None:
        pass  # the agent runs where the source is

    async def stop(self, grace: float) -> None:
        if self._alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid or 0, signal.SIGTERM)
            deadline = asyncio.get_running_loop().time() + grace
            while self._alive() and asyncio.get_running_loop().time() < deadline:
                await asyncio.sleep(_POLL)
        await self._kill()

    async def exit(self) -> Exit:
        await self._kill()
        return Exit(self._process.returncode if self._process else None)

    async def remove(self) -> None:
        await self._kill()

    async def detach(self) -> None:
        pass

    def _alive(self) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        return self._pid is not None and _started(self._pid) == self._started != ""

    async def _kill(self) -> None:
        """Ends the whole tree, with what left the session."""
        for _ in range(_KILL_TRIES):
            found = await asyncio.to_thread(_kill_all, self._spec.root)
            if not found and not self._alive():
                return
            await asyncio.sleep(_POLL)
        raise BuildError("a process of the build can't be killed")


def _started(pid: int) -> str:
    """When a process started, in the kernel's words; "" for one that does not run."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def _kill_all(root: Path) -> bool:
    """Kills every process that carries the mark of `root`; says whether there were any."""
    mark = f"{_MARK}={root}".encode()
    found = False
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0") and _started(int(entry.name)):
                os.kill(int(entry.name), signal.SIGKILL)
                found = True
        except OSError:
            continue  # it ended meanwhile, or is another user's
    return found
