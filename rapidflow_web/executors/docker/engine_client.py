"""The client of the engine, with the calls that aiodocker does not offer.

The only module that touches private parts of aiodocker: a new version of it has to be compared with this.
"""

from __future__ import annotations

import os
import ssl
from contextlib import AbstractAsyncContextManager
from typing import Any

import aiodocker
import aiohttp

from rapidflow_web import outgoing

_IDLE_SECONDS = 2.0
"""How long a connection to another machine is kept for the next call. It is less than the time between two
looks at a machine: else the looks would use the same connection for ever, and the relay that has it would
never end after an update."""


def connect(
    timeout: aiohttp.ClientTimeout, address: str | None = None, context: ssl.SSLContext | None = None
) -> aiodocker.Docker:
    """A client of the engine at `address`, with a `context` for TLS; else of that in the environment.

    Raises as `aiodocker.Docker` does.
    """
    if address is not None and context is not None:
        address = f"https://{address.removeprefix('tcp://')}"
    elif (
        address is None
        and context is None
        and os.environ.get("DOCKER_HOST", "").startswith("https://")
        and os.environ.get("DOCKER_TLS_VERIFY") != "1"
    ):
        # Else it would be aiohttp's own, which trusts nobody (see `server/imports.py`).
        context = outgoing.trusting()
    docker = aiodocker.Docker(url=address, timeout=timeout, ssl_context=context)
    # Every running build holds a connection; the usual limit of 100 would let builds wait for ever.
    docker.connector._limit = 0  # pyright: ignore[reportPrivateUsage]
    if address is not None:
        docker.connector._keepalive_timeout = _IDLE_SECONDS  # pyright: ignore[reportPrivateUsage]
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


def abort(docker: aiodocker.Docker) -> None:
    """Ends all connections that are in use, also those over which nothing can be sent any more."""
    for protocol in list(docker.connector._acquired):  # pyright: ignore[reportPrivateUsage]
        # One that is just being made has none.
        if protocol.transport is not None:
            protocol.transport.abort()
