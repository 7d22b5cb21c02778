"""Credentials for a registry, from the server user's Docker configuration."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from pathlib import Path
from typing import Any, cast

DEFAULT_REGISTRY = "https://index.docker.io/v1/"


def registry_of(image: str) -> str:
    """The registry that an image is pulled from, as the Docker configuration names it."""
    first, separator, _ = image.partition("/")
    is_host = separator and ("." in first or ":" in first or first == "localhost")
    return first if is_host else DEFAULT_REGISTRY


async def credentials(image: str) -> dict[str, str] | None:
    """What the engine needs to pull a private image; None where nothing is configured."""
    folder = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    registry = registry_of(image)
    try:
        config = cast(dict[str, Any], json.loads((folder / "config.json").read_text(encoding="utf-8")))
        helper = config.get("credHelpers", {}).get(registry) or config.get("credsStore")
        if helper:
            return await _from_helper(helper, registry)
        entry = config.get("auths", {}).get(registry) or config.get("auths", {}).get(f"https://{registry}")
        if not entry or not entry.get("auth"):
            return None
        user, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
    except (OSError, ValueError, AttributeError):
        return None
    return {"username": user, "password": password, "serveraddress": registry}


async def _from_helper(helper: str, registry: str) -> dict[str, str] | None:
    process = await asyncio.create_subprocess_exec(
        f"docker-credential-{helper}",
        "get",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    output, _ = await process.communicate(registry.encode())
    if process.returncode != 0:
        return None
    found = json.loads(output)
    if found["Username"] == "<token>":
        return {"identitytoken": found["Secret"], "serveraddress": registry}
    return {"username": found["Username"], "password": found["Secret"], "serveraddress": registry}
