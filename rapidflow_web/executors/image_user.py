"""The user that an image names, in numbers."""

from __future__ import annotations

from typing import Any

import aiodocker

from rapidflow_web.errors import BuildError

ROOT = ("", "0", "root", "0:0", "root:root")
"""The names of a user who may write everywhere."""


async def numbers_of(container: Any, user: str) -> tuple[int, int]:
    """User and group of an image's USER, e.g. `app`, `1000` or `app:staff`, from the image's own files.

    Raises `BuildError` for a name that is not in them.
    """
    name, _, group = user.partition(":")
    entries = await _entries(container, "/etc/passwd")
    entry = next((e for e in entries if name in (e[0], e[2])), None)
    if entry is None and not name.isdigit():
        raise BuildError(f"the image's user '{name}' is not in its /etc/passwd")
    uid = int(entry[2]) if entry else int(name)
    if not group:
        return uid, int(entry[3]) if entry else 0
    if group.isdigit():
        return uid, int(group)
    for candidate in await _entries(container, "/etc/group"):
        if candidate[0] == group:
            return uid, int(candidate[2])
    raise BuildError(f"the image's group '{group}' is not in its /etc/group")


async def _entries(container: Any, path: str) -> list[list[str]]:
    try:
        with await container.get_archive(path) as archive:
            file = archive.extractfile(archive.next())
            text = str(file.read(), "utf-8", "replace") if file else ""
    except aiodocker.DockerError as error:
        if error.status != 404:
            raise
        return []
    except KeyError:
        return []  # a link, which the archive holds without its target
    return [fields for line in text.splitlines() if len(fields := line.split(":")) >= 4]
