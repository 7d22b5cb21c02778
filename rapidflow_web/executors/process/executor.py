"""Builds as plain processes on this machine: for machines without Docker. No isolation whatsoever.

The agent runs in a session of its own, its input a fifo that it holds open itself, its output a file; so it
survives the server as a container would. Everything lies in the build's root folder.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath

from rapidflow_web.errors import BuildError
from rapidflow_web.executors.agent import protocol
from rapidflow_web.executors.archive import Archive
from rapidflow_web.executors.base import BuildSpec, Exit, Live, Process
from rapidflow_web.removal import contents, remove_folder
from rapidflow_web.shielding import to_the_end

_MOST_LOOKS = 5
"""After which what is found of a build is killed, even if it forks faster than anybody can look."""
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
    """Implements `Executor` and `Machine`."""

    name = "process"
    warning = (
        "Builds run without isolation. They are plain processes of the server's user, without limits on "
        "memory, CPUs and processes, because the executor is 'process'. Run only what you trust, or start "
        "a Docker engine and set RAPIDFLOW_EXECUTOR=docker."
    )
    images = None
    services = None
    place = "the process of the build"
    addresses = ()
    parked = 0
    nodes = None

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def on(self, node: str | None) -> ProcessExecutor:
        return self

    async def labels(self) -> Mapping[str, str]:
        return {}

    def workspace(self, root: Path) -> PurePosixPath:
        return PurePosixPath(root / "workspace")

    async def check(self) -> None:
        pass

    async def pack(self, archive: Archive) -> None:
        pass

    async def expect(self, spec: BuildSpec) -> None:
        pass

    async def start(self, spec: BuildSpec, created: Callable[[str], Awaitable[None]]) -> ProcessBuild:
        if not spec.network:
            raise BuildError(
                "the pipeline says 'network: none', and plain processes can't be kept from the network; take "
                "that out, or run builds in Docker (RAPIDFLOW_EXECUTOR=docker)"
            )
        build = ProcessBuild(spec)
        try:
            # What a start that was cut short has left.
            await build.remove()
            await created(build.id)
            build.launch()
        except OSError as error:
            await to_the_end(build.remove())
            raise BuildError(f"could not start the agent: {error}") from error
        except BaseException:
            await to_the_end(build.remove())
            raise
        return build

    async def find(self, spec: BuildSpec) -> ProcessBuild | None:
        try:
            pid, started = (spec.root / "rapidflow" / "pid").read_text().split()
        except (OSError, ValueError):
            return None
        build = ProcessBuild(spec)
        # A number that was given to another process since then is not ours.
        if _started(int(pid)) == started:
            build.pid, build.started = int(pid), started
        return build

    async def orphans(self, live: Live) -> list[str]:
        return [f"the work folder {root}" for root in self._roots() if not _is_live(root, live())]

    async def sweep(self, live: Live) -> int:
        removed = 0
        before = set(live())
        for root in self._roots():
            # One that was live a moment ago may just be removed by its build.
            if not _is_live(root, before) and not _is_live(root, live()):
                await _kill(root)
                await asyncio.to_thread(remove_folder, root)
                removed += 1
        return removed

    def _roots(self) -> list[Path]:
        return list(contents(self._folder)) if self._folder.is_dir() else []

    async def quiet(self) -> None:
        pass

    async def close(self) -> None:
        pass


class ProcessBuild:
    """Implements `RunningBuild` for one agent. `pid` is None where it does not run any more."""

    ports: dict[str, str] | None = None

    def __init__(self, spec: BuildSpec) -> None:
        self.pid: int | None = None
        self.started = ""
        self._spec = spec
        self._home = spec.root / "rapidflow"
        self._process: subprocess.Popen[bytes] | None = None
        """The process, where it is a child of this server."""
        self._commands: int | None = None
        """The pipe to the agent. It stays open, because a step can remove its name."""
        self._in_post = False
        """Whether a step that is post was sent."""
        self.is_heard = True
        self._is_gone = False
        """Whether no process of the build is there any more: what they are started by is gone, too."""

    @property
    def id(self) -> str:
        return f"process:{self._spec.job_id}"

    def launch(self) -> None:
        """Starts the agent. Raises `OSError`."""
        self._is_gone = False
        self._home.mkdir(parents=True, exist_ok=True)
        os.mkfifo(self._home / "in", 0o600)
        with contextlib.ExitStack() as opened:
            # Open for reading and writing, so that it never ends, with or without a server.
            stdin = os.open(self._home / "in", os.O_RDWR)
            opened.callback(os.close, stdin)
            output = os.open(self._home / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)
            opened.callback(os.close, output)
            environment = {key: os.environ[key] for key in _PASSED_ON if key in os.environ}
            self._process = subprocess.Popen(  # noqa: S603
                protocol.command_line(str(self._spec.root), "file"),
                cwd=self._spec.root,
                env=environment | {_MARK: str(self._spec.root)},
                stdin=stdin,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid, self.started = self._process.pid, _started(self._process.pid)
        (self._home / "pid").write_text(f"{self.pid} {self.started}")
        self._write(self._nonce)

    async def output(self, offset: int) -> AsyncGenerator[bytes, None]:
        try:
            log = os.open(self._home / "log", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            raise BuildError("the output of the build is gone") from None
        loop = asyncio.get_running_loop()
        try:
            if os.fstat(log).st_size < offset:
                raise BuildError("the output of the build is shorter than what was read of it")
            if self._process is None:
                self._synchronize()
            quiet_since = loop.time()
            while True:
                alive = self._alive()
                chunk = os.pread(log, _CHUNK, offset)
                if chunk:
                    offset += len(chunk)
                    quiet_since = loop.time()
                    yield chunk
                    # Without this a build that is always ahead would keep all others from their turn.
                    await asyncio.sleep(0)
                elif not alive:
                    return
                else:
                    idle = loop.time() - quiet_since > _IDLE_AFTER
                    await asyncio.sleep(_IDLE_POLL if idle else _POLL)
        finally:
            os.close(log)

    def _synchronize(self) -> None:
        """Has the agent print a marker, so that a step that ran unheard is known of."""
        # An agent that was never told its nonce waits for it; to any other this is no command.
        self._write(self._nonce)
        if self._alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid or 0, signal.SIGUSR1)
            # A signal that comes just before the agent waits for a line is handled after that line.
            self._write(self._nonce)

    @property
    def _nonce(self) -> bytes:
        return f"{self._spec.nonce}\n".encode()

    async def send(self, line: bytes) -> None:
        self._in_post = self._in_post or protocol.is_post(line)
        self._write(line)

    def _write(self, line: bytes) -> None:
        with contextlib.suppress(OSError):
            if self._commands is None:
                self._commands = os.open(self._home / "in", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.write(self._commands, line)

    def _close_commands(self) -> None:
        if self._commands is not None:
            os.close(self._commands)
            self._commands = None

    async def deliver(self, archive: Archive, unpacks: bool) -> bool:
        return True  # the agent runs where the source is

    async def processes(self) -> list[Process]:
        return await asyncio.to_thread(_described, self._spec.root, self.pid)

    async def end_step(self) -> None:
        if self._alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid or 0, signal.SIGUSR2)

    async def kill_step(self) -> None:
        if self._in_post:
            return
        # In one go on the event loop, so that no `send` begins a step that is post meanwhile.
        _kill_found(self._spec.root, self.pid, spared=protocol.command_line(str(self._spec.root), "file"))

    async def stop(self, grace: float) -> None:
        if self._alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid or 0, signal.SIGTERM)
            deadline = asyncio.get_running_loop().time() + grace
            # Nothing tells of the end of a process that an earlier server started.
            while self._alive() and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(_POLL)
        await self._end()

    async def exit(self) -> Exit:
        await self._end()
        return Exit(self._process.returncode if self._process else None)

    async def remove(self) -> None:
        await self._end()
        self._close_commands()
        for name in ("pid", "in", "go", "done", "log"):
            (self._home / name).unlink(missing_ok=True)

    async def detach(self) -> None:
        self._close_commands()

    def _alive(self) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        return self.pid is not None and _started(self.pid) == self.started != ""

    async def _end(self) -> None:
        if self._is_gone:
            return
        # By its number, too: right after its start it has no environment yet, so no mark.
        await _kill(self._spec.root, self.pid if self._alive() else None)
        # The agent carries the mark, too, so this only takes note that it is gone.
        self._alive()
        self._is_gone = True


async def _kill(root: Path, agent_pid: int | None = None) -> None:
    """Ends all processes of the build in `root`, also those that left its session."""
    for _ in range(_KILL_TRIES):
        if not await asyncio.to_thread(_kill_found, root, agent_pid):
            return
        await asyncio.sleep(_POLL)
    raise BuildError("a process of the build can't be killed")


def _started(pid: int) -> str:
    """When a process started, in the kernel's words; "" for one that does not run."""
    return _look(pid)[1]


def _look(pid: int) -> tuple[int, str]:
    """The parent of a process and when it started; "" for one that does not run."""
    try:
        fields = _read(pid, "stat").rpartition(b")")[2].split()
    except OSError:
        return 0, ""
    return int(fields[1]), "" if fields[0] in b"ZX" else fields[19].decode()


def _read(pid: int, name: str) -> bytes:
    """What the kernel says of a process. Raises `OSError`. All are asked several times in each build."""
    # Not by way of Path, which takes longer than the kernel.
    with open(f"/proc/{pid}/{name}", "rb", buffering=0) as file:  # noqa: PTH123
        return file.read()


def _kill_found(root: Path, agent_pid: int | None, spared: Sequence[str] = ()) -> bool:
    """Kills every process of the build in `root`; says whether there were any.

    Those with the command line `spared` live on.
    """
    command_line = b"".join(word.encode() + b"\0" for word in spared)
    seen: set[int] = set()
    stopped: list[int] = []
    # A child that is forked during one look is missed by it. What is stopped forks none before the next.
    for _ in range(_MOST_LOOKS):
        found = _family(root, agent_pid) - seen
        if not found:
            break
        seen |= found
        for pid in found:
            with contextlib.suppress(OSError):
                if not spared or _read(pid, "cmdline") != command_line:
                    os.kill(pid, signal.SIGSTOP)
                    stopped.append(pid)
    for pid in stopped:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    return bool(seen)


def _described(root: Path, agent_pid: int | None) -> list[Process]:
    up = float(Path("/proc/uptime").read_text().split()[0])
    found: list[Process] = []
    for pid in sorted(_family(root) - {agent_pid}):
        started = _look(pid)[1]
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            command = " ".join(words).strip()
            if started and command and not protocol.is_agent(command):
                age = up - int(started) / os.sysconf("SC_CLK_TCK")
                found.append(Process(pid, max(0, int(age)), command))
    return found


def _family(root: Path, agent_pid: int | None = None) -> set[int]:
    """The agent and every process that carries the mark of `root`, with their children."""
    mark = f"{_MARK}={root}".encode()
    children: dict[int, list[int]] = {}
    found: list[int] = []
    for name in os.listdir("/proc"):  # noqa: PTH208
        if not name.isdigit():
            continue
        pid = int(name)
        parent, started = _look(pid)
        if not started:
            continue
        children.setdefault(parent, []).append(pid)
        # One that ended meanwhile, or is another user's, can't be read.
        with contextlib.suppress(OSError):
            if pid == agent_pid or mark in _read(pid, "environ").split(b"\0"):
                found.append(pid)
    # A child may have been given an environment without the mark.
    family = set(found)
    while found:
        found = [child for pid in found for child in children.get(pid, []) if child not in family]
        family.update(found)
    return family


def _is_live(root: Path, live: Collection[int]) -> bool:
    return root.name.isdigit() and int(root.name) in live
