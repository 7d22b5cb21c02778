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
from rapidflow_web.executors.base import Progress
from rapidflow_web.executors.docker import engine_client, registry_auth
from rapidflow_web.executors.docker.engine_errors import engine_errors
from rapidflow_web.pipeline.durations import format_duration

_TAG = re.compile(r"[:@][^/]*$")


class Pulls:
    """The pulls of one engine. `timeout` is in seconds, for one image."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self.ids: dict[str, str] = {}
        """What the names of images stood for when they were last looked for."""
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
            if await self._has(docker, image):
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
            if not await self._has(docker, image):
                raise EngineUnavailable(f"the Docker engine stopped pulling {image}")
            return True

    async def _has(self, docker: aiodocker.Docker, image: str) -> bool:
        with engine_errors(f"look for image {image}"):
            try:
                self.ids[image] = (await docker.images.inspect(image))["Id"]
            except aiodocker.DockerError as error:
                if error.status == 404:
                    return False
                raise
        return True


async def _pull(
    docker: aiodocker.Docker, image: str, auth: dict[str, str] | None, progress: Progress
) -> None:
    layers = _LayerProgress(image, progress)
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


class _LayerProgress:
    """Adds up what the engine says of each layer while it pulls."""

    def __init__(self, image: str, progress: Progress) -> None:
        self._image = image
        self._progress = progress
        self._layers: dict[str, tuple[int, int]] = {}

    def note(self, status: dict[str, Any]) -> None:
        detail: dict[str, int] = status.get("progressDetail") or {}
        if status.get("status") != "Downloading" or not detail.get("total"):
            return
        self._layers[status["id"]] = (detail.get("current", 0), detail["total"])
        done = sum(current for current, _ in self._layers.values()) // 1_000_000
        total = sum(total for _, total in self._layers.values()) // 1_000_000
        self._progress(f"pulling {self._image}: {done} of {total} MB")
