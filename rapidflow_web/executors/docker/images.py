"""The images of a Docker engine."""

from __future__ import annotations

from collections.abc import Callable

import aiodocker

from rapidflow_web.executors.base import Progress
from rapidflow_web.executors.docker.engine_errors import engine_errors
from rapidflow_web.executors.docker.pulls import Pulls
from rapidflow_web.executors.docker.sandboxes import Sandboxes

_NOT_FOUND, _CONFLICT = 404, 409


class DockerImages:
    """Implements `Images`. An image can only be removed once no network is kept ready in it."""

    def __init__(self, client: Callable[[], aiodocker.Docker], pulls: Pulls, sandboxes: Sandboxes) -> None:
        self._client = client
        self._pulls = pulls
        self._sandboxes = sandboxes

    async def provide(self, image: str, progress: Progress, *, anonymous: bool = False) -> bool:
        return await self._pulls.provide(self._client(), image, progress, anonymous=anonymous)

    async def size(self, image: str) -> int | None:
        with engine_errors(f"look for image {image}"):
            try:
                return (await self._client().images.inspect(image))["Size"]
            except aiodocker.DockerError as error:
                if error.status == _NOT_FOUND:
                    return None
                raise

    async def remove(self, image: str) -> bool:
        await self._sandboxes.drop_ready(image)
        with engine_errors(f"remove image {image}"):
            try:
                await self._client().images.delete(image)
            except aiodocker.DockerError as error:
                if error.status == _CONFLICT:
                    return False
                if error.status != _NOT_FOUND:
                    raise
        return True
