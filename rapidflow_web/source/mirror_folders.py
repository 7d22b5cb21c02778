"""The folders that mirrors are in: their names, sizes, and what makes one that can be used."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from rapidflow_web.pipeline.clone_credentials import without_password
from rapidflow_web.removal import contents
from rapidflow_web.source.git import without_credentials

USED = "rapidflow-used"
"""A file in a mirror whose time says when a build last fetched it."""
UNUSED = ".new"
"""The suffix of a mirror that is being made, or removed."""
_MANY_REFERENCES = 300


@dataclass(frozen=True, slots=True)
class MirrorSize:
    """A mirror, the bytes that it takes, and when a build last fetched it (seconds since 1970)."""

    path: Path
    size: int
    used_at: float


def name(url: str, whose: int | str | None) -> str:
    """Unlike for unlike URLs, and readable for the person who looks into the folder.

    `whose` is the id of a pipeline that alone has the mirror, because it was fetched with a password, or
    another word that keeps it apart.
    """
    public = without_credentials(url)
    readable = re.sub(r"[^A-Za-z0-9._-]+", "-", public.partition("://")[2] or public).strip("-.")[-60:]
    whole = url if whose is None else f"{url}\n{whose}"
    return f"{readable}-{hashlib.sha256(whole.encode()).hexdigest()[:24]}.git"


def with_passwords(folder: Path) -> dict[Path, str]:
    """The mirrors in `folder` whose URL has a password, and the URL."""
    found: dict[Path, str] = {}
    for mirror in contents(folder):
        with contextlib.suppress(OSError):
            text = (mirror / "config").read_text(encoding="utf-8", errors="surrogateescape")
            url = re.search(r"^\s*url = \"?([^\s\"]+)", text, re.MULTILINE)
            if url is not None and without_password(url[1]) != url[1]:
                found[mirror] = url[1]
    return found


def sizes(folder: Path) -> list[MirrorSize]:
    """The mirrors in `folder`; those that go meanwhile are left out."""
    found: list[MirrorSize] = []
    for mirror in contents(folder):
        # Files come and go in it while git works.
        with contextlib.suppress(OSError):
            used = mirror / USED
            used_at = (used if used.exists() else mirror).stat().st_mtime
            size = sum(path.lstat().st_blocks * 512 for path in mirror.rglob("*"))
            found.append(MirrorSize(mirror, size, used_at))
    return found


def has_many_references(mirror: Path) -> bool:
    """Whether reading them takes git noticeably long, for each is a file."""
    references = (mirror / "refs").rglob("*")
    return next(itertools.islice(references, _MANY_REFERENCES, None), None) is not None


def is_whole(mirror: Path, first_time: bool) -> bool:
    """Whether there is a mirror that can be used; clears away what a killed git left behind."""
    shutil.rmtree(mirror.with_suffix(UNUSED), ignore_errors=True)
    if not is_repository(mirror):
        shutil.rmtree(mirror, ignore_errors=True)
        return False
    if first_time:
        clear_away(mirror)
    return True


def is_repository(mirror: Path) -> bool:
    """Whether a mirror has what git wants of every repository; without, git looks for another one above it.

    A loss of power leaves empty files, and programs that copy folders leave out those with nothing in them.
    """
    files = (mirror / "HEAD", mirror / "config")
    try:
        return all(file.stat().st_size for file in files) and all(
            (mirror / folder).is_dir() for folder in ("objects", "refs")
        )
    except FileNotFoundError:
        return False


def remove(mirror: Path) -> None:
    """Removes a mirror so that a part of it is never taken for one. Raises `OSError`."""
    unused = mirror.with_suffix(UNUSED)
    if unused != mirror:
        shutil.rmtree(unused, ignore_errors=True)
        mirror.rename(unused)
    shutil.rmtree(unused)


def clear_away(mirror: Path) -> None:
    """Removes what a git left that was killed, while none works there."""
    for pattern in ("*.lock", "tmp_*", ".tmp-*", "gc.pid"):
        for path in mirror.rglob(pattern):
            path.unlink(missing_ok=True)
