"""Credentials for a registry, from the server user's Docker configuration."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from pathlib import Path
from typing import Any, cast

from rapidflow_web.processes import Program

DEFAULT_REGISTRY = "https://index.docker.io/v1/"
_DEFAULT_HOSTS = ("docker.io", "index.docker.io", "registry-1.docker.io")
_HELPER_SECONDS = 30.0


def registry_of(image: str) -> str:
    """The registry that an image is pulled from, as the Docker configuration names it."""
    first, separator, _ = image.partition("/")
    is_host = separator and ("." in first or ":" in first or first == "localhost")
    return first if is_host and first not in _DEFAULT_HOSTS else DEFAULT_REGISTRY


async def credentials(image: str) -> dict[str, str] | None:
    """What the engine needs to pull a private image; None where nothing usable is configured."""
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    registry = registry_of(image)
    try:
        config = cast(dict[str, Any], json.loads((folder / "config.json").read_text(encoding="utf-8")))
        helper = config.get("credHelpers", {}).get(registry) or config.get("credsStore")
        if helper:
            return await _from_helper(helper, registry)
        for address, entry in config.get("auths", {}).items():
            if _host(address) == _host(registry):
                return _from_entry(entry, registry)
    except (OSError, ValueError, AttributeError, TypeError, KeyError):
        # The registry will say that it wants credentials, and the build with it.
        return None
    return None


def _host(address: str) -> str:
    """The host in an address of a registry, which may be written as a URL."""
    return address.partition("://")[2].partition("/")[0] or address.partition("/")[0]


def _from_entry(entry: dict[str, str], registry: str) -> dict[str, str] | None:
    if token := entry.get("identitytoken"):
        return {"identitytoken": token, "serveraddress": registry}
    user, separator, password = base64.b64decode(entry.get("auth", "")).decode().partition(":")
    if not user or not separator:
        return None
    return {"username": user, "password": password, "serveraddress": registry}


async def _from_helper(helper: str, registry: str) -> dict[str, str] | None:
    with Program(f"docker-credential-{helper}", "get", has_input=True, has_errors=False) as process:
        try:
            # One that asks a person would wait for ever.
            async with asyncio.timeout(_HELPER_SECONDS):
                output, _ = await process.communicate(registry.encode())
        finally:
            process.kill()
            code = await process.wait()
    if code != 0:
        return None
    found = json.loads(output)
    if found["Username"] == "<token>":
        return {"identitytoken": found["Secret"], "serveraddress": registry}
    return {"username": found["Username"], "password": found["Secret"], "serveraddress": registry}
