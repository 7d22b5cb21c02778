"""Files of a container, without reading them."""

from __future__ import annotations

import base64
import json
from typing import Any

import aiodocker

from rapidflow_web.executors.docker import engine_client

_NOT_FOUND = 404


async def stat(container: Any, path: str) -> dict[str, Any] | None:
    """What the engine says of a file: `mode` as Go has it, `size`, `linkTarget`; None where there is none.

    Raises `DockerError`.
    """
    docker: aiodocker.Docker = container.docker
    # The client takes the body of an error for JSON, and here there is none.
    url = await engine_client.url(docker, f"containers/{container.id}/archive")
    async with docker.session.head(url, params={"path": path}) as response:
        if response.status == _NOT_FOUND:
            return None
        if response.status >= 400:
            raise aiodocker.DockerError(response.status, f"the engine can't find {path}")
        return json.loads(base64.b64decode(response.headers["X-Docker-Container-Path-Stat"]))
