"""Pulls images, each once at a time, however many builds wait for it."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import weakref
from typing import Any

import aiodocker
import aiohttp

from rapidflow_web.errors import BuildError, EngineUnavailable, one_line
from rapidflow_web.executors.docker import engine_client, registry_auth
from rapidflow_web.executors.docker.engine_errors import engine_errors
from rapidflow_web.executors.docker.known_images import KnownImages
from rapidflow_web.executors.docker.pull_progress import PullProgress
from rapidflow_web.pipeline.durations import format_duration
from rapidflow_web.progress import Progress

_TAG = re.compile(r"[:@][^/]*$")


class Pulls:
    """The pulls of one engine. `timeout` is in seconds, for one image."""

    def __init__(self, timeout: float, known: KnownImages) -> None:
        self._timeout = timeout
        self._known = known
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    async def provide(
        self, docker: aiodocker.Docker, image: str, progress: Progress, *, anonymous: bool
    ) -> bool:
        """Makes sure the engine has the image; says whether it had to be pulled.

        It is pulled without login where that is to be `anonymous`.

        Raises `BuildError` with the registry's own words.
        """
        lock = self._locks.setdefault(image, asyncio.Lock())
        async with lock:
            if await self._has(image):
                return False
            progress(f"pulling {image}")
            auth = None if anonymous else await registry_auth.credentials(image)
            limit = asyncio.timeout(self._timeout)
            try:
                async with limit:
                    await _pull(docker, image, auth, progress)
            except (TimeoutError, EngineUnavailable) as error:
                if not limit.expired():
                    raise
                timeout = format_duration(round(self._timeout))
                raise BuildError(f"could not pull image {image}: it took longer than {timeout}") from error
            if not await self._has(image):
                raise EngineUnavailable(f"the Docker engine stopped pulling {image}")
            return True

    async def _has(self, image: str) -> bool:
        with engine_errors(f"look for image {image}"):
            return await self._known.look(image) is not None


async def _pull(
    docker: aiodocker.Docker, image: str, auth: dict[str, str] | None, progress: Progress
) -> None:
    layers = PullProgress(image, progress)
    params = {"fromImage": image}
    if not _TAG.search(image):
        # Without a tag the engine would pull all there are.
        params["tag"] = "latest"
    headers: dict[str, str] = {}
    if auth is not None:
        headers["X-Registry-Auth"] = base64.urlsafe_b64encode(json.dumps(auth).encode()).decode()
    with engine_errors(f"pull image {image}"):
        async with engine_client.request(
            docker,
            "images/create",
            "POST",
            params=params,
            headers=headers,
            timeout=aiohttp.ClientTimeout(connect=10),
        ) as response:
            try:
                async for line in response.content:
                    status: dict[str, Any] = json.loads(line)
                    if error := status.get("error"):
                        raise BuildError(f"could not pull image {image}: {one_line(error)}")
                    layers.note(status)
            finally:
                # The client would leave that to the garbage collector, and the engine would pull on.
                response.close()
