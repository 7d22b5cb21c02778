"""Makes sure that a Docker engine answers, the one that the server will find."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from rapidflow_web.errors import EngineUnavailable
from rapidflow_web.executors.docker.executor import DockerExecutor
from scripts import debian

_PACKAGES = ("docker.io", "iptables", "cgroupfs-mount", "ca-certificates")
_LOG = Path("/var/log/dockerd.log")
_PID_FILES = {
    "dockerd": Path("/var/run/docker.pid"),
    "containerd": Path("/var/run/docker/containerd/containerd.pid"),
}
_START_SECONDS = 60.0


def ensure() -> str | None:
    """Starts an engine if none answers and one may be started here; else says in a sentence what is missing.

    An engine that is started goes on after this process: it is the machine's.
    """
    problem = _problem()
    if problem is None:
        return None
    for variable in ("DOCKER_HOST", "DOCKER_CONTEXT"):
        if value := os.environ.get(variable):
            return problem if variable in problem else f"{variable} is '{value}', and {problem}"
    if os.geteuid() != 0:
        return problem
    if shutil.which("dockerd") is None and not debian.install(*_PACKAGES):
        return f"{problem} (it could not be installed here)"
    return None if _problem() is None else _start()


@asynccontextmanager
async def connected(pull_seconds: float = 60) -> AsyncGenerator[DockerExecutor]:
    """The engine that the server will find, through the server's own client."""
    executor = DockerExecutor("", engine_timeout=5, pull_timeout=pull_seconds)
    try:
        yield executor
    finally:
        await executor.close()


def _problem() -> str | None:
    """Why no engine answers; None if one does."""

    async def check() -> None:
        async with connected() as executor:
            await executor.check()

    try:
        asyncio.run(check())
    except EngineUnavailable as error:
        return str(error)
    return None


def _start() -> str | None:
    print("Starting the Docker engine", flush=True)
    dockerd: subprocess.Popen[bytes] | None = None
    if Path("/run/systemd/system").is_dir():
        subprocess.run(["systemctl", "start", "docker"])
    elif not _runs("dockerd"):
        dockerd = _start_dockerd()
    deadline = time.monotonic() + _START_SECONDS
    while (problem := _problem()) is not None:
        if dockerd is not None and dockerd.poll() is not None:
            return f"the Docker engine ended as soon as it was started: {_last_words()} (see {_LOG})"
        if time.monotonic() > deadline:
            return f"the Docker engine was started {_START_SECONDS:.0f} s ago, and {problem}"
        time.sleep(0.2)
    return None


def _start_dockerd() -> subprocess.Popen[bytes]:
    for command, path in _PID_FILES.items():
        # Left by a machine that was switched off or copied. dockerd gives up where the number is now that of
        # any other process.
        if not _runs(command):
            path.unlink(missing_ok=True)
    if shutil.which("cgroupfs-mount") and not any(Path("/sys/fs/cgroup").iterdir()):
        subprocess.run(["cgroupfs-mount"])
    with _LOG.open("ab") as log:
        return subprocess.Popen(
            ["dockerd"],
            env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _runs(command: str) -> bool:
    """Whether the process in the pid file of a command is a process of it."""
    try:
        number = int(_PID_FILES[command].read_text())
        stat = Path(f"/proc/{number}/stat").read_text()
    except (OSError, ValueError):
        return False
    # A process that ended and that nobody asked about has its name still.
    return stat.startswith(f"{number} ({command}) ") and not stat.startswith(f"{number} ({command}) Z")


def _last_words() -> str:
    lines = _LOG.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it did not say why"
