"""The client of the engine, with the calls that aiodocker does not offer.

The only module that touches private parts of aiodocker: a new version of it has to be compared with this.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any

import aiodocker
import aiohttp


def connect(timeout: aiohttp.ClientTimeout) -> aiodocker.Docker:
    """A client of the engine that the environment names. Raises as `aiodocker.Docker` does."""
    docker = aiodocker.Docker(timeout=timeout)
    # Every running build holds a connection; the usual limit of 100 would let builds wait for ever.
    docker.connector._limit = 0  # pyright: ignore[reportPrivateUsage]
    return docker


def request(
    docker: aiodocker.Docker, path: str, method: str = "GET", **options: Any
) -> AbstractAsyncContextManager[aiohttp.ClientResponse]:
    """A call whose body or answer is a stream; `options` are those of aiohttp. Raises `DockerError`."""
    return docker._query(path, method, **options)  # pyright: ignore[reportPrivateUsage]


async def request_json(docker: aiodocker.Docker, path: str, **options: Any) -> Any:
    """The answer to a call that is answered in JSON. Raises `DockerError`."""
    return await docker._query_json(path, **options)  # pyright: ignore[reportPrivateUsage]


async def url(docker: aiodocker.Docker, path: str) -> str:
    """The URL of a call that `docker.session` is to make by itself. Raises `DockerError`."""
    await docker._check_version()  # pyright: ignore[reportPrivateUsage]
    return f"{docker.docker_host}/{docker.api_version}/{path}"
