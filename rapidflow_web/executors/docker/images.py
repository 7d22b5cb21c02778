"""The images of a Docker engine."""

from __future__ import annotations

from collections.abc import Callable

import aiodocker

from rapidflow_web.executors.docker.engine_errors import engine_errors
from rapidflow_web.executors.docker.known_images import KnownImages
from rapidflow_web.executors.docker.pool import Pool
from rapidflow_web.executors.docker.pulls import Pulls
from rapidflow_web.progress import Progress

_NOT_FOUND, _CONFLICT = 404, 409


class DockerImages:
    """Implements `Images`. An image can only be removed once no container is parked in it."""

    def __init__(
        self, client: Callable[[], aiodocker.Docker], pulls: Pulls, known: KnownImages, pool: Pool
    ) -> None:
        self._client = client
        self._pulls = pulls
        self._known = known
        self._pool = pool

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
        with engine_errors(f"remove image {image}"):
            if (found := await self._known.look(image)) is not None:
                await self._pool.drop(found)
            try:
                await self._client().images.delete(image)
            except aiodocker.DockerError as error:
                if error.status == _CONFLICT:
                    return False
                if error.status != _NOT_FOUND:
                    raise
        return True
