"""Runs commands in containers that run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import aiodocker
import aiohttp

from rapidflow_web.executors.docker import engine_client
from rapidflow_web.executors.docker.frames import Frames

_KEPT = 64 * 1024
"""Bytes that are kept of the end of what a command prints."""
_PIECE = 64 * 1024


async def run(
    docker: aiodocker.Docker, container_id: str, command: Sequence[str], user: str = ""
) -> tuple[int, bytes]:
    """The exit code of a command, and the end of what it printed. `user` is by default that of the image.

    A cancelled call leaves the command running, because no engine can stop it. Raises as aiodocker does.
    """
    asked = {"Cmd": list(command), "User": user, "AttachStdout": True, "AttachStderr": True}
    made: dict[str, Any] = await engine_client.request_json(
        docker, f"containers/{container_id}/exec", method="POST", data=asked
    )
    frames, printed = Frames(), b""
    async with engine_client.request(
        docker,
        f"exec/{made['Id']}/start",
        "POST",
        data='{"Detach": false, "Tty": false}',
        headers={"Content-Type": "application/json"},
        timeout=aiohttp.ClientTimeout(connect=10),
    ) as response:
        try:
            while data := await response.content.read(_PIECE):
                printed = (printed + frames.feed(data))[-_KEPT:]
        finally:
            # An engine waits for whoever does not read, also with what else it is asked of the container.
            response.close()
    details: dict[str, Any] = await engine_client.request_json(docker, f"exec/{made['Id']}/json")
    # There is none while something that it left behind holds its output.
    return (details["ExitCode"] if details["ExitCode"] is not None else -1), printed
