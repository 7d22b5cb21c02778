"""The user that an image names."""

from __future__ import annotations

import io
import tarfile
from typing import Any

import aiodocker

from rapidflow_web.errors import BuildError
from rapidflow_web.executors.docker import image_files

ROOT = ("", "0", "root", "0:0", "root:root")
"""The names of a user who may write everywhere."""

_SYMLINK = 1 << 27
_NO_FILE = 1 << 31 | 1 << 27 | 1 << 26 | 1 << 25 | 1 << 24 | 1 << 21 | 1 << 19
"""Bits of a mode as Go has them: folders, links, devices, fifos, sockets, devices of characters, the rest."""
_LARGEST = 1024 * 1024
"""Bytes of a file that are read."""
_MOST_DIGITS = 10


async def numbers_of(container: Any, user: str) -> tuple[int, int]:
    """User and group of an image's USER, e.g. `app`, `1000` or `app:staff`, from the image's own files.

    Raises `BuildError` for a name that is not in them.
    """
    name, _, group = user.partition(":")
    entries = await _entries(container, "/etc/passwd")
    entry = next((e for e in entries if name in (e[0], e[2])), None)
    if entry is None and not name.isdigit():
        raise BuildError(f"the image's user '{name}' is not in its /etc/passwd")
    uid = _number(entry[2] if entry else name)
    if not group:
        return uid, _number(entry[3]) if entry else 0
    if group.isdigit():
        return uid, _number(group)
    for candidate in await _entries(container, "/etc/group"):
        if candidate[0] == group:
            return uid, _number(candidate[2])
    raise BuildError(f"the image's group '{group}' is not in its /etc/group")


async def give_folders(container: Any, owner: tuple[int, int]) -> None:
    """Gives the agent's folders to a user who could not make them in the root folder."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in ("rapidflow", "workspace"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode, (folder.uid, folder.gid) = tarfile.DIRTYPE, 0o755, owner
            tar.addfile(folder)
    await container.put_archive("/", archive.getvalue())


def _number(word: str) -> int:
    if word.isascii() and word.isdigit() and len(word) <= _MOST_DIGITS:
        return int(word)
    raise BuildError(
        f"'{word[:40]}', of the image's USER or in its /etc/passwd or /etc/group, is not a number"
    )


async def _entries(container: Any, path: str) -> list[list[str]]:
    """The lines of the image's file at `path`, in their fields; none where there is no such file."""
    try:
        stat = await image_files.stat(container, path)
        if stat is not None and stat["mode"] & _SYMLINK:
            target = stat["linkTarget"]
            if (stat := await image_files.stat(container, target)) is None:
                raise BuildError(f"the image's {path} is a link to {target}, which the image does not have")
            path = target
    except aiodocker.DockerError as error:
        # An engine fails so where links lead in a circle.
        raise BuildError(f"the image's {path} can't be read; it may be a link to itself") from error
    if stat is None:
        return []
    if stat["mode"] & _NO_FILE:
        raise BuildError(f"the image's {path} is not a file")
    if stat["size"] > _LARGEST:
        raise BuildError(f"the image's {path} is larger than {_LARGEST // 1024} KiB")
    with await container.get_archive(path) as archive:
        file = archive.extractfile(archive.next())
        text = str(file.read(), "utf-8", "replace") if file else ""
    return [fields for line in text.splitlines() if len(fields := line.split(":")) >= 4]
